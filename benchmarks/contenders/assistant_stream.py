"""PyPI's `assistant-stream`: its resumable responses, with its Redis store (which readers poll every 100 ms)."""

from __future__ import annotations

from typing import Any

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
        f"PyPI assistant-stream 0.0.36, {store}",
        store,
        Wire(resume="/chat/{session}"),
        environment=Environment.PYTHON,
    )
    for name, store in (("assistant-stream", Store.REDIS), ("assistant-stream-memory", Store.MEMORY))
)


def app(contender: Contender, url: str) -> Starlette:
    """The application of one of `CONTENDERS`."""
    import redis.asyncio as redis  # noqa: PLC0415 -- only in the contenders' environment
    from assistant_stream.resumable import (  # noqa: PLC0415
        create_in_memory_resumable_stream_store,
        create_redis_resumable_stream_store,
        create_resumable_assistant_stream_response,
        create_resumable_stream_context,
        create_resume_assistant_stream_response,
    )

    texts = source(piece)
    in_redis = contender.store is Store.REDIS
    store = (
        create_redis_resumable_stream_store(redis.from_url(url, max_connections=10_000))
        if in_redis
        else create_in_memory_resumable_stream_store()
    )
    context = create_resumable_stream_context(store=store)

    async def chat(request: Request) -> Response:
        async def run(controller: Any) -> None:
            async for text in texts(request):
                controller.append_text(text)

        session = request.headers["x-session"]
        answer: Response = await create_resumable_assistant_stream_response(
            context=context, stream_id=session, callback=run
        )
        return answer

    async def resume(request: Request) -> Response:
        session = request.path_params["session"]
        answer: Response = await create_resume_assistant_stream_response(context=context, stream_id=session)
        return answer

    return Starlette(routes=[Route("/chat", chat, methods=["POST"]), Route("/chat/{session}", resume)])
