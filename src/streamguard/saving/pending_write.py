"""One write that comes before a reply, and what became of it."""

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
    """A message to be saved before the reply, or a supersession, or both in one step; and what became of it."""

    def __init__(
        self, message: Message | None, supersession: Supersession | None = None, *, has_tool_results: bool = False
    ) -> None:
        self.message = message
        self.supersession = supersession
        """What is superseded in the same step; the message is a part of it."""
        self.has_tool_results = has_tool_results
        """The message is the one that the stream continues, as its client sent it back, with results of tools."""
        self.committed: bool = False
        self.error: StreamGuardError | None = None
        """Why it is not committed, as far as it was attempted."""
        self._attempted = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    def mark_attempted(self) -> None:
        """The first attempts are over."""
        self._attempted.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_attempted(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop once the first attempts are over."""
        if self._attempted.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    async def attempted(self) -> None:
        """Wait until it is committed, or was attempted without success."""
        await self._attempted.wait()

    def failure(self) -> MessageStoreError | None:
        """Why it is not committed, now that it was attempted; None when it is committed. It is attempted again before
        the reply is saved, if that can help."""
        if self.committed:
            return None
        if isinstance(self.error, MessageStoreError):
            return self.error
        unsaved = MessageUnavailableError("append: the message was not saved", operation="append")
        unsaved.__cause__ = self.error
        return unsaved

    @property
    def pending(self) -> bool:
        """Whether it may yet be written."""
        return not (self.committed or self.refused)

    @property
    def refused(self) -> bool:
        """Whether its store refused it for good."""
        return isinstance(self.error, MessageStoreError) and not self.error.retryable
