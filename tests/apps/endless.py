"""An answer that never ends, at `POST /chat?id=…`, and `GET /plain` and `GET /pid`, which says who answers, beside it.
Settings come from the environment."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streamguard import Settings, StreamGuard


async def user_of(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


guard = StreamGuard(
    authenticate=user_of, settings=Settings.model_validate_json(os.environ.get("STREAMGUARD_SETTINGS", json.dumps({})))
)


@guard.stream("request.query_params.id")
async def chat(request: Request) -> AsyncIterator[str]:
    while True:
        yield "and so on "
        await asyncio.sleep(0.05)


async def plain(_: Request) -> PlainTextResponse:
    return PlainTextResponse("plain")


async def pid(_: Request) -> PlainTextResponse:
    return PlainTextResponse(str(os.getpid()))


app = Starlette(
    routes=[Route("/chat", chat, methods=["POST"]), Route("/plain", plain), Route("/pid", pid)],
    lifespan=guard.lifespan,
)
guard.install(app, "/api/chat")
