"""Reading logs from their stores in slices, so many at once, owners in turn.

A whole log may have tens of megabytes. Whoever reads one holds the event loop for one slice at a time, and shares the
turns with everybody else who reads: an owner that asks for many logs at once waits for itself. Clients of one owner are
given a share of the process's time: the loop turns a dozen times before a new answer's first event is out, and a slice
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

__all__ = ["SLICE_BYTES", "LogReads"]

SLICE_BYTES: Final = 16_384
"""What a download or a save reads of a log at once: a millisecond's work, about."""
SHARE: Final = 0.25
"""Of this process's time that reading for one owner's clients may take, in the long run."""
AT_ONCE_SECONDS: Final = 0.1
"""What they may take before that counts: some dozen replays of a thousand events."""
LONGEST_SECONDS: Final = 0.05
"""A read that took longer had to wait for its store."""
MAX_OWNERS: Final = 4_096
"""Owners whose share is remembered; past it the longest unseen is forgotten."""


class Pace:
    """How much of its share each owner has had: the time at which it has all of it again."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def pause(self, owner: str) -> float:
        """How long the owner has to wait; not over 0 if it need not."""
        return self._full_at.get(owner, 0.0) - self._clock() - AT_ONCE_SECONDS / SHARE

    def took(self, owner: str, seconds: float) -> None:
        """Reading for it took so long."""
        now = self._clock()
        self._full_at[owner] = max(self._full_at.get(owner, now), now) + min(seconds, LONGEST_SECONDS) / SHARE
        self._full_at.move_to_end(owner)
        if len(self._full_at) > MAX_OWNERS:
            self._full_at.popitem(last=False)


class LogReads:
    """`limit` reads at once; whoever waits gets its turn with the other owners, one after the other."""

    def __init__(self, store: StreamLog, limit: int) -> None:
        self._store = store
        self._free = limit
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Whoever waits, by owner; the first owner is next."""
        self._pace = Pace(clock=time.perf_counter)
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        """Per owner who has or waits for a paced turn beyond its share: its lock, and how many there are."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """While entered, the caller has one of the turns. Cancelled while waiting, it takes nobody's."""
        await self._acquire(owner)
        try:
            yield
        finally:
            self._pass_on()

    @asynccontextmanager
    async def paced(self, owner: str) -> AsyncIterator[bool]:
        """As `turn`, for what a client asked for. An owner who has had its share of this process's time waits until it
        has one again, and has one such turn at a time until then. Gives whether the owner was within its share."""
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
        """As `read`, for a client: paced, and a slice at a time where its owner is beyond its share: whatever begins
        meanwhile waits for one such step."""
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
        """`StreamLog.meta`, for whoever was refused a read; it costs no turn."""
        return await self._store.meta(ref)

    async def _acquire(self, owner: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # given in this very moment
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
        """Give a turn that is over to the next owner."""
        while self._waiting:
            owner, waiting = self._waiting.popitem(last=False)
            turn = waiting.popleft()
            if waiting:
                self._waiting[owner] = waiting  # the last in the row
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
