"""The body of a request that a rule's own selectors may read before the application inside does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable

import anyio.lowlevel
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from ...decoding import DAMAGE
from ...offloading import offloaded
from ...wire.large_json import LARGE, read_large_json
from ..middleware.body_too_large import BodyTooLargeError
from ..middleware.request_reader import is_cancelled

__all__ = ["KeptBody"]


class KeptBody:
    """Reads a request's body for the rule, and gives it to the application inside as if nobody had read it.

    What nobody here asks for is never read here: uploads of any size go through piece by piece.

    Args:
        scope: the request's.
        receive: whose messages these are.
        limit_bytes: how much of the body may be kept.
    """

    def __init__(self, scope: Scope, receive: Receive, limit_bytes: int) -> None:
        pieces = _Pieces(receive, limit_bytes)
        self._json: object = None
        self._json_read = False
        self._reading: asyncio.Lock | None = None
        """Held while the body is read; None before that."""
        self.request: Request = Request(scope, pieces.receive_and_keep)
        """The request as selectors and predicates see it. Its body may be read any number of times."""
        self.receive: Receive = pieces.receive
        """The `receive` of the application inside: first what was kept, then what comes. Cancelling it loses
        nothing."""

    async def json(self) -> object:
        """The body as JSON; None if its content type is another one, or it is no JSON. A body of another content type
        is not read at all.

        Raises:
            BodyTooLargeError: it says that it is JSON, and there is more of it than may be kept.
        """
        if self._reading is None:
            self._reading = asyncio.Lock()
        async with self._reading:
            if not self._json_read:
                self._json = await self._read_json()
                self._json_read = True
        return self._json

    async def _read_json(self) -> object:
        media_type = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type and not media_type.endswith(("/json", "+json")):
            return None
        try:
            body = await self.request.body()
        except BodyTooLargeError:
            if media_type:
                raise
            return None
        try:
            return await offloaded(lambda: read_large_json(body), large=len(body) >= LARGE)
        except DAMAGE:
            return None


class _Pieces:
    """The messages of one request. Knows nothing of the request itself, so that no cycle keeps that in memory."""

    __slots__ = ("_kept", "_kept_bytes", "_limit", "_receive")

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive = receive
        self._limit = limit_bytes
        self._kept: deque[Message] | None = None
        """None while there are none: an empty deque takes 760 bytes, for as long as the stream is open."""
        self._kept_bytes = 0

    def receive(self) -> Awaitable[Message]:
        """See `KeptBody.receive`. No coroutine of its own, in which the application would wait as long as it
        streams."""
        return self._receive() if self._kept is None else self._receive_kept()

    async def _receive_kept(self) -> Message:
        kept = self._kept
        if kept is None:  # another call, which was awaited first, took the last
            return await self._receive()
        if is_cancelled():
            await anyio.lowlevel.checkpoint()  # where the cancellation arrives
        message = kept.popleft()
        if not kept:
            self._kept = None
        return message

    async def receive_and_keep(self) -> Message:
        """The next message, which `receive` gives again."""
        message = await self._receive()
        if message["type"] == "http.request":
            if self._kept is None:
                self._kept = deque()
            self._kept.append(message)  # also the piece that is too much: it is the application's
            self._kept_bytes += len(message.get("body", b""))
            if self._kept_bytes > self._limit:
                raise BodyTooLargeError
        return message
