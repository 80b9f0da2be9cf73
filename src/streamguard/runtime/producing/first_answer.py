"""What the request that began a stream is told: that it begins, or how it failed before its first event."""

from __future__ import annotations

from collections.abc import Callable

from ...deadlines import LoopClock, Timer
from ...faults import Fault
from ..request import FirstItem
from .backlog import Backlog
from .phases import Answer, move

__all__ = ["FirstAnswer"]


class FirstAnswer:
    """Decided once, by whichever comes first: an event that may be shown, a failure, or the end of the request's
    patience."""

    __slots__ = ("_backlog", "error", "fault", "state")

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self.state: Answer = Answer.WAITING
        self.fault: Fault | None = None
        """How the stream failed, in the form that clients are told."""
        self.error: BaseException | None = None
        """What its endpoint raised, if it was that."""

    async def wait(self, timeout_seconds: float, *, is_over: Callable[[], bool]) -> FirstItem:
        """Wait for the first event that may be shown. One waiter. Cancelling it changes nothing."""
        feed = self._backlog.feed
        if feed.visible == 0 and not is_over() and self.state is not Answer.FAILED:
            clock = LoopClock.current()
            patience = Timer(clock, clock.time() + timeout_seconds, self._backlog.wake_request)
            try:
                await self._backlog.wait_until_shown()
            finally:
                patience.cancel()
        if self.state is Answer.FAILED:  # even when the stream's end is visible by now
            return FirstItem.FAILED
        if self.state is Answer.WAITING:
            self.state = move(self.state, Answer.ANSWERED)
        return FirstItem.READY if feed.visible > 0 or is_over() else FirstItem.LATE

    def fail(self, fault: Fault, error: BaseException | None, *, told: bool) -> None:
        """Record how the stream failed. Before its first event, its request is told that instead of an answer, unless
        the stream tells it itself."""
        self.fault, self.error = fault, error
        if not told and self._backlog.feed.emitted == 0 and self.state is Answer.WAITING:
            self.state = move(self.state, Answer.FAILED)
            self._backlog.wake_request()
