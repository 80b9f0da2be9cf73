"""A guarded app whose model says what the request tells it to, surrogates and all."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import StreamGuard

from .given import SETTINGS, URL, owner

__all__ = ["app"]


async def session_of(request: Request) -> str:
    return str((await request.json())["id"])


guard = StreamGuard(
    URL,
    authenticate=owner,
    settings=SETTINGS,
)


async def said(request: Request) -> AsyncIterator[object]:
    body = await request.json()
    if "before" in body:
        yield body["before"]
    if "text" in body:
        yield body["text"]
    if "part" in body:
        yield body["part"]


@guard.stream(session=session_of)
async def chat(request: Request) -> AsyncIterator[object]:
    async for item in said(request):
        yield item


@guard.stream(session=session_of, protocol="plain")
async def plain(request: Request) -> AsyncIterator[object]:
    async for item in said(request):
        yield item


app = Starlette(
    lifespan=guard.lifespan,
    routes=[Route("/api/chat", chat, methods=["POST"]), Route("/api/plain", plain, methods=["POST"])],
)
guard.install(app, "/api/chat")
