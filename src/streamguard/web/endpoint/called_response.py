"""The chunks of a response that has to be called, as an async iterator."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from ...contained import Contained
from ...runtime.producing.item_source import DivertedItems
from ...wire.recognition import SSE
from ..headers import RawHeaders, media_type_of, plain_lines
from .closing import body_of, close_unread

__all__ = ["CalledResponse"]

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_COMMENTS: Final = re.compile(rb"(?::[^\r\n]*[\r\n]+)+")
"""Whole lines of comments, and blank ones after them. There is one way to match them, since a search for others would
take for ever."""
_BLOCK_ENDS: Final = (b"\n\n", b"\n\r\n", b"\n\r", b"\r\r", b"\r\r\n")
"""What a blank line, and so a block, ends with."""
_LONGEST_END: Final = 3


class CalledResponse(DivertedItems):
    """Calls `response` in a task of its own, which waits after each chunk until it is taken.

    Iterating raises what the response raises; `aclose` ends its call. The response reads the request like the endpoint,
    so it gets a disconnect only when the stream is ending, or when it has sent its whole body. Between two blocks of
    server-sent events, chunks of comments alone are its own keep-alives. They are dropped: the guard sends keep-alives,
    and a silent producer must count as silent. Elsewhere such a chunk is a piece of a line or block that was cut there.
    """

    def __init__(self, response: Response, request: Request) -> None:
        self._response = response
        self._request = request
        self._waiting: deque[tuple[Message, asyncio.Future[None]]] = deque()
        """Messages that wait until they are taken, each with what is resolved then."""
        self._arrived: asyncio.Future[None] | None = None
        """Resolved when a message waits, or the call ends; None while nobody waits for that."""
        self._take: Callable[[bytes], bool] | None = None
        """Takes a chunk in the task that sends it; see `divert`."""
        self._failure: Exception | None = None
        """What that raised."""
        self._over = asyncio.Event()
        self._sends_events = False
        """Its media type is that of server-sent events."""
        self._last = b""
        """The last bytes of what was taken; empty before the first."""
        self._work: Contained[None] | None = None
        self._body: object = body_of(response)
        """What the response iterates; None without such, and once that is closed."""

    async def start(self) -> tuple[int, RawHeaders]:
        """Call the response. Returns its status and headers.

        Raises:
            RuntimeError: its first message is another one.
        """
        self._work = Contained(self._call, name="streamguard-response")
        self._work.task.add_done_callback(lambda _: self._wake())
        message = await self._next()
        if message["type"] != _START:
            raise RuntimeError(f"{self._name} sent its body before its status")
        headers = plain_lines(message.get("headers", ()))
        self._sends_events = media_type_of(Headers(raw=headers)) == SSE
        return message["status"], headers

    def divert(self, take: Callable[[object], bool]) -> None:
        """See `DivertedItems.divert`."""
        self._take = take

    async def __anext__(self) -> bytes:
        """The next chunk.

        Raises:
            RuntimeError: the response's call ended without its last chunk.
        """
        while not self._over.is_set():
            message = await self._next()
            if not message.get("more_body", False):
                self._over.set()
            if body := self._content(message):
                return body
        await self._end()  # its code after the last chunk is the endpoint's work too
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the response's call, wait for its end, and close what it iterates: few responses do that themselves."""
        work = self._work
        if work is not None and not work.task.done():
            work.task.cancel()
            await asyncio.wait({work.task})
        body, self._body = self._body, None
        await close_unread(body)
        while self._waiting:  # sent by other tasks than that of the call
            _, taken = self._waiting.popleft()
            if not taken.done():
                taken.set_exception(anyio.ClosedResourceError())

    @property
    def _name(self) -> str:
        return type(self._response).__name__

    async def _next(self) -> Message:
        while True:
            failure, self._failure = self._failure, None
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure  # else the exception's traceback would know the exception
            if self._waiting:
                message, taken = self._waiting.popleft()
                if not taken.done():
                    taken.set_result(None)
                return message
            if self._ended:
                await self._end()
                raise RuntimeError(f"{self._name} ended without the last message of its body")
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    @property
    def _ended(self) -> bool:
        return self._work is None or self._work.task.done()

    def _wake(self) -> None:
        arrived, self._arrived = self._arrived, None
        if arrived is not None and not arrived.done():
            arrived.set_result(None)

    async def _end(self) -> None:
        """Wait for the end of the call, and raise what it raised."""
        if self._work is not None:
            await self._work.task
            self._work.result()

    async def _call(self) -> None:
        scope = {name: value for name, value in self._request.scope.items() if name != "extensions"}
        # Below ASGI 2.4: from 2.4 on Starlette takes every OSError, also of the body, for a client that left.
        scope["asgi"] = {**scope.get("asgi", {}), "spec_version": "2.3"}
        await self._response(scope, self._receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] not in (_START, _BODY) or self._over.is_set():
            return
        if self._ended:
            raise anyio.ClosedResourceError
        arrived, take = self._arrived, self._take
        if take is not None and arrived is not None and not arrived.done() and message.get("more_body", False):
            body = self._content(message)
            try:
                if not body or take(body):  # nearly always
                    return
            except Exception as exc:  # noqa: BLE001 -- raised where the chunks are iterated, not here
                # Without this method's frame, which knows this object.
                self._failure = exc.with_traceback(None if exc.__traceback__ is None else exc.__traceback__.tb_next)
                self._wake()
            self._take = None
            return
        waiting = message, asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._wake()
        try:
            await waiting[1]
        except asyncio.CancelledError:
            with suppress(ValueError):
                self._waiting.remove(waiting)
            raise

    async def _receive(self) -> Message:
        asked = asyncio.ensure_future(self._request.receive())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({asked, over}, return_when=asyncio.FIRST_COMPLETED)
            return asked.result() if asked.done() else {"type": "http.disconnect"}
        finally:
            over.cancel()
            asked.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({asked})

    def _content(self, message: Message) -> bytes:
        """The body of a message; empty for a keep-alive. Called once for each message, in their order."""
        body = bytes(message.get("body", b""))
        if body[:1] == b":" and self._between_blocks and _COMMENTS.fullmatch(body):
            return b""
        if body:
            self._last = body[-_LONGEST_END:] if len(body) >= _LONGEST_END else (self._last + body)[-_LONGEST_END:]
        return body

    @property
    def _between_blocks(self) -> bool:
        return self._sends_events and (not self._last or self._last.endswith(_BLOCK_ENDS))
