"""What an application has besides a guard takes nothing from it, and the guard takes nothing that was meant for it."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.web.application.route_tree import leaf_routes

from ...harness.versions import only_from
from ..misuses.sites import Body, chat_of, named, site, told, visiting
from ..serving import make_guard

pytestmark = pytest.mark.anyio

PAGE = "<html>front"


async def front_end(page: str = "") -> Response:
    return HTMLResponse(PAGE)


def by_route(app: FastAPI) -> None:
    app.get("/{page:path}")(front_end)


def by_all_methods(app: FastAPI) -> None:
    app.api_route("/api/{page:path}", methods=["GET", "POST", "DELETE"])(front_end)
    app.get("/other")(front_end)


def by_segments(app: FastAPI) -> None:
    app.get("/{a}/{b}/{c}/{page}")(front_end)
    app.get("/other")(front_end)


def by_included_router(app: FastAPI) -> None:
    router = APIRouter()
    router.get("/{page:path}")(front_end)
    app.include_router(router)


def by_mount(app: FastAPI) -> None:
    app.mount("/", HTMLResponse(PAGE))


def by_mounted_application(app: FastAPI) -> None:
    inner = FastAPI()
    by_route(inner)
    app.mount("/", inner)


def by_a_route_class_of_its_own(app: FastAPI) -> None:
    class Anything(BaseRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            await HTMLResponse(PAGE)(scope, receive, send)

    app.router.routes.append(Anything())


def by_fallback_below_the_prefix(app: FastAPI) -> None:
    app.get("/api/chat/{page:path}")(front_end)
    app.get("/other")(front_end)


CATCH_ALLS = [
    by_route,
    by_all_methods,
    by_segments,
    by_included_router,
    by_mount,
    by_mounted_application,
    by_a_route_class_of_its_own,
    by_fallback_below_the_prefix,
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("catch_all", CATCH_ALLS)
async def test_a_catch_all_route_takes_nothing_from_the_guard(catch_all: Callable[[FastAPI], None], when: str) -> None:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/api/chat")(chat_of(guard))
    if when == "before":
        catch_all(app)
    guard.install(app, "/api/chat")
    if when == "after":
        catch_all(app)
    async with visiting(app, guard) as chat:
        await (await chat.post({"id": "s"})).rest()
        assert (await chat.resume("never")).status == 204
        assert (await chat.request("GET", "/api/chat/health/ready")).json()["status"] == "ready"
        assert (await chat.request("GET", "/api/chat/s")).json()["session_id"] == "s"
        assert (await chat.request("POST", "/api/chat/s/stop")).status == 204
        assert (await chat.request("DELETE", "/api/chat/s")).status == 204
        assert (await chat.request("GET", "/other")).body.decode() == PAGE
        assert told(chat.observations) == []


async def test_static_files_at_the_root_serve_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(PAGE)
    mimetypes.init()  # which reads files, where `StaticFiles` would have it done in the event loop
    guard = make_guard()
    app = Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path, html=True))], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with visiting(app, guard) as chat:
        assert (await chat.resume("never")).status == 204
        assert (await chat.request("GET", "/")).body.decode() == PAGE


async def test_what_the_host_spells_out_stays_the_hosts() -> None:
    guard, app, router, mounted = make_guard(), FastAPI(), APIRouter(), FastAPI()

    @app.get("/api/chat/history")
    async def history() -> str:
        return "history"

    @router.get("/popular")
    async def popular() -> str:
        return "popular"

    @app.get("/api/chat/health/live")
    async def live() -> str:
        return "live"

    @app.put("/api/chat/{chat_id}")
    async def rename(chat_id: str) -> str:
        return chat_id

    app.include_router(router, prefix="/api/chat")
    app.mount("/mounted", mounted)
    guard.install(app, "/api/chat")
    app.router.lifespan_context = guard.lifespan
    async with visiting(app, guard) as chat:
        for path, answer in (("history", "history"), ("popular", "popular"), ("health/live", "live")):
            assert (await chat.request("GET", f"/api/chat/{path}")).body == f'"{answer}"'.encode()
        assert (await chat.request("PUT", "/api/chat/s")).body == b'"s"'
        assert (await chat.resume("history")).status == 204


@pytest.mark.parametrize("when", ["before", "after"])
async def test_preflights_and_host_names_that_the_host_has_routes_for_stay_its_own(when: str) -> None:
    guard, app = make_guard(), FastAPI()

    def declare() -> None:
        app.options("/{page:path}")(front_end)
        app.host("other.example", PlainTextResponse("another site"))
        app.host("{tenant}.example", PlainTextResponse("a tenant's site"))

    if when == "before":
        declare()
    guard.install(app, "/api/chat")
    if when == "after":
        declare()
    app.router.lifespan_context = guard.lifespan
    async with visiting(app, guard) as chat:
        assert (await chat.request("OPTIONS", "/api/chat/s/stream")).body.decode() == PAGE
        other = await chat.request("GET", "/api/chat/s/stream", headers={"host": "other.example"})
        assert other.body.decode() == "another site"
        assert (await chat.request("GET", "/api/chat/s/stream", headers={"host": "a.example"})).status == 204
        assert (await chat.resume("s")).status == 204


async def test_a_function_that_is_registered_both_ways_is_no_mistake() -> None:
    guard = make_guard()

    @named
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"

    async def plain(request: Request) -> Response:
        return PlainTextResponse("plain")

    guarded = guard.stream()(chat)
    routes = [Route("/bare", chat), Route("/api/chat", guarded, methods=["POST"]), Route("/plain", plain)]
    app = Starlette(routes=routes, lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with visiting(app, guard) as visitor:
        assert (await visitor.post({})).status == 200


async def test_several_prefixes_and_applications_of_one_guard() -> None:
    guard = make_guard()
    for _ in range(3):  # a factory makes an application for each test
        app = site(guard)
        guard.install(app, "/v2/chat")
        async with visiting(app, guard) as chat:
            await (await chat.post({"id": "s"})).rest()
            assert (await chat.request("GET", "/v2/chat/s")).json()["session_id"] == "s"
            assert told(chat.observations) == []


async def test_a_guard_may_be_entered_and_left_in_different_tasks() -> None:
    guard = make_guard()
    app = site(guard)
    await asyncio.create_task(guard.__aenter__())
    await asyncio.create_task(guard.__aexit__(None, None, None))
    async with visiting(app, guard) as chat:
        await (await asyncio.create_task(chat.post({"id": "s"}))).rest()


async def test_what_authenticate_raises_is_the_answer_of_every_route() -> None:
    async def paying(connection: HTTPConnection) -> str:
        raise HTTPException(402, "pay first")

    guard = StreamGuard(authenticate=paying)
    app = site(guard)
    async with visiting(app, guard) as chat:
        asked = [
            await chat.post({"id": "s"}),
            await chat.resume("s"),
            await chat.request("GET", "/api/chat/s"),
            await chat.request("POST", "/api/chat/s/stop"),
            await chat.request("GET", "/api/chat/s/messages"),
        ]
        assert [(answer.status, answer.json()) for answer in asked] == [(402, {"detail": "pay first"})] * len(asked)


async def test_a_function_for_a_selector_may_find_nothing() -> None:
    guard = make_guard()
    app = FastAPI(lifespan=guard.lifespan)

    def chosen(body: Body) -> str | None:
        return body.id

    app.post("/api/chat")(chat_of(guard, session=chosen))
    guard.install(app, "/api/chat")
    async with visiting(app, guard) as chat:
        await (await chat.post({"id": None})).rest()
        assert told(chat.observations) == []


async def test_a_warning_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    guard = make_guard()
    app = site(guard)
    with caplog.at_level("WARNING", "streamguard"):
        async with visiting(app, guard) as chat:
            await (await chat.post({"id": None})).rest()
    (line,) = [record.getMessage() for record in caplog.records]
    assert re.match(r'streamguard\.misuse request_id=\S+ misuse=selected_none warning="session=', line)


@only_from("fastapi", "0.137", "drops what a router mounts")
def test_the_tree_of_routes_is_walked_through_everything() -> None:
    app, router, inner = FastAPI(openapi_url=None), APIRouter(), FastAPI(openapi_url=None)
    inner.get("/c")(front_end)
    router.get("/b/{page}")(front_end)
    router.mount("/m", inner)
    app.get("/a")(front_end)
    app.include_router(router, prefix="/r")
    app.mount("/n/{tenant}", Starlette(routes=[Mount("/o", inner)]))
    assert [str(place) for place in leaf_routes(app.router.routes)] == [
        "GET /a (front_end)",
        "GET /r/b/{page} (front_end)",
        "GET /r/m/c (front_end)",
        "GET /n/{tenant}/o/c (front_end)",
    ]
