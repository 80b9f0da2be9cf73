"""A writer for each server of a store that has several, so that a slow one holds up no stream on another.

A backlog belongs to one writer at a time, which its `queue` is. When its stream moved to another server, its
writer hands it over between two commits: then nothing of it is under way.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextvars import copy_context

from ...deadlines import LoopClock
from ...errors import StoreUnavailableError
from ...event_times import EventTimes
from ...settings import Settings
from ...stores.appends import Placement
from ...stores.roles.stream_writes import StreamWrites
from .backlog import Backlog
from .last_commit import LastCommit, StoreHealth
from .log_tally import LogTally
from .writer import Writer

__all__ = ["ServerWriters"]


class ServerWriters:
    """The writers of a process, by server. They begin with the first stream of their server, and run as long as the
    process."""

    def __init__(
        self,
        store: StreamWrites,
        placement: Placement,
        breaker: StoreHealth,
        settings: Settings,
        *,
        clock: LoopClock,
        supervise: Callable[[str, Callable[[], Awaitable[None]]], None],
        tally: LogTally | None = None,
        times: EventTimes | None = None,
    ) -> None:
        """See `Writer`. `supervise` runs a writer, under a name; it is called under the context variables that are
        those of this call."""

        def make(server: object) -> _ServerWriter:
            health = _ServerHealth(breaker, clock)
            return _ServerWriter(
                store,
                health,
                settings,
                clock=clock,
                tally=tally,
                times=times,
                placement=placement,
                server=server,
                move=self.submit,
            )

        self._make = make
        self._placement = placement
        self._supervise = supervise
        self._context = copy_context()
        self._writers: dict[object, _ServerWriter] = {}

    @property
    def waiting(self) -> int:
        """How many streams have events that wait for a commit."""
        return sum(writer.waiting for writer in self._writers.values())

    def submit(self, backlog: Backlog) -> None:
        """The backlog has events to commit, and no writer yet."""
        server = self._placement.server_of(backlog.ref)
        writer = self._writers.get(server)
        if writer is None:
            writer = self._writers[server] = self._make(server)
            # Not under those of the stream that happened to be the first.
            self._context.copy().run(self._supervise, "writer", writer.run)
        backlog.queue = writer
        writer.submit(backlog)

    @property
    def enqueue(self) -> Callable[[Backlog], object]:
        """See `CommitQueue`: this is the queue of those that have no writer yet."""
        return self.submit

    def leave_to_end(self, backlog: Backlog) -> LastCommit | None:
        """As `Writer.leave_to_end`."""
        writer = self._writers.get(self._placement.server_of(backlog.ref))
        return None if writer is None else writer.leave_to_end(backlog)


class _ServerWriter(Writer):
    """The writer of one server."""

    def __init__(
        self,
        store: StreamWrites,
        breaker: StoreHealth,
        settings: Settings,
        *,
        clock: LoopClock,
        tally: LogTally | None,
        times: EventTimes | None,
        placement: Placement,
        server: object,
        move: Callable[[Backlog], None],
    ) -> None:
        super().__init__(store, breaker, settings, clock=clock, tally=tally, times=times)
        self._placement = placement
        self._server = server
        self._move = move

    async def _commit(self) -> None:
        for backlog in [one for one in self._dirty if self._placement.server_of(one.ref) != self._server]:
            del self._dirty[backlog]
            self._move(backlog)
        await super()._commit()


class _ServerHealth:
    """What one writer knows of its server, and tells the breaker, which is about all."""

    def __init__(self, breaker: StoreHealth, clock: LoopClock) -> None:
        self._breaker = breaker
        self._clock = clock
        self.answered_at = -math.inf

    def answered(self) -> None:
        self.answered_at = self._clock.time()
        self._breaker.answered()

    def stumbled(self, error: StoreUnavailableError) -> None:
        self._breaker.stumbled(error)

    def exhausted(self, error: StoreUnavailableError) -> None:
        self._breaker.exhausted(error)
