"""Reads logs in slices: a limited number at once, owners in turn.

A whole log may have tens of megabytes. A reader holds the event loop for one slice at a time, and takes turns with all
other readers: an owner that asks for many logs at once waits for itself. Reads for the clients of one owner take a
limited share of the process's time: the loop turns a dozen times before a new answer's first event is sent, and a slice
in each of these turns would make that ten times as late (measured: 5 and 56 ms).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ..values import Event, Position, StreamRef
from .records import StreamMeta
from .roles.stream_log import StreamLog

__all__ = ["SLICE_BYTES", "LogReads", "Pace"]

SLICE_BYTES: Final = 16_384
"""How much of a log a download or a save reads at once: about a millisecond's work."""
SHARE: Final = 0.25
"""How much of this process's time reads for one owner's clients may take, in the long run."""
AT_ONCE_SECONDS: Final = 0.1
"""How much time they may take before the share applies: a few dozen replays of a thousand events."""
LONGEST_SECONDS: Final = 0.05
"""A read that took longer waited for its store: the rest is not counted."""
MAX_OWNERS: Final = 4_096
"""How many owners' shares are remembered; past it, the owner that has not read for longest is forgotten."""


class Pace:
    """How much of its share each owner has used, kept as the time at which it has all of it again."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def pause(self, owner: str) -> float:
        """For how many seconds the owner has to wait; 0 or less if it need not."""
        return self._full_at.get(owner, 0.0) - self._clock() - AT_ONCE_SECONDS / SHARE

    def took(self, owner: str, seconds: float) -> None:
        """Count a read for the owner that took `seconds`."""
        now = self._clock()
        self._full_at[owner] = max(self._full_at.get(owner, now), now) + min(seconds, LONGEST_SECONDS) / SHARE
        self._full_at.move_to_end(owner)
        if len(self._full_at) > MAX_OWNERS:
            self._full_at.popitem(last=False)


class LogReads:
    """Lets `limit` reads run at once. Owners that wait get turns one after the other."""

    def __init__(self, store: StreamLog, limit: int) -> None:
        self._store = store
        self._free = limit
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Reads that wait for a turn, by owner; the first owner is next."""
        self._pace = Pace(clock=time.perf_counter)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        """Per owner beyond its share: the lock of its paced turns, and how many reads use it."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """While entered, the caller has a turn. If it is cancelled while it waits, no turn is lost."""
        await self._acquire(owner)
        try:
            yield
        finally:
            self._pass_on()

    @asynccontextmanager
    async def paced(self, owner: str) -> AsyncIterator[bool]:
        """As `turn`, for a read that a client asked for. An owner that has used up its share of this process's time
        waits until it has some again, and has one such turn at a time until then. Gives whether the owner was within
        its share."""
        if self._pace.pause(owner) <= 0:
            async with self._counted(owner):
                yield True
            return
        lock, users = self._locks.get(owner, (asyncio.Lock(), 0))
        self._locks[owner] = lock, users + 1
        try:
            async with lock:
                await asyncio.sleep(self._pace.pause(owner))
                async with self._counted(owner):
                    yield False
        finally:
            lock, users = self._locks[owner]
            if users > 1:
                self._locks[owner] = lock, users - 1
            else:
                del self._locks[owner]

    @asynccontextmanager
    async def _counted(self, owner: str) -> AsyncIterator[None]:
        async with self.turn(owner):
            begun = time.perf_counter()
            try:
                yield
            finally:
                self._pace.took(owner, time.perf_counter() - begun)

    async def replay(self, ref: StreamRef, after: Position, *, max_bytes: int) -> Sequence[Event]:
        """As `read`, for a client: paced, and no more than a slice if its owner is beyond its share, since streams that
        begin meanwhile wait for it."""
        async with self.paced(ref.key.owner) as within:
            return await self._store.read(ref, after, max_bytes=max_bytes if within else min(max_bytes, SLICE_BYTES))

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> Sequence[Event]:
        """`StreamLog.read` in a turn.

        Raises:
            LogBrokenError: the log does not go on from there.
            StoreError: the store failed.
        """
        async with self.turn(ref.key.owner):
            return await self._store.read(ref, after, max_bytes=max_bytes)

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        """`StreamLog.meta`, for a caller whose read was refused; it takes no turn."""
        return await self._store.meta(ref)

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        """`StreamLog.check_position`; it takes no turn."""
        return await self._store.check_position(ref, at)

    async def _acquire(self, owner: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it got its turn in this very moment
                self._pass_on()
            else:
                self._leave(owner, turn)
            raise

    def _leave(self, owner: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(owner)
        if waiting is not None and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[owner]

    def _pass_on(self) -> None:
        """Give the turn that is over to the next owner."""
        while self._waiting:
            owner, waiting = self._waiting.popitem(last=False)
            turn = waiting.popleft()
            if waiting:
                self._waiting[owner] = waiting  # the last in the queue
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
