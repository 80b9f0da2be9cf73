"""FastAPI's own server-sent events: a path operation that yields, with `response_class=EventSourceResponse`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import ASGIApp

from ..pieces import piece
from .contract import Contender, Environment
from .source import source

__all__ = ["CONTENDERS", "app"]

CONTENDERS = (Contender("fastapi-sse", "FastAPI 0.165.0, fastapi.sse", environment=Environment.PYTHON),)


def app(contender: Contender, url: str) -> ASGIApp:
    """The application."""
    from fastapi import FastAPI  # noqa: PLC0415 -- only in the contenders' environment
    from fastapi.sse import EventSourceResponse, ServerSentEvent  # noqa: PLC0415

    events = source(lambda stream, seq: ServerSentEvent(raw_data=piece(stream, seq)))

    async def chat(request: Request) -> AsyncIterator[ServerSentEvent]:
        async for event in events(request):
            yield event

    # FastAPI reads annotations where the function is defined, and finds no names of this function's own.
    chat.__annotations__["return"] = AsyncIterator[ServerSentEvent]
    made = FastAPI()
    made.post("/chat", response_class=EventSourceResponse)(chat)
    return made
