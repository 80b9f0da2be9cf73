"""The `Response` that an endpoint returned: a stream that the guard takes over, or a whole response.

A stream is a response that sends its body in pieces, or whose media type is `text/event-stream` or that of lines of
JSON:

1. Starlette's `StreamingResponse`, and subclasses that leave its sending alone: their `body_iterator` is read.
2. sse-starlette's `EventSourceResponse`: its items are read, and written as it writes them. Its pings, its watch for a
   disconnect and its own end at a shutdown are not used: keep-alives, disconnects and the drain are the guard's.
3. A whole `Response` of such a media type: one chunk.
4. Every other response of such a media type, or with a `body_iterator`: it is called, and what it sends is read.

Every other response is passed on as it is, and so is each with a status from 400 on. A response that sends itself in
its own way is watched: if its body comes in pieces after all, it is refused before anything was sent.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Final, NamedTuple, cast

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ...contained import Contained
from ...errors import ConfigurationError
from ...facts import facts
from ...wire.recognition import LINES, SSE
from ..headers import RawHeaders, media_type_of, plain_lines
from .called_response import CalledResponse
from .closing import ClosingWith, aclose_if_possible, close_unread, closing_all

__all__ = [
    "ResponseHead",
    "ReturnedStream",
    "WholeResponse",
    "stream_of",
]

_UI_MESSAGE_HEADER: Final = b"x-vercel-ai-ui-message-stream"
Chunks = AsyncIterator[object]


@facts
class ResponseHead:
    """A response without its body: its status and headers, and its background task."""

    status_code: int
    raw_headers: RawHeaders
    background: BackgroundTask | None


class ReturnedStream(NamedTuple):
    """A response whose body goes through the log."""

    type_name: str
    head: ResponseHead
    chunks: Chunks
    media_type: str
    """Without parameters, in lower case; empty without one."""
    is_ui_message: bool
    """Whether its headers call it a UI message stream of AI SDK."""
    encoding: str
    """How its body is compressed; empty if it is not."""

    @classmethod
    def of(cls, type_name: str, head: ResponseHead, chunks: Chunks) -> ReturnedStream:
        """The stream of a response with this head and body."""
        lines = dict(
            reversed(head.raw_headers)
        )  # of several lines the first counts; Starlette's `Headers` takes longer
        encoding = lines.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        return cls(
            type_name,
            head,
            chunks,
            _media_type(lines.get(b"content-type", b"")),
            _UI_MESSAGE_HEADER in lines,
            "" if encoding == "identity" else encoding,
        )


async def stream_of(response: Response, request: Request, *, endpoint: str) -> ReturnedStream | Response:
    """The stream of `response`, or else the response to answer with. `endpoint` is its name, for messages.

    The caller closes the chunks of a stream. Of a response that cannot be read the body is closed here.

    Raises:
        ConfigurationError: its headers are none.
        RuntimeError: it is called, and sends its body before its status.
        Exception: what it raises when it is called.
    """
    try:
        found = _found(response, endpoint)
    except BaseException:
        await close_unread(response)
        raise
    return await _called_stream(response, request) if found is None else found


def _found(response: Response, endpoint: str) -> ReturnedStream | Response | None:
    """What is known of a response by looking at it; None if it has to be called."""
    if getattr(response, "status_code", 200) >= 400:
        return response
    if isinstance(response, StreamingResponse) and _sends_like(response, StreamingResponse):
        return _stream(response, closing_all(cast("Chunks", response.body_iterator)))
    kind = type(response)
    headers = Headers(raw=getattr(response, "raw_headers", []))
    is_sse = _is_streamed(media_type_of(headers) or (response.media_type or "").lower())
    if kind.__call__ is Response.__call__:
        return _stream(response, _one_chunk(response)) if is_sse and response.body else response
    encode = _encoder_of(response)
    if encode is not None:
        return _stream(response, _encoded(response, encode))
    if is_sse or hasattr(response, "body_iterator"):
        return None
    return response if isinstance(response, FileResponse) else WholeResponse(response, endpoint)


@lru_cache(maxsize=64)
def _media_type(value: bytes) -> str:
    """As `media_type_of`, of the header's value."""
    return value.decode("latin-1").partition(";")[0].strip().lower()


def _is_streamed(media_type: str) -> bool:
    """Whether responses of this media type are streams, also if they are sent whole."""
    return media_type == SSE or media_type in LINES


def _sends_like(response: Response, base: type[StreamingResponse]) -> bool:
    sending = getattr(response, "stream_response", None)
    return type(response).__call__ is base.__call__ and getattr(sending, "__func__", None) is base.stream_response


def _stream(response: Response, chunks: Chunks) -> ReturnedStream:
    head = ResponseHead(response.status_code, plain_lines(response.raw_headers), getattr(response, "background", None))
    return ReturnedStream.of(type(response).__name__, head, chunks)


async def _one_chunk(response: Response) -> Chunks:
    yield bytes(response.body)


# -- sse-starlette ----------------------------------------------------------------------------------------------------


def _encoder_of(response: Response) -> Callable[[object, str], bytes] | None:
    """How sse-starlette encodes an item of `response`; None if the response is not sse-starlette's, or a subclass that
    sends in its own way."""
    base = next((cls for cls in type(response).__mro__ if cls.__module__ == "sse_starlette.sse"), None)
    if base is None or not hasattr(response, "body_iterator"):
        return None
    if any(getattr(type(response), name, None) is not getattr(base, name, None) for name in _SENDING):
        return None
    encode = getattr(sys.modules.get("sse_starlette.sse"), "ensure_bytes", None)
    return cast("Callable[[object, str], bytes] | None", encode)


_SENDING: Final = ("__call__", "_stream_response", "stream_response")
"""The methods with which the versions of sse-starlette send."""


def _encoded(response: Response, encode: Callable[[object, str], bytes]) -> AsyncIterator[object]:
    """The encoded items of a response. Closing it closes the response's own iterator too."""
    items = closing_all(response.body_iterator)  # type: ignore[attr-defined] # sse-starlette's
    return ClosingWith(_encoded_items(response, encode), partial(aclose_if_possible, items))


async def _encoded_items(response: Response, encode: Callable[[object, str], bytes]) -> AsyncGenerator[bytes, None]:
    sender = cast("Callable[[], Awaitable[None]] | None", getattr(response, "data_sender_callable", None))
    separator = getattr(response, "sep", None) or "\r\n"
    items = cast("Chunks", response.body_iterator)  # type: ignore[attr-defined]
    if sender is None:
        async for item in items:
            yield encode(item, separator)
        return
    async with aclosing(_items_beside(items, sender)) as beside:
        async for item in beside:
            yield encode(item, separator)


async def _items_beside(items: Chunks, sender: Callable[[], Awaitable[None]]) -> AsyncGenerator[object, None]:
    """The items, while `sender` produces them in a task of its own: what the task raises is raised here."""
    sending = Contained(sender)
    asked: Contained[object] | None = None
    iterator = aiter(items)
    try:
        while True:
            asked = Contained(iterator.__anext__)
            if not sending.task.done():
                await asyncio.wait({asked.task, sending.task}, return_when=asyncio.FIRST_COMPLETED)
            if sending.task.done():
                sending.result()
            await asked.task
            try:
                item = asked.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if asked is not None:
            await _cancelled(asked.task)
        await _cancelled(sending.task)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end. How it failed is ignored: a failure that counts has been raised."""
    task.cancel()
    await asyncio.wait({task})


# -- responses that are called ----------------------------------------------------------------------------------------


async def _called_stream(response: Response, request: Request) -> ReturnedStream:
    """The stream of a response that has to be called. Its background task runs after the stream, not in its call."""
    background = cast("BackgroundTask | None", getattr(response, "background", None))
    if background is not None:
        response.background = None
    chunks = CalledResponse(response, request)
    try:
        status_code, headers = await chunks.start()
    except BaseException:
        await chunks.aclose()
        raise
    return ReturnedStream.of(type(response).__name__, ResponseHead(status_code, headers, background), chunks)


class WholeResponse(Response):
    """Passes on a response that sends itself in its own way, unless it turns out to stream.

    Raises:
        ConfigurationError: when called, if the body comes in pieces, or as server-sent events.
    """

    def __init__(self, response: Response, endpoint: str) -> None:
        self.status_code: int = getattr(response, "status_code", 200)
        self.raw_headers: list[tuple[bytes, bytes]] = getattr(response, "raw_headers", [])
        self.body: bytes = b""
        self._response = response
        self._endpoint = endpoint

    @property
    def background(self) -> BackgroundTask | None:  # FastAPI sets those of its dependencies
        return getattr(self._response, "background", None)

    @background.setter
    def background(self, task: BackgroundTask | None) -> None:
        self._response.background = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def check_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": plain_lines(message.get("headers", ()))}
                if message["status"] < 400:
                    if _is_streamed(media_type_of(Headers(raw=message["headers"]))):
                        raise self._refusal()
                    held.append(message)
                    return
            elif held:
                if message["type"] == "http.response.body" and message.get("more_body", False):
                    raise self._refusal()
                await send(held.pop())
            await send(message)

        await self._response(scope, receive, check_and_send)

    def _refusal(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._endpoint} returned a {type(self._response).__name__} that streams its body, which the guard could "
            "not see: give it media_type='text/event-stream' if it sends server-sent events, or yield the text, or "
            "return a StreamingResponse of it with protocol= in @guard.stream"
        )
