"""A request's messages, read in one place for two readers: the application, and the viewer's watch for a disconnect.

ASGI gives a request one `receive`, and a message that one reader took is lost to the other. An answer needs both: its
endpoint may read the body while it streams, and its viewer must learn that the client left. So a `RequestReader` reads
for both. The endpoint's request lives as long as its producer: a client that leaves ends a view, not an answer, so the
endpoint gets `http.disconnect` only once the stream is ending.

The reader also counts bytes, since it sees each first: a body over its endpoint's limit is refused before it is whole.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final

import anyio
import anyio.lowlevel
from starlette.types import Message, Receive, Scope

from ...faults import Fault, FaultCode
from ...runtime import LiveStream
from ...runtime.request import Ending
from ...values import Outcome
from .application_call import disconnected
from .body_too_large import BodyTooLargeError

__all__ = ["RequestReader", "body_of", "declared_length", "is_cancelled"]

READ_AHEAD_BYTES: Final = 262_144
"""How much of a body of any size is read before the endpoint asks for it: some pieces of a server's, which are up to
64 KiB each."""
_LENGTH_DIGITS: Final = 20
"""A longer `Content-Length` is over any limit already."""

_for_endpoint: Final = ContextVar("streamguard_for_endpoint", default=False)
"""Whether the endpoint asks for the message, through the layers around it."""


class RequestReader:
    """Reads one request.

    Args:
        receive: the server's, or that of the layer outside. Nobody else may call it from now on.
        limit: how many bytes the body may have, as far as it is known now; None for no limit of ours.
        declared: the request's `Content-Length`; 0 when it has none.
        empty: whether its headers say that it has no body.
        on_refused: called once, when the body turns out to be too large.
    """

    __slots__ = (
        "_begun",
        "_buffered",
        "_client_left",
        "_closed",
        "_complete",
        "_declared",
        "_discards_body",
        "_empty",
        "_failure",
        "_find_limit",
        "_limit",
        "_message_read",
        "_on_refused",
        "_read_bytes",
        "_reading",
        "_reading_ahead",
        "_receive",
        "_room",
        "_stream",
        "endpoint_answers",
        "refused",
    )

    def __init__(
        self,
        receive: Receive,
        *,
        limit: Callable[[], int | None],
        declared: int = 0,
        empty: bool = False,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._receive = receive
        self._find_limit: Callable[[], int | None] | None = limit
        """Finds how many bytes the body may have; None once `check` was told."""
        self._limit: int | None = None
        """How many bytes it may have, as `check` was told."""
        self._declared = declared
        self._empty = empty
        self._on_refused = on_refused
        self._buffered: bytearray | None = None
        """What was read of the body for the endpoint, and it has not taken; within the limit. None without a piece.
        Pieces are joined: their number, and so the work for them, is the client's choice."""
        self._room: asyncio.Event | None = None
        """Set when the endpoint has taken a piece; None while nobody waits for that."""
        self._read_bytes = 0
        """How much of the body has been read."""
        self._complete = False
        """The body's last piece has been read."""
        self._client_left = False
        self._closed = False
        """The application has returned."""
        self._stream: LiveStream | None = None
        """The stream that the endpoint produces; None before and without one."""
        self._discards_body = False
        """No endpoint reads the body."""
        self._reading_ahead: asyncio.Task[None] | None = None
        """Reads the rest of the body."""
        self._failure: Exception | None = None
        """How that failed."""
        self._begun = False
        """A message has been read."""
        self._message_read: asyncio.Event | None = None
        """Set when the present reader is through; None while nobody waits for that."""
        self._reading = False
        """One of the readers waits for the next message: the others wait for that one."""
        self.refused: bool = False
        """The body is too large: every reader of it gets `BodyTooLargeError`."""
        self.endpoint_answers: bool = False
        """The endpoint itself answers that the body is too large."""

    # -- the application's side ---------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The `receive` of the layers around the endpoint. Cancelling it loses nothing.

        Without a stream, it gives what the server gives. While the endpoint produces a stream, `http.disconnect` comes
        when the client has left and that stream is ending, or when the client left before it had sent the whole body:
        a layer that sends the answer itself, as Starlette's `StreamingResponse` of a middleware does, stops at a
        disconnect.

        A call that is cancelled already takes no piece of the body: Starlette's `is_disconnected` makes such calls, and
        drops every message but a disconnect.

        Raises:
            BodyTooLargeError: the body is over the limit.
        """
        return await self._next_message(for_endpoint=_for_endpoint.get())

    async def receive_for_endpoint(self) -> Message:
        """The same for the endpoint itself: the end of its stream is a disconnect, whether its client has left or not.

        Raises:
            BodyTooLargeError: the body is over the limit.
        """
        return await self._next_message(for_endpoint=True)

    async def _next_message(self, *, for_endpoint: bool) -> Message:
        while True:
            stream = self._stream
            if stream is None:
                self._check_limit()
            if self.refused:
                raise BodyTooLargeError
            is_over = self._closed if stream is None else stream.is_ending
            if is_over and (stream is None or for_endpoint or self._client_left or self._closed):
                return {"type": "http.disconnect"}
            if self._buffered is not None:
                if is_cancelled():
                    await anyio.lowlevel.checkpoint()  # where the cancellation arrives
                return self._take_buffered()
            if stream is None and self._client_left:
                return {"type": "http.disconnect"}
            if stream is not None and not is_over and (self._complete or self._client_left):
                if not self._complete and not is_cancelled():
                    return {"type": "http.disconnect"}
                await stream.ending()
                continue
            await self._read()

    def outlasting(self, receive: Receive) -> Receive:
        """The `receive` of a request that layers in between have wrapped as `receive`, made to last as long as the
        stream.

        `BaseHTTPMiddleware` gives a disconnect as soon as the response has been sent, and hides from a call that does
        not wait that the stream is ending.
        """
        if receive == self.receive:
            return self.receive_for_endpoint

        async def read() -> Message:
            try:
                return await receive()
            except Exception as exc:
                if self.refused and not isinstance(exc, BodyTooLargeError):  # in an exception group, for example
                    raise BodyTooLargeError from exc
                raise

        async def lasting() -> Message:
            stream = self._stream
            if stream is None:
                return await read()
            if stream.is_ending:
                return {"type": "http.disconnect"}
            if is_cancelled():
                await anyio.lowlevel.checkpoint()  # where the cancellation arrives
            _for_endpoint.set(True)
            try:
                message = await read()
            finally:
                _for_endpoint.set(False)
            if message["type"] == "http.disconnect" and not (self._client_left and not self._complete):
                await stream.ending()
            return message

        return lasting

    def check(self, limit: int) -> None:
        """Refuse a body that is known to be over `limit`, whole or not.

        Raises:
            BodyTooLargeError: it is, or was refused before.
        """
        self._find_limit, self._limit = None, limit
        if self._read_bytes > limit or self._declared > limit:
            self._check_limit()
        if self.refused:
            raise BodyTooLargeError

    def keep_for(self, stream: LiveStream) -> None:
        """The endpoint produces `stream` from here on: its request lives as long as the stream."""
        self._stream = stream
        if self._empty and not self._begun:
            self._complete = True  # the message that will say so need not be waited for
            self._buffered = bytearray()
        elif not (self._complete or self._client_left):
            self._reading_ahead = asyncio.get_running_loop().create_task(self._read_ahead())

    def release(self) -> None:
        """There is no stream after all: the application reads the rest as the server gives it."""
        self._stream = None

    def close(self) -> None:
        """The application has returned. A stream that still runs keeps what was read."""
        self._closed = True
        if self._reading_ahead is not None:
            self._reading_ahead.cancel()
            self._client_left = True

    # -- the viewer's side --------------------------------------------------------------------------------------------

    def watch(self) -> Awaitable[Message]:
        """Wait for one more message, and keep for the endpoint what the client still sends: a disconnect if the client
        has left. Cancelling it loses nothing.

        The watch for a disconnect waits in it for as long as a stream is open, so it is one coroutine and not several.

        Raises:
            Exception: what a layer outside raised in its `receive`.
        """
        if self._stream is None:
            self._discards_body = True
        return disconnected() if self._client_left else self._read()

    # -- both ---------------------------------------------------------------------------------------------------------

    async def _read(self) -> Message:
        """Wait for one more message, or for another reader that waits for it. That one may have been cancelled: look
        again whether there is a message. Returns a disconnect once the client has left, else what is none.

        Raises:
            Exception: what a layer outside raised in its `receive`.
        """
        if self._reading or self._reading_ahead is not None:
            await self._until_read()
        else:
            self._reading = True
            try:
                self._take(await self._receive())
            finally:
                self._reading = False
                self._tell_read()
        if self._failure is not None:
            raise self._failure
        return {"type": "http.disconnect" if self._client_left else "http.request"}

    async def _read_ahead(self) -> None:
        """Read the rest of the body; one without a limit only as fast as the endpoint takes it.

        In a task of its own: a reader may be cancelled, and layers outside (`BaseHTTPMiddleware`) then lose what they
        have just read; and the client may leave before the endpoint reads.
        """
        try:
            while self._reading:  # a reader that was there before
                await self._until_read()
            while not (self._complete or self._client_left or self.refused):
                if len(self._buffered or b"") >= READ_AHEAD_BYTES and self._most_bytes() is None:
                    self._room = asyncio.Event()
                    await self._room.wait()
                    continue
                self._take(await self._receive())
                self._tell_read()
        except Exception as exc:  # noqa: BLE001 -- raised to every reader
            self._failure = exc
        finally:
            self._reading_ahead = None
            self._tell_read()

    def _take(self, message: Message) -> None:
        self._begun = True
        if message["type"] != "http.request":
            self._client_left = True
            return
        if self._empty and self._complete and not message.get("body"):
            return  # `keep_for` gave it already
        body = message.get("body", b"")
        self._read_bytes += len(body)
        self._complete = not message.get("more_body", False)
        self._check_limit()
        if self.refused or self._discards_body:
            return
        if self._buffered is None:
            self._buffered = bytearray()
        self._buffered += body

    async def _until_read(self) -> None:
        """Wait until the present reader is through, or has read one more message."""
        if self._message_read is None:
            self._message_read = asyncio.Event()
        await self._message_read.wait()

    def _tell_read(self) -> None:
        """Wake who waits for a message that another reader reads."""
        if self._message_read is not None:
            self._message_read.set()
            self._message_read = None

    def _take_buffered(self) -> Message:
        body, self._buffered = bytes(self._buffered or b""), None
        if self._room is not None:
            self._room.set()
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    def _most_bytes(self) -> int | None:
        """How many bytes the body may have, as far as it is known now."""
        return self._limit if self._find_limit is None else self._find_limit()

    def _check_limit(self) -> None:
        if self.refused:
            return
        limit = self._most_bytes()
        if limit is None or (self._read_bytes <= limit and self._declared <= limit):
            return
        self.refused = True
        self._buffered = None
        if self._stream is not None:
            fault = Fault.about(self._stream, FaultCode.PAYLOAD_TOO_LARGE)
            self._stream.cancel(Ending(Outcome.FAILED, fault))
        self._on_refused()


def body_of(scope: Scope) -> tuple[int, bool]:
    """The `Content-Length` of a request, 0 without one; and whether it has no body, as its headers say.

    A request of HTTP/1.1 with neither `Content-Length` nor `Transfer-Encoding` has none (RFC 9112, section 6.3). One
    that names the type of its body has one: a layer outside may have decoded it, and taken those headers away.
    """
    lines = scope["headers"]
    headers = dict(lines)  # a loop over all lines takes several times as long
    value = headers.get(b"content-length")
    length = None if value is None else value.decode("latin-1")
    framed = length not in (None, "0") or b"transfer-encoding" in headers
    if length == "0" and len(headers) != len(lines):  # the last of several lengths, perhaps
        framed = framed or any(name == b"content-length" and value != b"0" for name, value in lines)
    if framed or not scope.get("http_version", "").startswith("1"):
        return declared_length(length), False
    return 0, length is not None or b"content-type" not in headers


def declared_length(value: str | None) -> int:
    """The number of a `Content-Length` header; 0 without one, and for anything that is no number."""
    if value is None or not (value.isascii() and value.isdigit()):
        return 0
    return int(value[:_LENGTH_DIGITS])


def is_cancelled() -> bool:
    """Whether the caller has been cancelled already, and so gets only what is there without waiting."""
    return anyio.current_effective_deadline() == -math.inf
