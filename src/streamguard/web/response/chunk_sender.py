"""Sends one viewer's chunks, all in one task and so under one context."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.types import Message, Send

from ...runtime.viewing.feed import CHUNK_BYTES
from ..middleware.exchange import Exchange, ResponseState
from .server_sends import RestOfSend, past_layer
from .timed_viewer import ChunkSource

__all__ = ["FAIR_BYTES", "ChunkSender"]

FAIR_BYTES: Final = 8_192
"""After a chunk this large the next may be there at once: other tasks get a turn first, as they do after each chunk of
a log. A smaller chunk took all there was. So large a last chunk goes out without the end of the body."""


class ChunkSender:
    """Sends one viewer's stream. Made and run in one task.

    Everything that became visible during one `send` goes out in the next, of about 64 KiB at most. Host middleware may
    keep context variables, cancel scopes and locks around its `send`: each call of it is an ordinary one, in the task.
    Only where `send` is the server's own, a lone event is written at once where it is shown: see `server_sends`.

    There the stream's last chunk and the end of the body are one message, too, which is one system call less. Such a
    server waits only before it writes the message, so that until then a disconnect is what it seems. With any other
    `send` the watch for a disconnect has to end first, so the end of the body is a message of its own.
    """

    __slots__ = (
        "_at_once",
        "_direct",
        "_exchange",
        "_failure",
        "_inside",
        "_loop",
        "_news",
        "_ready",
        "_rest",
        "_send",
        "_viewer",
        "_woken",
    )

    def __init__(
        self,
        viewer: ChunkSource,
        send: Send,
        *,
        inside: Send,
        at_once: bool,
        exchange: Exchange,
    ) -> None:
        """`inside` is what sends the body: see `inside_passing`. `at_once`: whether it may be called outside of the
        task, see `is_servers_own`."""
        self._exchange = exchange
        self._loop = exchange.loop
        self._viewer = viewer
        self._send = send
        self._inside = inside
        self._at_once = at_once
        self._direct: Send | None = None
        """What sends an event where it is shown: the server's own `send`, once the response has started. Else None."""
        self._ready: Send | None = None
        """The same while the task waits, and no send is under way. Else None. Hot path: no event asks whether the task
        was cancelled meanwhile, because a response cuts its viewer first."""
        self._news = False
        """Something happened since the last `poll`."""
        self._woken: asyncio.Future[None] | None = None
        """Resolved when the viewer has something new; None while nobody waits for it."""
        self._rest: RestOfSend | None = None
        """What is left of a `send` that was begun outside of the task."""
        self._failure: BaseException | None = None
        """What such a `send` raised."""

    async def run(self, start: Message, before: bytes = b"") -> bool:
        """Send `start` and `before`, then everything up to the stream's end. Returns whether the end of the body went
        out with it; if not, a final message has to follow.

        Raises:
            ViewerCutError: the rest cannot be delivered on this connection.
            OSError: the client left (ASGI 2.4). Everything else that `send` raises comes through too.
        """
        viewer = self._viewer
        clock, create_future, at_once = self._loop.time, self._loop.create_future, self._at_once
        await self._send(start)
        del start  # its headers, which this would keep as long as the stream is open
        send = self._inside
        for begin in range(0, len(before), CHUNK_BYTES):
            viewer.sending_since = clock()
            piece = before[begin : begin + CHUNK_BYTES]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            viewer.sending_since = None
        if at_once:
            self._direct = past_layer(send, self._exchange)
        viewer.listen(self._wake)
        while True:
            self._news = False
            found = viewer.poll()
            if isinstance(found, bytes):  # nearly always
                if not found:
                    return False
                viewer.sending_since = clock()  # the watchdog measures how long that takes
                if at_once and len(found) < FAIR_BYTES and viewer.at_end:
                    await self._send_last(found)
                    return True
                await send({"type": "http.response.body", "body": found, "more_body": True})
                viewer.sending_since = None
                if len(found) >= FAIR_BYTES:
                    await asyncio.sleep(0)
                    continue
                if self._news or not viewer.drained:
                    continue
            elif found is not None:
                if await self._send_log(found):
                    return True
                continue
            self._woken = woken = create_future()
            self._ready = self._direct
            try:
                await woken
            except asyncio.CancelledError as exc:
                self._ready = None
                if self._rest is not None:
                    await self._rest.cancelled(exc)
                raise
            if self._rest is not None or self._failure is not None:
                await self._finish_send()

    async def _send_last(self, chunk: bytes) -> None:
        """Send the stream's last chunk and the end of the body."""
        exchange = self._exchange
        exchange.response = ResponseState.WHOLE  # the outermost layer passes the end of no other body on
        try:
            await self._inside({"type": "http.response.body", "body": chunk, "more_body": False})
        except BaseException:
            exchange.response = ResponseState.CUT_SHORT
            raise
        self._viewer.sending_since = None
        self._viewer.end()

    async def _send_log(self, read: Awaitable[bytes]) -> bool:
        """Send a chunk of the log, and give others a turn. Returns whether it was the last, with the end of the
        body."""
        chunk = await read
        if chunk:
            self._viewer.sending_since = self._loop.time()
            if self._at_once and len(chunk) < FAIR_BYTES and self._viewer.at_end:
                await self._send_last(chunk)
                return True
            await self._inside({"type": "http.response.body", "body": chunk, "more_body": True})
            self._viewer.sending_since = None
        await asyncio.sleep(0)
        return False

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

    def _wake(self, newest: bytes, seq: int) -> None:
        """There is news: send it, or wake the task, if it waits. See `OnNews`."""
        send, viewer = self._ready, self._viewer
        if send is not None and newest and viewer.live and viewer.position + 1 == seq:
            self._ready, viewer.position = None, seq
            try:
                steps = send({"type": "http.response.body", "body": newest, "more_body": True}).__await__()
                for found in steps:  # as far as it goes without waiting, which is to its end, nearly always
                    self._rest = RestOfSend(steps, found)
                    break
                else:
                    if self._woken is not None:
                        self._ready = send
                        return
            except BaseException as exc:  # noqa: BLE001 -- the task raises it
                self._failure = exc
        woken, self._woken, self._ready = self._woken, None, None
        if woken is None:
            self._news = True
        elif not woken.done():
            woken.set_result(None)
