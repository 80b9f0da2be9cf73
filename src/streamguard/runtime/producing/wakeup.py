"""One task's wait for something that others bring about."""

from __future__ import annotations

import asyncio

__all__ = ["Wakeup"]


class Wakeup:
    """At most one task waits here; whoever makes it true says so. Nothing is remembered: who waits looks first."""

    __slots__ = ("waited",)

    def __init__(self) -> None:
        self.waited: asyncio.Future[None] | None = None
        """There while somebody waits."""

    async def until_woken(self) -> None:
        """Wait for the next `wake`. Cancelling it leaves nothing behind."""
        self.waited = asyncio.get_running_loop().create_future()
        try:
            await self.waited
        finally:
            self.waited = None

    def wake(self) -> None:
        """Have who waits, if anybody, look again."""
        if self.waited is not None and not self.waited.done():
            self.waited.set_result(None)
