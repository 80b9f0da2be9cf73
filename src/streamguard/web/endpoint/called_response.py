"""The chunks of a response that has to be called, as an async iterator."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from ...contained import Contained
from ..headers import RawHeaders

__all__ = ["CalledResponse"]

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_COMMENTS: Final = re.compile(rb"(?:(?::[^\r\n]*)?(?:\r\n|\r|\n))+")


class CalledResponse(AsyncIterator[bytes]):
    """Calls `response` in a task of its own, which waits after each chunk until it is taken.

    Iterating raises what the response raises; `aclose` ends its call. The response reads the request like the endpoint,
    so it gets a disconnect only when the stream is ending, or when it has sent its whole body. Chunks of SSE comments
    alone are its own keep-alives. They are dropped: the guard sends keep-alives, and a silent producer must count as
    silent.
    """

    def __init__(self, response: Response, request: Request) -> None:
        self._response = response
        self._request = request
        self._sending, self._sent = anyio.create_memory_object_stream[Message]()
        self._over = asyncio.Event()
        self._work: Contained[None] | None = None

    async def start(self) -> tuple[int, RawHeaders]:
        """Call the response. Returns its status and headers.

        Raises:
            RuntimeError: its first message is another one.
        """
        self._work = Contained(self._call, name="streamguard-response")
        message = await self._next()
        if message["type"] != _START:
            raise RuntimeError(f"{self._name} sent its body before its status")
        return message["status"], list(message.get("headers", ()))

    async def __anext__(self) -> bytes:
        """The next chunk.

        Raises:
            RuntimeError: the response's call ended without its last chunk.
        """
        while not self._over.is_set():
            message = await self._next()
            if not message.get("more_body", False):
                self._over.set()
            body = bytes(message.get("body", b""))
            if body and _COMMENTS.fullmatch(body) is None:
                return body
        await self._end()  # its code after the last chunk is the endpoint's work too
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the response's call, and wait for its end."""
        task = None if self._work is None else self._work.task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})
        self._sent.close()
        self._sending.close()

    @property
    def _name(self) -> str:
        return type(self._response).__name__

    async def _next(self) -> Message:
        try:
            return await self._sent.receive()
        except anyio.EndOfStream:
            await self._end()
            raise RuntimeError(f"{self._name} ended without the last message of its body") from None

    async def _end(self) -> None:
        """Wait for the end of the call, and raise what it raised."""
        if self._work is not None:
            await self._work.task
            self._work.result()

    async def _call(self) -> None:
        scope = {name: value for name, value in self._request.scope.items() if name != "extensions"}
        # Below ASGI 2.4: from 2.4 on Starlette takes every OSError, also of the body, for a client that left.
        scope["asgi"] = {**scope.get("asgi", {}), "spec_version": "2.3"}
        async with self._sending:
            await self._response(scope, self._receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] in (_START, _BODY) and not self._over.is_set():
            await self._sending.send(message)

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
