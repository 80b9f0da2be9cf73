"""The guard's own routes are no rule's, however wide it is, in every framework."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from fastapi import FastAPI
from litestar import Litestar, post
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.contrib.litestar import StreamGuardPlugin

from ..serving import Gate, make_guard
from .inside import PATH, client_of, guarding

pytestmark = pytest.mark.anyio


def on_starlette(guard: StreamGuard, body: Any) -> ASGIApp:
    async def endpoint(request: object) -> StreamingResponse:
        return StreamingResponse(body(), media_type="text/event-stream")

    app = guarding(guard, endpoint)
    app.user_middleware.clear()
    return app


def on_fastapi(guard: StreamGuard, body: Any) -> ASGIApp:
    app = FastAPI(lifespan=guard.lifespan)

    @app.post(PATH)
    async def chat() -> StreamingResponse:
        return StreamingResponse(body(), media_type="text/event-stream")

    guard.install(app, "/api/chat")
    return app


def mounted(guard: StreamGuard, body: Any) -> ASGIApp:
    async def endpoint(request: object) -> StreamingResponse:
        return StreamingResponse(body(), media_type="text/event-stream")

    inner = Starlette(routes=[Route(PATH, endpoint, methods=["POST"])])
    return Starlette(routes=[Mount("/api/chat", guard.app), Mount("/", inner)], lifespan=guard.lifespan)


def on_litestar(guard: StreamGuard, body: Any) -> ASGIApp:
    @post(PATH, status_code=200)
    async def chat() -> Stream:
        return Stream(body(), media_type="text/event-stream")

    app = Litestar([chat], plugins=[StreamGuardPlugin(guard, "/api/chat")], logging_config=None)
    return cast("ASGIApp", app)


@pytest.mark.parametrize("build", [on_starlette, on_fastapi, mounted, on_litestar])
async def test_a_stop_is_the_guards(build: Any) -> None:
    gate = Gate()

    async def body() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await gate.wait()

    guard = make_guard()
    rules = [StreamRule("/*", session=lambda request: "s")]
    app = StreamGuardMiddleware(build(guard, body), guard=guard, rules=rules)
    async with client_of(app) as client, client.stream("POST", PATH) as answer:
        chunks = answer.aiter_raw()
        await anext(chunks)
        stopped = await client.post("/api/chat/s/stop")
        assert stopped.status_code == 202
        assert stopped.json()
        rest = b"".join([chunk async for chunk in chunks])
        assert b'"code":"stopped"' in rest
