"""A request's messages, read in one place for two readers: the application, and whoever watches for the client leaving.

ASGI gives a request one `receive`, and a message that one reader took is lost to the other. An answer needs both: its
endpoint may read the body while it streams, and its viewer must hear that the client left. So an `Intake` reads for
both. What the endpoint is given lives as long as its producer: the client's leaving ends a view, not an answer, so
`http.disconnect` comes only once the stream is ending.

It also counts, since it sees every byte first: a body over its endpoint's limit is refused before it is whole.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...runtime import LiveStream
from ...runtime.request import Ending
from ...values import Outcome

__all__ = ["BodyTooLargeError", "Intake", "declared_length"]

_LENGTH_DIGITS: Final = 20
"""A longer `Content-Length` is over any limit already."""


class BodyTooLargeError(HTTPException, FaultError):
    """Reading the body of a guarded endpoint's request found more than `max_request_bytes`.

    A Starlette `HTTPException` of status 413, so that frameworks answer it instead of reporting a crash.
    """

    def __init__(self) -> None:
        FaultError.__init__(self, Fault.of(FaultCode.PAYLOAD_TOO_LARGE))
        HTTPException.__init__(self, self.fault.status, self.fault.message)


class Intake:
    """Reads one request.

    Args:
        receive: the server's, or that of whatever lies outside. Nobody else may call it from now on.
        limit: how many bytes the body may have, as far as it is known now; None for no limit of ours.
        declared: the request's `Content-Length`; 0 when it has none.
        on_refused: called once, when the body turns out to be too large.
    """

    __slots__ = (
        "_ahead",
        "_bytes",
        "_closed",
        "_declared",
        "_discarding",
        "_failed",
        "_gone",
        "_limit",
        "_messages",
        "_news",
        "_on_refused",
        "_pieces",
        "_receive",
        "_stream",
        "_turn",
        "_whole",
        "refused",
        "told",
    )

    def __init__(
        self,
        receive: Receive,
        *,
        limit: Callable[[], int | None],
        declared: int = 0,
        on_refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._receive = receive
        self._limit = limit
        self._declared = declared
        self._on_refused = on_refused
        self._pieces: deque[Message] = deque()
        """Read ahead by the viewer's watch, for the endpoint; within the limit."""
        self._bytes = 0
        """How much of the body has been read."""
        self._whole = False
        """The body's last piece has been read."""
        self._gone = False
        """The client left."""
        self._closed = False
        self._stream: LiveStream | None = None
        self._discarding = False
        """Nobody is there to read the body."""
        self._ahead: asyncio.Task[None] | None = None
        """Reads the rest of the body."""
        self._failed: Exception | None = None
        """How that failed."""
        self._messages = 0
        """How many have been read."""
        self._news = asyncio.Event()
        """Set when there is one more."""
        self._turn = asyncio.Lock()
        """Whose turn it is to wait for the next."""
        self.refused: bool = False
        """The body is too large: whoever reads it hears so."""
        self.told: bool = False
        """The endpoint itself answers with that."""

    # -- the application's side ---------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The application's `receive`. Cancelling it loses nothing.

        Before a stream is held, as the server's. Meanwhile `http.disconnect` comes when the stream is ending, or when
        the client left before it had sent the whole body, which then can never be read.

        A call that is cancelled already takes no piece of the body: Starlette's `is_disconnected` makes such calls, and
        drops whatever else they give.

        Raises:
            BodyTooLargeError: the body is over the limit.
        """
        while True:
            stream = self._stream
            if stream is None:
                self._check_limit()
            if self.refused:
                raise BodyTooLargeError
            if self._closed if stream is None else stream.is_ending:
                return {"type": "http.disconnect"}
            if self._pieces:
                if _only_looks():
                    await anyio.lowlevel.checkpoint()  # where the cancellation arrives
                return self._pieces.popleft()
            if stream is None and self._gone:
                return {"type": "http.disconnect"}
            if stream is not None and (self._whole or self._gone):
                if not self._whole and not _only_looks():
                    return {"type": "http.disconnect"}
                await stream.ending()
                continue
            await self._read()

    def below(self, receive: Receive) -> Receive:
        """The `receive` of a request that layers in between have passed on as `receive`, made to last as long.

        `BaseHTTPMiddleware` says that the client left as soon as the response is through, and hides that the stream is
        ending from whoever only looks.
        """
        if receive == self.receive:
            return receive

        async def read() -> Message:
            try:
                return await receive()
            except Exception as exc:
                if self.refused and not isinstance(exc, BodyTooLargeError):  # a group around it, say
                    raise BodyTooLargeError from exc
                raise

        async def lasting() -> Message:
            stream = self._stream
            if stream is None:
                return await read()
            if stream.is_ending:
                return {"type": "http.disconnect"}
            if _only_looks():
                await anyio.lowlevel.checkpoint()  # where the cancellation arrives
            message = await read()
            if message["type"] == "http.disconnect" and not (self._gone and not self._whole):
                await stream.ending()
            return message

        return lasting

    def check(self, limit: int) -> None:
        """Refuse a body that is known to be over `limit`, whole or not.

        Raises:
            BodyTooLargeError: it is, or was refused before.
        """
        self._limit = lambda: limit
        self._check_limit()
        if self.refused:
            raise BodyTooLargeError

    def hold(self, stream: LiveStream) -> None:
        """An endpoint produces `stream` from here on: its request lives as long as that."""
        self._stream = stream
        if not (self._whole or self._gone):
            self._ahead = asyncio.get_running_loop().create_task(self._read_ahead())

    def release(self) -> None:
        """There is no stream after all: the rest is the application's, as it comes."""
        self._stream = None

    def close(self) -> None:
        """The application is through with the request. A stream that still runs keeps what was read."""
        self._closed = True
        if self._ahead is not None:
            self._ahead.cancel()
            self._gone = True

    # -- the viewer's side --------------------------------------------------------------------------------------------

    async def left(self) -> Message:
        """Wait until the client leaves, keeping what it still sends for the endpoint. Cancelling it loses nothing."""
        if self._stream is None:
            self._discarding = True
        while not self._gone:
            await self._read()
        return {"type": "http.disconnect"}

    # -- both ---------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Wait for one more message, whoever reads it.

        Raises:
            Exception: whatever a layer outside raised when it was asked.
        """
        messages = self._messages
        if self._ahead is not None:
            await self._news.wait()
        else:
            async with self._turn:
                if self._messages == messages and self._ahead is None:
                    self._take(await self._receive())
        if self._failed is not None:
            raise self._failed

    async def _read_ahead(self) -> None:
        """Read the rest of the body.

        In a task of its own: a reader may be cancelled, and layers outside (`BaseHTTPMiddleware`) then lose what they
        have just read; and the client may leave before the endpoint reads.
        """
        try:
            async with self._turn:
                while not (self._whole or self._gone or self.refused):
                    self._take(await self._receive())
        except Exception as exc:  # noqa: BLE001 -- whoever reads is told
            self._failed = exc
        finally:
            self._ahead = None
            self._news.set()

    def _take(self, message: Message) -> None:
        self._messages += 1
        self._news.set()
        self._news = asyncio.Event()
        if message["type"] != "http.request":
            self._gone = True
            return
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        self._check_limit()
        if not (self.refused or self._discarding):
            self._pieces.append(message)

    def _check_limit(self) -> None:
        if self.refused:
            return
        limit = self._limit()
        if limit is None or max(self._bytes, self._declared) <= limit:
            return
        self.refused = True
        self._pieces.clear()
        if self._stream is not None:
            fault = Fault.about(self._stream, FaultCode.PAYLOAD_TOO_LARGE)
            self._stream.cancel(Ending(Outcome.FAILED, fault))
        self._on_refused()


def declared_length(value: str | None) -> int:
    """What a `Content-Length` says; 0 for none, and for what is not a number."""
    if value is None or not (value.isascii() and value.isdigit()):
        return 0
    return int(value[:_LENGTH_DIGITS])


def _only_looks() -> bool:
    """Whether the caller has been cancelled, and so gets only what is there without waiting."""
    return anyio.current_effective_deadline() == -math.inf
