"""The phase of one stream, and the tasks that wait for it to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .phases import Phase, move

__all__ = ["Lifecycle"]


class Lifecycle:
    """Moves through the phases, and wakes everybody who waits for one. `phase` is changed by `move_to` alone."""

    __slots__ = ("_on_finished", "_waiting", "phase")

    def __init__(self) -> None:
        self.phase: Phase = Phase.PRODUCING
        self._waiting: tuple[tuple[bool, asyncio.Future[None]], ...] = ()
        """Who waits, and whether that is for `FINISHED`: nobody, for most of a stream's life."""
        self._on_finished: Callable[[], object] | None = None

    def move_to(self, phase: Phase) -> None:
        """Go on to `phase`.

        Raises:
            IllegalMoveError: it cannot follow the present one.
        """
        self.phase = move(self.phase, phase)
        finished = phase is Phase.FINISHED
        if self._waiting:
            waiting = self._waiting
            self._waiting = () if finished else tuple(waiter for waiter in waiting if waiter[0])
            for for_finished, woken in waiting:
                if (finished or not for_finished) and not woken.done():
                    woken.set_result(None)
        if finished and self._on_finished is not None:
            self._on_finished()

    def when_finished(self, callback: Callable[[], object]) -> None:
        """Call this, and no other, once the stream is over; now, if it is."""
        if self.phase is Phase.FINISHED:
            callback()
        else:
            self._on_finished = callback

    async def ending(self) -> None:
        """Wait until nothing more will be produced. Any number of waiters; cancelling one changes nothing."""
        if self.phase is Phase.PRODUCING:
            await self._wait(for_finished=False)

    async def finished(self) -> None:
        """Wait until the stream is over. Any number of waiters; cancelling one changes nothing."""
        if self.phase is not Phase.FINISHED:
            await self._wait(for_finished=True)

    async def _wait(self, *, for_finished: bool) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (for_finished, woken)
        self._waiting += (waiter,)
        try:
            await woken
        finally:
            if waiter in self._waiting:  # it was cancelled, and the phase did not change in that very moment
                self._waiting = tuple(one for one in self._waiting if one is not waiter)
