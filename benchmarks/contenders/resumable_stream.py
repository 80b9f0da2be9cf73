"""PyPI's `resumable-stream`, a port of Vercel's: a producer keeps its chunks and sends them to others by pub/sub.

Nothing is logged: Redis holds one key a stream, and the channels. A client resumes by the number of characters it has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ..pieces import as_plain_block
from .contract import Contender, Environment, Store, Wire
from .source import source

__all__ = ["CONTENDERS", "app"]

CONTENDERS = (
    Contender(
        "resumable-stream",
        "PyPI resumable-stream 0.2.0",
        Store.REDIS,
        Wire(resume="/chat/{session}"),
        environment=Environment.PYTHON,
        logs=False,
    ),
)


def app(contender: Contender, url: str) -> Starlette:
    """The application."""
    from resumable_stream import create_resumable_stream_context  # noqa: PLC0415 -- only in the contenders' environment
    from resumable_stream.redis_adapter import RedisPublisher, RedisSubscriber  # noqa: PLC0415

    blocks = source(lambda stream, seq: as_plain_block(stream, seq).decode())
    context: Any = None

    @asynccontextmanager
    async def lifespan(made: Starlette) -> AsyncIterator[None]:
        nonlocal context
        # Its README passes `redis_url`, which 0.2.0 refuses with a TypeError.
        publisher, subscriber = RedisPublisher(url), RedisSubscriber(url)
        await publisher.connect()
        await subscriber.connect()
        context = create_resumable_stream_context(publisher=publisher, subscriber=subscriber)
        yield

    async def chat(request: Request) -> Response:
        stream = await context.create_new_resumable_stream(request.headers["x-session"], lambda: blocks(request))
        return StreamingResponse(stream, media_type="text/event-stream")

    async def resume(request: Request) -> Response:
        skip = int(request.headers.get("x-characters", "0"))
        stream = await context.resume_existing_stream(request.path_params["session"], skip)
        if stream is None or stream == "NOT_FOUND":
            return Response(status_code=422 if stream is None else 404)
        return StreamingResponse(stream, media_type="text/event-stream")

    routes = [Route("/chat", chat, methods=["POST"]), Route("/chat/{session}", resume)]
    return Starlette(routes=routes, lifespan=lifespan)
