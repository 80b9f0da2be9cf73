"""PyPI's `resumable-sse`: a producer task writes a Redis stream, and each response reads it with `XREAD`."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..pieces import piece
from .contract import Contender, Environment, Store, Wire
from .source import source

__all__ = ["CONTENDERS", "app"]

CONTENDERS = tuple(
    Contender(
        name,
        f"PyPI resumable-sse 0.1.0, {store}",
        store,
        Wire(resume="/chat/{session}", end="event: end"),
        environment=Environment.PYTHON,
    )
    for name, store in (("resumable-sse", Store.REDIS), ("resumable-sse-memory", Store.MEMORY))
)
_CONNECTIONS = 10_000
"""Each reader blocks a connection: with redis-py's default of 100, the 101st stream would fail."""


def app(contender: Contender, url: str) -> Starlette:
    """The application of one of `CONTENDERS`."""
    import redis.asyncio as redis  # noqa: PLC0415 -- only in the contenders' environment
    from resumable_sse.factory import get_streamer  # noqa: PLC0415
    from sse_starlette import EventSourceResponse  # noqa: PLC0415

    texts = source(piece)
    if contender.store is Store.REDIS:
        streamer = get_streamer(backend="redis", redis_client=redis.from_url(url, max_connections=_CONNECTIONS))
    else:
        streamer = get_streamer(backend="memory")

    async def chat(request: Request) -> Response:
        return EventSourceResponse(streamer.stream(request.headers["x-session"], texts(request)))

    async def resume(request: Request) -> Response:
        last_id = request.headers.get("last-event-id", "0")
        return EventSourceResponse(streamer.stream(request.path_params["session"], None, last_id))

    return Starlette(routes=[Route("/chat", chat, methods=["POST"]), Route("/chat/{session}", resume)])
