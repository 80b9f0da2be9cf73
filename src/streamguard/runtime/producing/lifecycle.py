"""The phase of one stream, and the tasks that wait for it to end."""

from __future__ import annotations

import asyncio

from .phases import Phase, move

__all__ = ["Lifecycle"]


class Lifecycle:
    """Moves through the phases, and wakes everybody who waits for one. `phase` is changed by `move_to` alone."""

    __slots__ = ("_ending", "_finished", "phase")

    def __init__(self) -> None:
        self.phase: Phase = Phase.PRODUCING
        self._ending = asyncio.Event()
        self._finished = asyncio.Event()

    def move_to(self, phase: Phase) -> None:
        """Go on to `phase`.

        Raises:
            IllegalMoveError: it cannot follow the present one.
        """
        self.phase = move(self.phase, phase)
        self._ending.set()
        if phase is Phase.FINISHED:
            self._finished.set()

    async def ending(self) -> None:
        """Wait until nothing more will be produced. Any number of waiters; cancelling one changes nothing."""
        await self._ending.wait()

    async def finished(self) -> None:
        """Wait until the stream is over. Any number of waiters; cancelling one changes nothing."""
        await self._finished.wait()
