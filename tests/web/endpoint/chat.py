"""An application with one endpoint at `/chat`, and blocks that one may pass on."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.routing import Route

from streamguard import Endpoint, StreamGuard

__all__ = ["BLOCKS", "app_of", "blocks"]

BLOCKS = [b"data: one\n", b"\ndata: two\n\ndata: [DO", b"NE]\n\n"]


def app_of(guard: StreamGuard, endpoint: Endpoint) -> Starlette:
    app = Starlette(routes=[Route("/chat", endpoint, methods=["POST", "GET"])])
    guard.install(app, "/api/chat")
    return app


async def blocks() -> AsyncIterator[bytes]:
    for block in BLOCKS:
        yield block
