"""The generator that all servers serve, and the server without streamguard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from .pieces import as_plain_block, as_ui_block
from .plan import Protocol

__all__ = ["bare_app", "generator"]

T = TypeVar("T")

_HOLD_SECONDS = 90.0
_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def generator(form: Callable[[int, int], T]) -> Callable[[Request], AsyncIterator[T]]:
    """The endpoint of all servers. They differ only in `form`, the form in which each event is yielded.

    Query: `stream` (the stream's number, which each event contains), `events` (their count), `gap` (seconds between two
    events, 0: no pause), `phase` (the offset within the gap), `hold` (1: stay silent after the last event).
    """

    async def chat(request: Request) -> AsyncIterator[T]:
        query = request.query_params
        stream, events, gap = int(query["stream"]), int(query["events"]), float(query["gap"])
        yield form(stream, 1)
        if gap:
            # Events follow a grid on the machine's clock. A late event does not delay the next ones, and each stream
            # keeps its phase, whenever it was opened.
            due = time.monotonic() // gap * gap + float(query["phase"])
        for seq in range(2, events + 1):
            if gap:
                due += gap
                if (left := due - time.monotonic()) > 0:
                    await asyncio.sleep(left)
            yield form(stream, seq)
        if query["hold"] == "1":
            await asyncio.sleep(_HOLD_SECONDS)

    return chat


def bare_app() -> Starlette:
    """The application as a host writes it without streamguard."""

    def route(protocol: Protocol, form: Callable[[int, int], bytes]) -> Route:
        chat = generator(form)

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(chat(request), media_type="text/event-stream", headers=_HEADERS)

        return Route(f"/{protocol}", endpoint, methods=["POST"])

    return Starlette(routes=[route(Protocol.PLAIN, as_plain_block), route(Protocol.UI_MESSAGE, as_ui_block)])
