"""Lets a few of many through in each turn of the event loop, so that others have theirs in between.

When a proxy restarts, all of its clients leave in one moment and come back in the next. Each takes some tenths of a
millisecond: in one turn of the event loop, five hundred would hold up every other stream for as long as all of them
take.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

__all__ = ["Throttle"]

PER_TURN: Final = 8
"""How many are let through in one turn: together they take a millisecond or two."""


class Throttle:
    """First come, first served. Used in one event loop."""

    def __init__(self) -> None:
        self._free = PER_TURN
        """How many more may pass in this turn."""
        self._waiting: deque[Callable[[], object]] = deque()
        self._turning = False

    def enter(self, callback: Callable[[], object]) -> None:
        """Call `callback`, which must not raise: now, if this turn has room for it, else in one of the next."""
        if self._free and not self._waiting:
            self._pass(callback)
        else:
            self._waiting.append(callback)

    async def passed(self) -> None:
        """Wait until it is the caller's turn: not at all, if this one has room. Cancelling it disturbs no other."""
        if self._free and not self._waiting:
            self._pass(_nothing)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(partial(_resolve, turn))
        await turn

    def _pass(self, callback: Callable[[], object]) -> None:
        self._free -= 1
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        callback()

    def _turn(self) -> None:
        self._turning, self._free = False, PER_TURN
        while self._free and self._waiting:
            self._pass(self._waiting.popleft())


def _nothing() -> None:
    """Who waits for its turn goes on by itself."""


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
