"""`max_request_bytes` is for guarded endpoints, wherever they are, and for no other request."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import StreamGuard

from ..serving import calling
from .host_middlewares import Passing, Reading
from .limited_bodies import LIMIT, PIECE, Counting, code_of, endless, limited

pytestmark = pytest.mark.anyio


async def upload(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def starlette_route(guard: StreamGuard, chat: Any) -> Starlette:
    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


def starlette_mount(guard: StreamGuard, chat: Any) -> Starlette:
    inner = Starlette(routes=[Route("/chat", chat, methods=["POST"])], middleware=[Middleware(Passing)])
    return Starlette(routes=[Mount("/v1", app=inner)])


def starlette_host(guard: StreamGuard, chat: Any) -> Starlette:
    return Starlette(routes=[Host("chat.example", app=Router(routes=[Route("/chat", chat, methods=["POST"])]))])


def class_endpoint(guard: StreamGuard, chat: Any) -> Starlette:
    class Chat(HTTPEndpoint):
        @guard.stream()
        async def post(self, request: Request) -> AsyncIterator[str]:
            yield "never"

    return Starlette(routes=[Route("/chat", Chat)])


def decorated(guard: StreamGuard, chat: Any) -> Starlette:
    @functools.wraps(chat)
    async def wrapped(request: Request) -> Any:
        return await chat(request)

    return Starlette(routes=[Route("/chat", wrapped, methods=["POST"])])


def partial(guard: StreamGuard, chat: Any) -> Starlette:
    return Starlette(routes=[Route("/chat", functools.partial(chat), methods=["POST"])])


def mounted_in_a_wrapper(guard: StreamGuard, chat: Any) -> Starlette:
    inner = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    return Starlette(routes=[Mount("/v1", app=Rooting(Rooting(inner)))])


def included_route_of_starlette(guard: StreamGuard, chat: Any) -> Starlette:
    router = APIRouter()
    router.add_route("/chat", chat, methods=["POST"])
    app = FastAPI()
    app.include_router(router, prefix="/v1")
    return app


def included(guard: StreamGuard, chat: Any) -> Starlette:
    inner, outer = APIRouter(), APIRouter(prefix="/v2")
    inner.post("/chat")(chat)
    outer.include_router(inner, prefix="/v1")
    app = FastAPI()
    app.include_router(outer)
    return app


def mounted_fastapi(guard: StreamGuard, chat: Any) -> Starlette:
    inner = FastAPI()
    inner.post("/chat")(chat)
    app = FastAPI()
    app.mount("/v1", inner)
    return app


def rooted(guard: StreamGuard, chat: Any) -> Starlette:
    """Behind a server that names the prefix of all paths in `root_path`; see `Rooting`."""
    app = FastAPI()
    app.post("/chat")(chat)
    return app


class Rooting:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path", "").startswith("/behind"):
            scope["root_path"] = "/behind"
        await self.app(scope, receive, send)


PLACES: list[tuple[Callable[[StreamGuard, Any], Starlette], str]] = [
    (starlette_route, "/chat"),
    (starlette_mount, "/v1/chat"),
    (starlette_host, "/chat"),
    (class_endpoint, "/chat"),
    (decorated, "/chat"),
    (partial, "/chat"),
    (mounted_in_a_wrapper, "/v1/chat"),
    (included_route_of_starlette, "/v1/chat"),
    (included, "/v2/v1/chat"),
    (mounted_fastapi, "/v1/chat"),
    (rooted, "/behind/chat"),
]


@pytest.mark.parametrize("reads_first", [False, True], ids=["framework", "middleware"])
@pytest.mark.parametrize(("build", "path"), PLACES, ids=[build.__name__ for build, _ in PLACES])
async def test_it_is_for_guarded_endpoints_wherever_they_are(
    build: Callable[[StreamGuard, Any], Starlette], path: str, reads_first: bool
) -> None:
    guard = limited()

    @guard.stream()
    async def chat(request: Request) -> AsyncIterator[str]:
        yield str(len(await request.body()))

    app = build(guard, chat)
    if reads_first:
        app.add_middleware(Reading)
    guard.install(app, "/api/chat")
    app.router.routes.insert(0, Route("/upload", upload, methods=["POST"]))
    counting = Counting(app)
    async with calling(Rooting(counting), guard) as client:
        refused = await client.post(path, content=endless())
        assert counting.taken <= LIMIT + len(PIECE)
        passed = await client.post("/upload", content=b"x" * LIMIT * 3)
    assert (refused.status_code, code_of(refused)) == (413, "payload_too_large")
    assert (passed.status_code, passed.text) == (200, str(LIMIT * 3))


@pytest.mark.parametrize("reads_first", [False, True], ids=["framework", "middleware"])
async def test_other_methods_of_the_same_path_keep_the_hosts_limit(reads_first: bool) -> None:
    guard = limited()

    @guard.stream()
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "never"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"]), Route("/chat", upload, methods=["PUT"])])
    if reads_first:
        app.add_middleware(Reading)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        assert (await client.put("/chat", content=b"x" * LIMIT * 2)).text == str(LIMIT * 2)
        assert (await client.post("/chat", content=endless())).status_code == 413


async def test_a_route_that_is_added_later_counts_too() -> None:
    guard = limited()

    @guard.stream()
    async def chat(request: Request) -> AsyncIterator[str]:
        yield str(len(await request.body()))

    app = FastAPI()
    app.add_middleware(Reading)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        assert (await client.post("/chat", content=b"x" * LIMIT * 2)).status_code == 404
        app.post("/chat")(chat)
        assert (await client.post("/chat", content=endless())).status_code == 413
