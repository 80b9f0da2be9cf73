"""`MessageSave`: what `run.save` returns."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Final

from ...errors import ConfigurationError, MessageUnavailableError
from ...saving.pending_write import SAVE, PendingWrite

__all__ = ["MessageSave"]

LOOK_SECONDS: Final = 0.5
"""How often a thread that waits for a save checks whether the event loop is still open."""


class MessageSave:
    """A message on its way into the message store. Await it to wait for the commit; nothing needs to."""

    def __init__(self, message_id: str, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        self.message_id = message_id
        """The id it is stored under."""
        self._loop = loop
        self._loop_thread = loop_thread
        self._future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def __await__(self) -> Generator[object, None, None]:
        """Wait until it is committed. Cancelling the wait does not keep it from being saved.

        Raises:
            MessageStoreError: it was not committed, for now or for good: see its `retryable`. A retryable save is tried
                again when the reply is saved.
        """
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def result(self, timeout_seconds: float | None = None) -> None:
        """Wait, for sync endpoints: blocks their thread, but no longer than the save is being tried.

        Raises:
            MessageStoreError: as when awaited; also if the runtime ended before the save was tried.
            TimeoutError: not committed within `timeout_seconds`; the save goes on.
            ConfigurationError: called on the event loop, which it would stop.
        """
        if threading.get_ident() == self._loop_thread:
            raise ConfigurationError("await what run.save gives; result() is for endpoints that run in a thread")
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            try:
                return self._future.result(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            if self._loop.is_closed():  # nothing is left to resolve it
                self.refuse()

    def refuse(self) -> None:
        """Fail: nobody is left to save the message. From any thread; not for endpoints to call."""
        with suppress(concurrent.futures.InvalidStateError):
            self._future.set_exception(
                MessageUnavailableError(f"{SAVE}: its stream is over, and nothing is saved for it here", operation=SAVE)
            )

    def follow(self, entry: PendingWrite) -> None:
        """Resolve when the entry has been tried; called on the event loop. Not for endpoints to call."""

        def resolve() -> None:
            error = entry.failure()
            with suppress(concurrent.futures.InvalidStateError):
                if error is None:
                    self._future.set_result(None)
                else:
                    self._future.set_exception(error)

        entry.when_attempted(resolve)
