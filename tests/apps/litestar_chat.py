"""`tests.apps.chat` on Litestar: the same paths, bodies, models, gates and traces, for suites that run both.

Start it as `tests.apps.litestar_chat:application`, with the environment of `tests.apps.given`. With
`CHAT_BASE_HTTP_MIDDLEWARE` there is a `BaseHTTPMiddleware` around its handlers too.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import cast

from litestar import Litestar, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from litestar.types import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response as StarletteResponse
from starlette.types import ASGIApp

from streamguard import Run, StreamGuard
from streamguard.contrib.litestar import StreamGuardPlugin
from tests.harness.probe import Probe

from .chat import GATES, TRACE, Script, model, pieces
from .given import SETTINGS, URL, owner

__all__ = ["app", "application"]

guard = StreamGuard(URL, authenticate=owner, settings=SETTINGS)
streams = StreamGuardPlugin(guard, "/api/chat")


@post("/api/chat")
@streams.stream(session="data.id")
async def chat(data: JSONBody[Script], run: Run) -> AsyncIterator[str]:
    async for piece in model(data):
        yield piece


@post("/api/strict")
@streams.stream(session="data.id", on_store_failure="fail")
async def strict(data: JSONBody[Script]) -> AsyncIterator[str]:
    async for piece in model(data):
        yield piece


@post("/api/replace")
@streams.stream(session="data.id", on_conflict="replace")
async def replace(data: JSONBody[Script]) -> AsyncIterator[str]:
    async for piece in model(data):
        yield piece


@post("/api/join")
@streams.stream(session="data.id", on_conflict="join")
async def join(data: JSONBody[Script]) -> AsyncIterator[str]:
    async for piece in model(data):
        yield piece


@post("/api/plain")
@streams.stream(session="data.id", protocol="plain")
async def plain(data: JSONBody[Script]) -> AsyncIterator[str]:
    async for piece in model(data):
        yield piece


@post("/api/opaque")
@streams.stream(session="data.id")
async def opaque(data: JSONBody[Script]) -> Stream:
    async def blocks() -> AsyncIterator[bytes]:
        async for piece in model(data):
            yield b"data: " + json.dumps({"delta": piece}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    return Stream(blocks(), media_type="text/event-stream")


@post("/api/threaded")
@streams.stream(session="data.id")
def threaded(data: JSONBody[Script]) -> Iterator[str]:
    TRACE.append(f"model {data.id}")
    try:
        yield from pieces(data)
        TRACE.append(f"completed {data.id}")
    finally:
        TRACE.append(f"finally {data.id}")


@post("/gate/{name:str}", status_code=204)
async def open_gate(name: FromPath[str]) -> None:
    GATES.setdefault(name, asyncio.Event()).set()


@get("/trace", media_type="text/plain")
async def trace() -> str:
    return "\n".join(TRACE)


class Meddling(BaseHTTPMiddleware):
    """The kind of middleware that hides how a response ended."""

    async def dispatch(self, request: StarletteRequest, call_next: RequestResponseEndpoint) -> StarletteResponse:
        return await call_next(request)


middleware: list[Middleware] = [cast("Middleware", Meddling)] if os.environ.get("CHAT_BASE_HTTP_MIDDLEWARE") else []
app = Litestar(
    [chat, strict, replace, join, plain, opaque, threaded, open_gate, trace],
    plugins=[streams],
    middleware=middleware,
    logging_config=None,  # Litestar's would be the process's
)
application = Probe(cast("ASGIApp", app))
