"""Gates at which a test holds up the calls of a store."""

from __future__ import annotations

import asyncio
from collections import Counter

__all__ = ["Gated"]


class Gated:
    """Lets calls wait for as long as a test holds their operation."""

    def __init__(self) -> None:
        self._gates: dict[tuple[str, bool], asyncio.Event] = {}
        self.waiting: Counter[str] = Counter()
        """Per operation, how many calls wait at its gate."""

    def hold(self, operation: str, *, after: bool = False) -> None:
        """Let calls of `operation` wait before they are carried out, or with `after` before they are answered."""
        self._gates[operation, after] = asyncio.Event()

    def let_go(self, operation: str) -> None:
        """Let waiting and later calls of `operation` through."""
        for after in (False, True):
            if (operation, after) in self._gates:
                self._gates.pop((operation, after)).set()

    async def _at_gate(self, operation: str, *, after: bool = False) -> None:
        gate = self._gates.get((operation, after))
        if gate is not None:
            self.waiting[operation] += 1
            try:
                await gate.wait()
            finally:
                self.waiting[operation] -= 1
