"""A host's middleware that reads the request in a task of its own, and hands its messages on by a queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.testing import GuardedApp

from ..serving import USER, user_of

pytestmark = pytest.mark.anyio


class Pumping:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        waiting: asyncio.Queue[Message] = asyncio.Queue()

        async def pump() -> None:
            while True:
                message = await receive()
                await waiting.put(message)
                if message["type"] == "http.disconnect":
                    return

        pumping = asyncio.create_task(pump())
        try:
            await self._app(scope, waiting.get, send)
        finally:
            pumping.cancel()
            await asyncio.wait({pumping})


def inside(app: Starlette, guard: StreamGuard) -> ASGIApp:
    app.add_middleware(Pumping)
    guard.install(app, "/api/chat")
    return app


def outside(app: Starlette, guard: StreamGuard) -> ASGIApp:
    guard.install(app, "/api/chat")
    return Pumping(app)


def twice(app: Starlette, guard: StreamGuard) -> ASGIApp:
    return Pumping(inside(app, guard))


@pytest.mark.parametrize("build", [inside, outside, twice])
async def test_the_endpoint_reads_its_body_and_outlives_its_client(
    build: Callable[[Starlette, StreamGuard], ASGIApp],
) -> None:
    guard = StreamGuard(authenticate=user_of)
    go_on = asyncio.Event()

    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        size = 0
        async for piece in request.stream():
            size += len(piece)
        yield f"{size} "
        await go_on.wait()
        yield f"{await request.is_disconnected()}"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    async with GuardedApp(build(app, guard), guard, headers=USER) as chatting:
        answer = await chatting.request("POST", "/chat?id=s", body=b"x" * 100_000)
        await answer.read(2)
        answer.drop()
        go_on.set()
        await chatting.ended(answer)
        resumed = await chatting.request("GET", "/api/chat/s/stream")
        await resumed.rest()
    assert resumed.text == "one 100000 False"
    assert answer.ending is not None
