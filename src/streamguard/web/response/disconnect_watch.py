"""The watch for a client that leaves while it is sent a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive

from .interruption import Interruption

__all__ = ["DisconnectWatch"]


class DisconnectWatch:
    """Reads a request's messages until the client leaves, or until `end`: either in the task that calls `until_left`,
    or in a task of its own (`begin_soon`), for which its owner waits until it has `ended`.

    Args:
        receive: the request's.
        on_left: called when the client left, or when `receive` failed. Not after `end`.
        enter: calls it, in this turn of the event loop or in one of the next: many clients may leave at once.
        loop: the running event loop.
    """

    __slots__ = (
        "_begin",
        "_enter",
        "_here",
        "_loop",
        "_on_left",
        "_over",
        "_receive",
        "_task",
        "client_left",
        "failure",
    )

    def __init__(
        self,
        receive: Receive,
        *,
        on_left: Callable[[], None],
        enter: Callable[[Callable[[], None]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.client_left: bool = False
        self.failure: Exception | None = None
        """What `receive` raised. `on_left` is called for that too."""
        self._receive = receive
        self._on_left = on_left
        self._enter = enter
        self._loop = loop
        self._over = False
        self._here: Interruption | None = None
        """Ends the watch; None before it has begun."""
        self._task: asyncio.Task[None] | None = None
        self._begin: asyncio.Handle | None = None

    async def until_left(self) -> None:
        """Watch in the present task, until the client left or `end` was called. Never raises what `receive` raises."""
        if self._over:
            return
        self._here = Interruption(self._loop)
        with self._here:
            try:
                while (await self._receive())["type"] != "http.disconnect":
                    pass
            except Exception as exc:  # noqa: BLE001 -- the response raises it
                self._heard(exc)
            else:
                self._heard(None)

    def begin_soon(self) -> None:
        """Watch in a task of its own, from the next turn of the event loop on: what is sent before that needs none."""
        self._begin = self._loop.call_soon(self._start)

    def end(self, *, answered: bool = False) -> None:
        """Watch no longer: what the server says from here on means nothing. Repeats change nothing.

        `answered`: the server was just given the end of the answer. It then tells whoever waits for a message of a
        disconnect, and the watch is broken off only if it does not: a cancellation goes through every coroutine that
        waits.
        """
        if self._over:
            return
        self._over = True
        if self._begin is not None:
            self._begin.cancel()
        if self._here is not None:
            if answered:
                self._loop.call_soon(self._here.request)
            else:
                self._here.request()
        elif self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing reads the messages any more."""
        task = self._task
        if task is not None and not task.done():
            gone: asyncio.Future[None] = self._loop.create_future()
            task.add_done_callback(lambda _: None if gone.done() else gone.set_result(None))
            await gone
        self._task = None  # its cancellation refers back here, and would keep all of the answer in a cycle

    def _start(self) -> None:
        self._task = self._loop.create_task(self.until_left(), name="streamguard-disconnect")

    def _heard(self, failure: Exception | None) -> None:
        """`receive` failed, or else the client left. Neither means anything once the watch is over."""
        if not self._over:
            self.failure, self.client_left = failure, failure is None
            self._enter(self._tell)

    def _tell(self) -> None:
        if not self._over:
            self._on_left()
