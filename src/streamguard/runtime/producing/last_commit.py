"""A stream's last commit where its end writes it, in the step that seals and closes the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...deadlines import LoopClock
from ...errors import StoreUnavailableError
from ...event_times import EventTimes
from ...stores.appends import AppendRequest, appended
from .backlog import Backlog
from .log_tally import LogTally

__all__ = ["LastCommit", "StoreHealth"]


class StoreHealth(Protocol):
    """What a writer tells and asks about the store: see `Breaker`."""

    @property
    def answered_at(self) -> float: ...

    def answered(self) -> None: ...

    def stumbled(self, error: StoreUnavailableError) -> None: ...

    def exhausted(self, error: StoreUnavailableError) -> None: ...


class LastCommit:
    """Made by the stream's writer, which has left the events that wait to it. Does what the writer does when a commit
    is answered, or fails. Used once."""

    __slots__ = (
        "_asked_at",
        "_backlog",
        "_breaker",
        "_clock",
        "_deadline",
        "_patience",
        "_sent_at",
        "_tally",
        "_times",
    )

    def __init__(
        self,
        backlog: Backlog,
        breaker: StoreHealth,
        patience: LoopClock,
        clock: Callable[[], float],
        deadline: float,
        *,
        asked_at: float,
        tally: LogTally | None,
        times: EventTimes | None,
    ) -> None:
        """`deadline`: how long the events may wait for the store, in seconds, from `asked_at`, which is now by
        `patience`; the others are the writer's."""
        self._backlog = backlog
        self._breaker = breaker
        self._patience = patience
        self._clock = clock
        self._deadline = deadline
        self._tally = tally
        self._times = times
        self._asked_at = asked_at
        self._sent_at = clock()

    @property
    def request(self) -> AppendRequest:
        """What the end is to append."""
        return self._backlog

    def carried(self) -> None:
        """It is in the log, and the stream is closed."""
        self._breaker.answered()
        backlog, tally, times = self._backlog, self._tally, self._times
        sizes = None if tally is None else tally.sent((backlog,), (backlog,), self._sent_at)
        backlog.carried_by_end()
        if tally is not None and sizes is not None:
            replies = (appended(backlog.acked),)
            tally.answered((backlog,), (backlog,), replies, sizes, self._sent_at, self._clock())
        if times is not None:
            seconds = self._clock() - self._sent_at
            times.appended(backlog.owner, backlog.first_seq, backlog.acked, seconds=seconds)

    def refused(self) -> None:
        """The store has changed nothing: the writer is to carry it."""
        backlog = self._backlog
        if self._patience.time() - self._asked_at >= backlog.within_seconds:
            backlog.failing_since = self._asked_at  # it came too late: the events have waited since then
        backlog.put_back(backlog.acked)

    def failed(self, error: StoreUnavailableError | None) -> None:
        """Whether it was carried out is not known: the writer finds out, or the time is up. Without an error, nobody
        waits for the answer any more."""
        backlog = self._backlog
        if backlog.closed:
            return
        backlog.failing_since = self._asked_at
        if self._tally is not None:
            self._tally.commits += 1
            self._tally.failures += 1
        if error is not None:
            self._breaker.stumbled(error)
            if self._patience.time() - self._asked_at >= self._deadline:
                self._breaker.exhausted(error)
                backlog.owner.degrade("append_deadline", error)
                return
        backlog.put_back(backlog.acked)
