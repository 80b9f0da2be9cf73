"""sse-starlette's `EventSourceResponse`, with its defaults (a ping every 15 seconds)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..pieces import piece
from .contract import Contender, Environment
from .source import source

__all__ = ["CONTENDERS", "app"]

CONTENDERS = (Contender("sse-starlette", "sse-starlette 3.7.0", environment=Environment.PYTHON),)


def app(contender: Contender, url: str) -> Starlette:
    """The application."""
    from sse_starlette import EventSourceResponse  # noqa: PLC0415 -- only in the contenders' environment

    events = source(lambda stream, seq: {"data": piece(stream, seq)})

    async def chat(request: Request) -> Response:
        return EventSourceResponse(events(request))

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])
