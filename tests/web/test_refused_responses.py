"""Responses that cannot be guarded: refused before anything is sent, with the remedy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import EventSourceResponse
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamguard import ConfigurationError

from .serving import calling
from .test_returned_responses import SSE, app_of, blocks, guard_of, guarded, words

pytestmark = pytest.mark.anyio


class Pieces(Response):
    """Streams, and says nothing of that."""

    media_type = "text/plain"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})


class Late(Pieces):
    """Says it only when it is called."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", SSE.encode())]})
        await send({"type": "http.response.body", "body": b"data: one\n\n"})


def zipped() -> Response:
    return StreamingResponse(blocks(), media_type=SSE, headers={"Content-Encoding": "gzip"})


def lines() -> Response:
    return StreamingResponse(words(), media_type="application/jsonl")


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (Pieces, "test_returned_responses:.*chat returned a Pieces that streams.*media_type='text/event-stream'"),
        (Late, "a Late that streams its body"),
        (zipped, "StreamingResponse whose body is compressed"),
        (lines, "a StreamingResponse of application/jsonl.*name protocol="),
    ],
)
async def test_one_that_cannot_be_guarded_is_refused_with_the_remedy(make: Callable[[], Response], remedy: str) -> None:
    guard = guard_of()
    app = app_of(guard, guarded(guard, make))
    async with calling(app, guard) as client:
        with pytest.raises(ConfigurationError, match=remedy):
            await client.post("/chat?id=s")
        assert (await client.get("/api/chat/s")).json()["active"] is None


# -- FastAPI's own way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["route", "router", "application"])
async def test_fastapis_sse_response_class_is_refused_with_the_remedy(where: str) -> None:
    guard = guard_of()

    def class_of(here: str) -> type[Response]:
        return EventSourceResponse if here == where else JSONResponse

    app = FastAPI(lifespan=guard.lifespan, default_response_class=class_of("application"))
    router = APIRouter(default_response_class=class_of("router"))

    @guard.stream("id")
    async def chat(id: str) -> AsyncIterator[str]:  # noqa: A002
        yield "one"

    app.post("/application")(chat)
    router.post("/router")(chat)
    router.post("/route", response_class=class_of("route"))(chat)
    router.post("/other", response_class=StreamingResponse)(chat)
    app.include_router(router, prefix="/v1")
    guard.install(app, "/api/chat")
    path = where if where == "application" else f"v1/{where}"
    async with calling(app, guard) as client:
        with pytest.raises(
            ConfigurationError, match=f"/{where} has response_class=EventSourceResponse: leave that out"
        ):
            await client.post(f"/{path}?id=s")
        assert (await client.post("/v1/other?id=s")).status_code == 200
