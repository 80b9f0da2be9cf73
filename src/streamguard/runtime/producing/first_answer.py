"""What the request that began a stream is told: that it begins, or how it failed before its first event."""

from __future__ import annotations

from ...deadlines import Timer
from ...faults import Fault
from ..request import FirstItem
from .backlog import Backlog
from .lifecycle import Lifecycle
from .phases import Answer, Phase, move

__all__ = ["FirstAnswer"]


class FirstAnswer:
    """Decided once, by whichever comes first: an event that may be shown, a failure, or the end of the request's
    patience."""

    __slots__ = ("_backlog", "_lifecycle", "error", "fault", "state")

    def __init__(self, backlog: Backlog, lifecycle: Lifecycle) -> None:
        self._backlog = backlog
        self._lifecycle = lifecycle
        self.state: Answer = Answer.WAITING
        self.fault: Fault | None = None
        """How the stream failed, in the form that clients are told."""
        self.error: BaseException | None = None
        """What its endpoint raised, if it was that."""

    async def wait(self, timeout_seconds: float) -> FirstItem:
        """Wait for the first event that may be shown. One waiter. Cancelling it changes nothing."""
        backlog, lifecycle = self._backlog, self._lifecycle
        feed = backlog.feed
        if feed.visible == 0 and lifecycle.phase is not Phase.FINISHED and self.state is not Answer.FAILED:
            clock = backlog.budget.clock
            patience = Timer(clock, clock.time() + timeout_seconds, backlog.wake_request)
            try:
                await backlog.wait_until_shown()
            finally:
                patience.cancel()
        if self.state is Answer.FAILED:  # even when the stream's end is visible by now
            return FirstItem.FAILED
        if self.state is Answer.WAITING:
            self.state = move(self.state, Answer.ANSWERED)
        return FirstItem.READY if feed.visible > 0 or lifecycle.phase is Phase.FINISHED else FirstItem.LATE

    def fail(self, fault: Fault, error: BaseException | None, *, told: bool) -> None:
        """Record how the stream failed. Before its first event, its request is told that instead of an answer, unless
        the stream tells it itself."""
        self.fault, self.error = fault, error
        if not told and self._backlog.feed.emitted == 0 and self.state is Answer.WAITING:
            self.state = move(self.state, Answer.FAILED)
            self._backlog.wake_request()
