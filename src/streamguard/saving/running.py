"""A save under way, in a task of the runtime's."""

from __future__ import annotations

import asyncio
from typing import Final

import anyio

from ..deadlines import Deadline
from .calls import Attempts
from .reply import SaveResult, StreamSave, Verdict
from .user_messages import UserMessages

__all__ = ["SHUTDOWN", "RunningSave"]

SHUTDOWN: Final = "shutdown"
"""Reason of a save that this process broke off: the next worker may begin at once."""


class RunningSave:
    """A save under way."""

    def __init__(self, save: StreamSave, user_messages: UserMessages) -> None:
        self.user_messages = user_messages
        self.attempts: Attempts = save.attempts
        self.result: SaveResult | None = None
        self._save = save
        self._scope = anyio.CancelScope()
        self._over = asyncio.Event()

    async def run(self) -> None:
        try:
            with self._scope:
                self.result = await self._save.run()
        finally:
            if self.result is None:
                self.result = SaveResult(Verdict.FAILED, SHUTDOWN if self._scope.cancel_called else "internal")
            self._over.set()

    async def wait(self, seconds: float | None = None) -> SaveResult | None:
        """What came of it; None when it goes on past `seconds`."""
        try:
            if seconds is None:
                await self._over.wait()
            else:
                async with Deadline.after(seconds).limit():
                    await self._over.wait()
        except TimeoutError:
            return None
        return self.result

    @property
    def failing(self) -> bool:
        return self.attempts.failures > 0 or self.user_messages.failing

    def give_up(self) -> None:
        self._scope.cancel()
