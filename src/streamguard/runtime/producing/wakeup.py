"""A wait of one task for something that other tasks bring about."""

from __future__ import annotations

import asyncio

__all__ = ["Wakeup"]


class Wakeup:
    """At most one task waits here, until another one wakes it. A wake that finds nobody is not remembered: the waiter
    checks its condition first."""

    __slots__ = ("waited",)

    def __init__(self) -> None:
        self.waited: asyncio.Future[None] | None = None
        """Set while a task waits."""

    async def until_woken(self) -> None:
        """Wait for the next `wake`. Cancelling it leaves nothing behind.

        Raises:
            RuntimeError: another task waits here. It would never be woken.
        """
        if self.waited is not None:
            raise RuntimeError("two tasks wait where one may")
        self.waited = asyncio.get_running_loop().create_future()
        try:
            await self.waited
        finally:
            self.waited = None

    def wake(self) -> None:
        """Wake the waiter, if any."""
        if self.waited is not None and not self.waited.done():
            self.waited.set_result(None)
