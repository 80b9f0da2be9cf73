"""Reading logs from their stores in slices, so many at once, owners in turn.

A whole log may have tens of megabytes. Whoever reads one holds the event loop for one slice at a time, and shares the
turns with everybody else who reads: an owner that asks for many logs at once waits for itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ..model import Event, Position, StreamRef
from ..stores.base import StreamMeta, StreamStore

__all__ = ["SLICE_BYTES", "LogReads"]

SLICE_BYTES: Final = 16_384
"""What a download or a save reads of a log at once: a millisecond's work, about."""


class LogReads:
    """`limit` reads at once; whoever waits gets its turn with the other owners, one after the other."""

    def __init__(self, store: StreamStore, limit: int) -> None:
        self._store = store
        self._free = limit
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Whoever waits, by owner; the first owner is next."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """While entered, the caller has one of the turns. Cancelled while waiting, it takes nobody's."""
        await self._acquire(owner)
        try:
            yield
        finally:
            self._pass_on()

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> Sequence[Event]:
        """`StreamStore.read` in a turn.

        Raises:
            LogBrokenError: the log does not go on from there.
            StoreError: the store failed.
        """
        async with self.turn(ref.key.owner):
            return await self._store.read(ref, after, max_bytes=max_bytes)

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        """`StreamStore.meta`, for whoever was refused a read; it costs no turn."""
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
