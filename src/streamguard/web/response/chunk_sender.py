"""Sends one viewer's chunks, all in one task and so under one context."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.types import Message, Send

from .passing_sends import inside_passing
from .server_sends import RestOfSend
from .timed_viewer import ChunkSource

__all__ = ["FAIR_BYTES", "ChunkSender"]

FAIR_BYTES: Final = 8_192
"""After a chunk this large the next may be there at once: other tasks get a turn first, as they do after each chunk of
a log. A smaller chunk took all there was."""


class ChunkSender:
    """Sends one viewer's stream. Made and run in one task.

    Everything that became visible during one `send` goes out in the next, of about 64 KiB at most. Host middleware may
    keep context variables, cancel scopes and locks around its `send`: each call of it is an ordinary one, in the task.
    Only where `send` is the server's own, a lone event is written at once where it is shown: see `server_sends`.
    """

    __slots__ = ("_at_once", "_failure", "_loop", "_news", "_rest", "_send", "_viewer", "_woken")

    def __init__(
        self,
        viewer: ChunkSource,
        send: Send,
        *,
        at_once: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`at_once`: whether `send` may be called outside of the task, see `is_servers_own`. `loop` is the running
        event loop, where the caller knows it."""
        self._loop = loop or asyncio.get_running_loop()
        self._viewer = viewer
        self._send = send
        self._at_once = at_once
        self._news = False
        """Something happened since the last `poll`."""
        self._woken: asyncio.Future[None] | None = None
        """Resolved when the viewer has something new; None while nobody waits for it."""
        self._rest: RestOfSend | None = None
        """What is left of a `send` that was begun outside of the task."""
        self._failure: BaseException | None = None
        """What such a `send` raised."""

    async def run(self, start: Message) -> Send:
        """Send `start`, then everything up to the stream's end. Returns what sends the final message.

        Raises:
            ViewerCutError: the rest cannot be delivered on this connection.
            OSError: the client left (ASGI 2.4). Everything else that `send` raises comes through too.
        """
        viewer = self._viewer
        clock, create_future = self._loop.time, self._loop.create_future
        await self._send(start)
        self._send = send = inside_passing(self._send)
        viewer.listen(self._wake)
        while True:
            self._news = False
            found = viewer.poll()
            if isinstance(found, bytes):  # nearly always
                if not found:
                    return send
                viewer.sending_since = clock()  # the watchdog measures how long that takes
                await send({"type": "http.response.body", "body": found, "more_body": True})
                viewer.sending_since = None
                if len(found) >= FAIR_BYTES:
                    await asyncio.sleep(0)
                    continue
                if self._news or not viewer.drained:
                    continue
            elif found is not None:
                await self._send_log(found)
                continue
            self._woken = woken = create_future()
            try:
                await woken
            except asyncio.CancelledError as exc:
                if self._rest is not None:
                    await self._rest.cancelled(exc)
                raise
            if self._rest is not None or self._failure is not None:
                await self._finish_send()

    async def _send_log(self, read: Awaitable[bytes]) -> None:
        """Send a chunk of the log, and give others a turn."""
        chunk = await read
        if chunk:
            self._viewer.sending_since = self._loop.time()
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._viewer.sending_since = None
        await asyncio.sleep(0)

    async def _finish_send(self) -> None:
        """Wait for the rest of a `send` that was begun outside of the task, or raise what it raised."""
        rest, self._rest = self._rest, None
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # else the exception's traceback would know the exception
        if rest is not None:
            self._viewer.sending_since = self._loop.time()
            await rest
            self._viewer.sending_since = None

    def _wake(self) -> None:
        """There is news: send it, or wake the task, if it waits."""
        woken = self._woken
        if woken is None:
            self._news = True
            return
        self._woken = None
        if self._at_once and not woken.done():
            try:
                chunk = self._viewer.newest(FAIR_BYTES)
                if chunk is not None:
                    send = self._send
                    steps = send({"type": "http.response.body", "body": chunk, "more_body": True}).__await__()
                    for found in steps:  # as far as it goes without waiting, which is to its end, nearly always
                        self._rest = RestOfSend(steps, found)
                        break
                    else:
                        if not self._news:
                            self._woken = woken
                            return
            except BaseException as exc:  # noqa: BLE001 -- the task raises it
                self._failure = exc
        if not woken.done():
            woken.set_result(None)
