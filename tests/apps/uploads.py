"""A guarded endpoint for e2e tests of large bodies, under a middleware and beside an upload route of the host's."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from streamguard import StreamGuard


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


class Body(BaseModel):
    text: str


guard = StreamGuard("memory://", authenticate=owner)
app = FastAPI(lifespan=guard.lifespan)


@app.middleware("http")
async def passing(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


@app.post("/api/chat")
@guard.stream()
async def chat(body: Body) -> AsyncIterator[str]:
    yield str(len(body.text))


@app.post("/lazy")
@guard.stream()
async def lazy(request: Request) -> AsyncIterator[str]:
    yield str(len(await request.body()))


guard.install(app, "/api/chat")
