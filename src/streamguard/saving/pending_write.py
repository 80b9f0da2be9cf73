"""What is to be written before a reply, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ..errors import MessageStoreError, MessageUnavailableError, StreamGuardError
from ..messages import Message
from .supersession import Supersession

__all__ = ["SAVE", "PendingWrite"]

SAVE: Final = "save"
"""The operation named by what `run.save` itself refuses."""


class PendingWrite:
    """A message to be saved before the reply, or a superseding, or both in one step; and what became of it."""

    def __init__(self, message: Message | None, supersession: Supersession | None = None) -> None:
        self.message = message
        self.supersession = supersession
        """The superseding, of which the message is a part."""
        self.committed: bool = False
        self.error: StreamGuardError | None = None
        """Why it is not, as far as it was tried."""
        self._tried = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    def tried(self) -> None:
        """The first attempts are over."""
        self._tried.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_tried(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop once the first attempts are over."""
        if self._tried.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    async def settled(self) -> None:
        """Wait until it is committed, or was tried without success."""
        await self._tried.wait()

    def failure(self) -> MessageStoreError | None:
        """Why it is not committed, now that it was tried; None when it is. It is tried again before the reply is saved,
        if that can help."""
        if self.committed:
            return None
        if isinstance(self.error, MessageStoreError):
            return self.error
        unsaved = MessageUnavailableError("append: the message was not saved", operation="append")
        unsaved.__cause__ = self.error
        return unsaved

    @property
    def waits(self) -> bool:
        """Whether it may yet be written."""
        return not (self.committed or self.refused)

    @property
    def refused(self) -> bool:
        """Whether it was refused for good."""
        return isinstance(self.error, MessageStoreError) and not self.error.retryable
