"""Applications inside a `StreamGuardMiddleware`, and their client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule

from ..serving import USER, serving

__all__ = ["PATH", "TRANSCRIPTS", "Inside", "client_of", "guarding", "sse", "status_of", "transcript"]

PATH: Final = "/v1/chat"
TRANSCRIPTS: Final = Path(__file__).parents[2] / "wire/transcripts"

Act = Callable[[Scope, Receive, Send], Awaitable[None]]


def transcript(name: str) -> bytes:
    return (TRANSCRIPTS / name).read_bytes()


class Inside:
    """A bare ASGI application that does `act` for every request, and remembers the last scope. The guard lives as long
    as it does."""

    def __init__(self, guard: StreamGuard, act: Act) -> None:
        self._guard = guard
        self._act = act
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            async with self._guard:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.scope = scope
        await self._act(scope, receive, send)


def sse(blocks: Callable[[Request], AsyncIterator[bytes]], **options: Any) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that streams `blocks`."""

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(blocks(request), **{"media_type": "text/event-stream", **options})

    return endpoint


def guarding(guard: StreamGuard, endpoint: Any, *, methods: tuple[str, ...] = ("POST",), **options: Any) -> Starlette:
    """An application with one endpoint, which a rule guards, and with the guard's routes under `/api/chat`."""
    app = Starlette(routes=[Route(PATH, endpoint, methods=list(methods))], lifespan=guard.lifespan)
    rule = StreamRule(PATH, **{"session": "body.id", "methods": methods, **options})
    app.add_middleware(StreamGuardMiddleware, guard=guard, rules=[rule])
    guard.install(app, "/api/chat")
    return app


@asynccontextmanager
async def client_of(app: ASGIApp, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app` on a real server."""
    async with serving(app) as port:
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, headers={**USER, **headers}, timeout=20) as client:
            yield client


async def status_of(client: httpx.AsyncClient, session: str = "s") -> dict[str, Any]:
    """The session's last stream."""
    answer = await client.get(f"/api/chat/{session}")
    found: dict[str, Any] = json.loads(answer.content)["last"]
    return found
