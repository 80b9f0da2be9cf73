"""The generator that every server serves, and the server without streamguard."""

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
    """The endpoint of every server; they differ only in the form each event is yielded in.

    Query: `stream` (its number, which goes into each event), `events`, `gap` (seconds between two, 0 for as fast as
    they come), `phase` (where in the gap), `hold` (1: stay silent after the last).
    """

    async def chat(request: Request) -> AsyncIterator[T]:
        query = request.query_params
        stream, events, gap = int(query["stream"]), int(query["events"]), float(query["gap"])
        yield form(stream, 1)
        if gap:
            # A grid on the machine's clock: late events do not shift the later ones, and each stream's phase stays
            # its own whatever the moment it was opened at.
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
    """What one writes without streamguard."""

    def route(protocol: Protocol, form: Callable[[int, int], bytes]) -> Route:
        chat = generator(form)

        async def endpoint(request: Request) -> Response:
            return StreamingResponse(chat(request), media_type="text/event-stream", headers=_HEADERS)

        return Route(f"/{protocol}", endpoint, methods=["POST"])

    return Starlette(routes=[route(Protocol.PLAIN, as_plain_block), route(Protocol.UI_MESSAGE, as_ui_block)])
