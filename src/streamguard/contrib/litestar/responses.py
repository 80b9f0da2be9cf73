"""Litestar's responses as Starlette's, and back.

A `Stream` or `ServerSentEvent` that a route handler returns becomes a stream whose pieces go through the log. Every
other response is no stream: it goes back to Litestar as it came.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from functools import partial
from typing import cast

import litestar
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.datastructures import Cookie
from litestar.enums import MediaType
from litestar.response import Stream
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import TypeEncodersMap
from starlette.background import BackgroundTask as StarletteBackgroundTask
from starlette.responses import Response, StreamingResponse

from ...web.endpoint.closing import ClosingWith
from ...web.headers import RawHeaders, merge_headers
from .request import LitestarRequest

__all__ = ["GuardedResponse", "HostsResponse", "HostsStream", "hosts_response"]

_SSE = "text/event-stream"


class HostsResponse(Response):
    """Stands for a response of Litestar's that is no stream."""

    def __init__(self, response: litestar.Response[object] | ASGIResponse) -> None:
        super().__init__(status_code=response.status_code or 200)
        self.response = response


class HostsStream(StreamingResponse):
    """A streaming response of Litestar's, as Starlette's."""

    def __init__(self, response: ASGIStreamingResponse) -> None:
        super().__init__(
            ClosingWith(_pieces(response), partial(_close_iterator, response)), status_code=response.status_code
        )
        self.raw_headers: RawHeaders = _raw_headers(response)
        self.background: StarletteBackgroundTask | None = cast("StarletteBackgroundTask | None", response.background)


def hosts_response(returned: object, request: LitestarRequest) -> object:
    """A response that a route handler returned, in Starlette's terms; anything else as it is."""
    if isinstance(returned, Stream):
        returned = returned.to_asgi_response(None, request)
    elif isinstance(returned, litestar.Response) and _media_type_of(returned) == _SSE:
        whole = returned.to_asgi_response(None, request)
        sent = Response(whole.body, whole.status_code, background=cast("StarletteBackgroundTask", whole.background))
        sent.raw_headers = _raw_headers(whole)
        return sent
    if isinstance(returned, ASGIStreamingResponse) and _is_plain_stream(returned):
        return HostsStream(returned)
    return HostsResponse(returned) if isinstance(returned, (litestar.Response, ASGIResponse)) else returned


def _is_plain_stream(response: ASGIStreamingResponse) -> bool:
    """Not a file, which is a streaming response to Litestar."""
    return type(response).send_body is ASGIStreamingResponse.send_body


def _media_type_of(response: litestar.Response[object]) -> str:
    media_type = response.media_type
    named = media_type.value if isinstance(media_type, MediaType) else str(media_type or "")
    return named.partition(";")[0].strip().lower()


def _raw_headers(response: ASGIResponse) -> RawHeaders:
    return [(name.lower(), value) for name, value in response.encode_headers()]


async def _pieces(response: ASGIStreamingResponse) -> AsyncGenerator[bytes, None]:
    async for piece in response.iterator:
        yield piece.encode(response.encoding) if isinstance(piece, str) else piece


async def _close_iterator(response: ASGIStreamingResponse) -> None:
    """Close the iterator that the host gave, also inside Litestar's wrappers."""
    given: object = response.iterator
    for inner in (given, getattr(given, "content_async_iterator", None)):
        await _close(inner)


async def _close(iterator: object) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()
        return
    close_sync = getattr(getattr(iterator, "iterator", None), "close", None)  # within an `AsyncIteratorWrapper`
    if close_sync is not None:
        close_sync()


class GuardedResponse(litestar.Response[bytes]):
    """The answer of a guarded endpoint or route, as Litestar takes it: with the headers, cookies and background task
    that the layers of the application add, and whatever an `after_request` hook did to it."""

    def __init__(self, response: Response) -> None:
        super().__init__(b"", status_code=response.status_code)
        self._response = response

    def to_asgi_response(
        self,
        app: litestar.Litestar | None,
        request: LitestarRequest,
        *,
        background: BackgroundTask | BackgroundTasks | None = None,
        cookies: Iterable[Cookie] | None = None,
        encoded_headers: Iterable[tuple[bytes, bytes]] | None = None,
        headers: dict[str, str] | None = None,
        is_head_response: bool = False,
        media_type: MediaType | str | None = None,
        status_code: int | None = None,
        type_encoders: TypeEncodersMap | None = None,
    ) -> ASGIResponse:
        """The response itself, which is an ASGI application."""
        response = self._response
        added: RawHeaders = [
            (name.lower().encode("latin-1"), str(value).encode("latin-1"))
            for name, value in {**(headers or {}), **self.headers}.items()
        ]
        added += [
            cookie.to_encoded_header() for cookie in [*self.cookies, *(cookies or ())] if not cookie.documentation_only
        ]
        response.raw_headers = merge_headers(list(response.raw_headers), added)
        task = self.background or background
        if task is not None and response.background is None:
            response.background = cast("StarletteBackgroundTask", task)
        return cast("ASGIResponse", response)
