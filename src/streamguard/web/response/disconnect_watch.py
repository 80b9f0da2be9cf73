"""The watch for a client that leaves while it is sent a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive

__all__ = ["DisconnectWatch"]


class DisconnectWatch:
    """Reads a request's messages until the client leaves, in a task of its own.

    The task begins with the next turn of the event loop: an answer that is all there is sent before that, and needs
    none. `end` it, and wait until it has `ended`.
    """

    __slots__ = ("_begin", "_on_left", "_over", "_receive", "_task", "client_left", "failure")

    def __init__(self, receive: Receive, *, on_left: Callable[[], None]) -> None:
        self.client_left: bool = False
        self.failure: Exception | None = None
        """What `receive` raised. `on_left` is called for that too."""
        self._receive = receive
        self._on_left = on_left
        self._over = False
        self._task: asyncio.Task[None] | None = None
        self._begin: asyncio.Handle = asyncio.get_running_loop().call_soon(self._start)

    def end(self) -> None:
        """Watch no longer: what the server says from here on means nothing. Repeats change nothing."""
        self._over = True
        self._begin.cancel()
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing reads the messages any more."""
        task = self._task
        if task is None or task.done():
            return
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task.add_done_callback(lambda _: None if gone.done() else gone.set_result(None))
        await gone

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="streamguard-disconnect")

    async def _watch(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except Exception as exc:  # noqa: BLE001 -- the response raises it
            if self._over:
                return
            self.failure = exc
        else:
            if self._over:
                return
            self.client_left = True
        self._on_left()
