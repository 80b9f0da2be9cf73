"""What a `Response` that an endpoint returned is: a stream that the guard takes over, or a whole answer of its own.

A stream is what sends its body in pieces, or says `text/event-stream`:

1. Starlette's `StreamingResponse`, and subclasses that leave its sending alone: their `body_iterator` is read.
2. sse-starlette's `EventSourceResponse`: its items are read, and written as it writes them. Its pings, its watch for a
   disconnect and its own end at a shutdown are not used: keep-alives, disconnects and the drain are the guard's.
3. A whole `Response` of `text/event-stream`: one chunk.
4. Every other that says `text/event-stream` or has a `body_iterator`: it is called, and what it sends is read.

What is left is passed on as it is, and so is whatever has a status from 400 on. One with a way of sending of its own is
watched: should its body come in pieces after all, it is refused before anything was sent.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple, cast

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ...errors import ConfigurationError
from ..headers import RawHeaders
from .called_response import CalledResponse

__all__ = ["SSE", "Head", "ReturnedStream", "WholeAnswer", "closed", "stream_of"]

SSE: Final = "text/event-stream"
UI_MESSAGE_HEADER: Final = "x-vercel-ai-ui-message-stream"
Chunks = AsyncIterator[object]


class Head(NamedTuple):
    """What a response says before its body, and what it does after."""

    status_code: int
    raw_headers: RawHeaders
    background: BackgroundTask | None


class ReturnedStream(NamedTuple):
    """A response whose body goes through the log."""

    type_name: str
    head: Head
    chunks: Chunks

    @property
    def media_type(self) -> str:
        """Without parameters, in lower case; empty when it says none."""
        return media_type_of(Headers(raw=self.head.raw_headers))

    @property
    def is_ui_message(self) -> bool:
        """Whether it says that it is a UI message stream of AI SDK."""
        return UI_MESSAGE_HEADER in Headers(raw=self.head.raw_headers)

    @property
    def encoding(self) -> str:
        """How its body is compressed; empty when it is not."""
        found = Headers(raw=self.head.raw_headers).get("content-encoding", "").strip().lower()
        return "" if found == "identity" else found


async def stream_of(response: Response, request: Request, *, endpoint: str) -> ReturnedStream | Response:
    """The stream that `response` is, or else the response to answer with. `endpoint` is its name, for messages.

    Whoever gets a stream closes its chunks.
    """
    headers = Headers(raw=getattr(response, "raw_headers", []))
    status_code = getattr(response, "status_code", 200)
    is_sse = (media_type_of(headers) or (response.media_type or "").lower()) == SSE
    if status_code >= 400:
        return response
    kind = type(response)
    if isinstance(response, StreamingResponse) and _sends_as(response, StreamingResponse):
        return _taken(response, cast("Chunks", response.body_iterator))
    if kind.__call__ is Response.__call__:
        return _taken(response, _once(response)) if is_sse and response.body else response
    encode = _encoder_of(response)
    if encode is not None:
        return _taken(response, _written(response, encode))
    if is_sse or hasattr(response, "body_iterator"):
        return await _called(response, request)
    return response if isinstance(response, FileResponse) else WholeAnswer(response, endpoint)


def media_type_of(headers: Headers) -> str:
    """The media type of a response, without parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _sends_as(response: Response, base: type[StreamingResponse]) -> bool:
    sending = getattr(response, "stream_response", None)
    return type(response).__call__ is base.__call__ and getattr(sending, "__func__", None) is base.stream_response


def _taken(response: Response, chunks: Chunks) -> ReturnedStream:
    head = Head(response.status_code, list(response.raw_headers), getattr(response, "background", None))
    return ReturnedStream(type(response).__name__, head, chunks)


async def _once(response: Response) -> Chunks:
    yield bytes(response.body)


# -- sse-starlette ----------------------------------------------------------------------------------------------------


def _encoder_of(response: Response) -> Callable[[object, str], bytes] | None:
    """How sse-starlette writes an item of `response`; None where it is none of its, or sends in a way of its own."""
    base = next((cls for cls in type(response).__mro__ if cls.__module__ == "sse_starlette.sse"), None)
    if base is None or not hasattr(response, "body_iterator"):
        return None
    if any(getattr(type(response), name, None) is not getattr(base, name, None) for name in _SENDING):
        return None
    encode = getattr(sys.modules.get("sse_starlette.sse"), "ensure_bytes", None)
    return cast("Callable[[object, str], bytes] | None", encode)


_SENDING: Final = ("__call__", "_stream_response", "stream_response")
"""The methods by which versions of sse-starlette send."""


async def _written(response: Response, encode: Callable[[object, str], bytes]) -> Chunks:
    sender = cast("Callable[[], Awaitable[None]] | None", getattr(response, "data_sender_callable", None))
    separator = getattr(response, "sep", None) or "\r\n"
    items = cast("Chunks", response.body_iterator)  # type: ignore[attr-defined]
    source = items if sender is None else _beside(items, sender)
    try:
        async for item in source:
            yield encode(item, separator)
    finally:
        await closed(source)
        await closed(items)


async def _beside(items: Chunks, sender: Callable[[], Awaitable[None]]) -> Chunks:
    """The items, while `sender` provides for them in a task of its own: what that raises is raised here."""
    sending: asyncio.Future[None] = asyncio.ensure_future(sender())
    asked: asyncio.Future[object] | None = None
    iterator = aiter(items)
    try:
        while True:
            asked = asyncio.ensure_future(anext(iterator))
            if not sending.done():
                await asyncio.wait({_either(asked), _either(sending)}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            try:
                item = await asked
            except StopAsyncIteration:
                return
            yield item
    finally:
        if asked is not None:
            await _ended(asked)
        await _ended(sending)


async def _ended(task: asyncio.Future[object] | asyncio.Future[None]) -> None:
    """Cancel it, wait for its end, and forget how it failed: what counts of that has been raised."""
    task.cancel()
    await asyncio.wait([_either(task)])
    if not task.cancelled():
        task.exception()


def _either(task: asyncio.Future[object] | asyncio.Future[None]) -> asyncio.Future[object]:
    return cast("asyncio.Future[object]", task)


async def closed(chunks: object) -> None:
    """Close an iterator, if it can be closed."""
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


# -- responses that are called ----------------------------------------------------------------------------------------


async def _called(response: Response, request: Request) -> ReturnedStream:
    """The stream of a response that has to be called. Its background task is run after the stream, not by its call."""
    background = cast("BackgroundTask | None", getattr(response, "background", None))
    if background is not None:
        response.background = None
    chunks = CalledResponse(response, request)
    try:
        status_code, headers = await chunks.start()
    except BaseException:
        await chunks.aclose()
        raise
    return ReturnedStream(type(response).__name__, Head(status_code, headers, background), chunks)


class WholeAnswer(Response):
    """Passes on a response that sends in a way of its own, unless it turns out to stream.

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
    def background(self) -> BackgroundTask | None:  # FastAPI gives it those of its dependencies
        return getattr(self._response, "background", None)

    @background.setter
    def background(self, task: BackgroundTask | None) -> None:
        self._response.background = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = Headers(raw=list(message.get("headers", ())))
                if message["status"] < 400:
                    if media_type_of(headers) == SSE:
                        raise self._refusal()
                    held.append(message)
                    return
            elif held:
                if message["type"] == "http.response.body" and message.get("more_body", False):
                    raise self._refusal()
                await send(held.pop())
            await send(message)

        await self._response(scope, receive, checked)

    def _refusal(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self._endpoint} returned a {type(self._response).__name__} that streams its body, which the guard could "
            "not see: give it media_type='text/event-stream' if it sends server-sent events, or yield the text, or "
            "return a StreamingResponse of it with protocol= in @guard.stream"
        )
