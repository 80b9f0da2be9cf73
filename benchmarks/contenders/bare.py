"""Bare Starlette: the application as a host writes it without streamguard."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..pieces import as_plain_block, as_ui_block
from .contract import Contender
from .source import source

__all__ = ["CONTENDERS", "HEADERS", "app"]

CONTENDERS = (
    Contender("bare", "Starlette's StreamingResponse"),
    Contender("bare-ui", "the same, parts of AI SDK", baseline="bare-ui"),
)
HEADERS: Final = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def app(contender: Contender, url: str) -> Starlette:
    """The application of one of `CONTENDERS`; `url` is the address of its store, if it has one."""
    chat = source(as_plain_block if contender.name == "bare" else as_ui_block)

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chat(request), media_type="text/event-stream", headers=HEADERS)

    return Starlette(routes=[Route("/chat", endpoint, methods=["POST"])])
