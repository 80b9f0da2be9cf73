"""The plugin in an application: its life, its routes, its outermost layer, and who is asking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from litestar import Litestar, Request, get, post
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult, DefineMiddleware
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.plugins import InitPlugin
from litestar.stores.memory import MemoryStore
from litestar.types import Middleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from streamguard import NotStartedError, StreamGuard
from streamguard.testing import Ending as AnswerEnding
from streamguard.testing import GuardedApp

from ...harness.litestar_markers import FromPath
from ...web.serving import USER, Gate
from .apps import application, chat_of, plugin, visiting

pytestmark = pytest.mark.anyio

BODY = {"id": "c1"}


# -- life -------------------------------------------------------------------------------------------------------------


async def test_the_guard_lives_within_the_applications_own_lifespan() -> None:
    told: list[str] = []
    streams = plugin()

    @asynccontextmanager
    async def database(app: Litestar) -> AsyncIterator[None]:
        told.append("opened")
        yield
        with pytest.raises(NotStartedError):
            await streams.guard.idle()
        told.append("closed, the guard is over")

    gate = Gate()
    async with visiting(streams, chat_of(streams, gate), lifespan=[database]) as chat:
        answer = await chat.post(BODY)
        await answer.read(3)
        answer.drop()
        gate.open()
        await chat.idle()
        told.append("the guard runs")
    assert told == ["opened", "the guard runs", "closed, the guard is over"]


async def test_what_others_opened_is_closed_after_the_guard() -> None:
    """The application's lifespan, Litestar's stores, and plugins that come later."""
    told: list[str] = []
    streams = plugin()

    def guard_over() -> str:
        try:
            streams.guard._running()
        except NotStartedError:
            return "after the guard"
        return "before the guard"

    class Remembering(MemoryStore):
        async def __aexit__(self, *exc_info: object) -> None:
            told.append(f"store closed {guard_over()}")

    class Later(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.lifespan.append(self.lifespan)
            return app_config

        @asynccontextmanager
        async def lifespan(self, app: Litestar) -> AsyncIterator[None]:
            yield
            told.append(f"plugin closed {guard_over()}")

    app = Litestar([chat_of(streams)], plugins=[streams, Later()], stores={"s": Remembering()}, logging_config=None)
    async with GuardedApp(cast("ASGIApp", app), streams.guard, headers=USER) as chat:
        await (await chat.post(BODY)).rest()
    assert told == ["store closed after the guard", "plugin closed after the guard"]


async def test_an_application_starts_again() -> None:
    streams = plugin()
    app = cast("ASGIApp", application(streams, chat_of(streams)))
    for _ in range(2):
        async with GuardedApp(app, streams.guard, headers=USER) as chat:
            answer = await chat.post(BODY)
            await answer.rest()
            assert answer.ending is AnswerEnding.CLEAN


# -- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", ["a/b", "a%2Fb", "..", "é ü", "health", "a//b", "stream"])
async def test_any_session_resumes_stops_and_is_erased(session: str) -> None:
    streams = plugin()
    gate = Gate()
    async with visiting(streams, chat_of(streams, gate)) as chat:
        answer = await chat.post({"id": session})
        if answer.status == 400:  # a session that no path can name
            assert session == ".."
            return
        read = await answer.read(3)
        answer.drop()
        resumed = await chat.resume(session, after=read[0].last_event_id)
        assert await resumed.read(2) == read[1:]
        assert (await chat.stop(session)).status == 202
        await resumed.rest()
        last = (await chat.status(session)).last
        assert last is not None
        assert last.outcome == "stopped"
        assert (await chat.delete(session)).status == 204
        assert (await chat.resume(session)).status == 204


async def test_paths_that_the_application_spells_out_stay_its_own() -> None:
    streams = plugin()

    @get("/api/chat/history")
    async def history() -> str:
        return "mine"

    @get("/api/other/{name:str}")
    async def other(name: FromPath[str]) -> str:
        return name

    async with visiting(streams, chat_of(streams), history, other) as chat:
        assert (await chat.request("GET", "/api/chat/history")).body == b"mine"
        assert (await chat.request("GET", "/api/other/x")).body == b"x"
        assert (await chat.request("GET", "/api/chat/c1/no/such")).status == 404
        assert (await chat.request("GET", "/api/chat")).status == 405
        wrong = await chat.request("GET", "/api/chat/c1/stop")
        assert (wrong.status, [fault.reason for fault in wrong.faults]) == (405, ["method_not_allowed"])


async def test_the_applications_own_path_comes_before_the_prefix() -> None:
    streams = plugin()
    app = cast("ASGIApp", application(streams, chat_of(streams), path="/v2"))
    async with GuardedApp(app, streams.guard, prefix="/v2/api/chat", headers=USER) as chat:
        await (await chat.post({"id": "a/b"})).rest()
        assert (await (await chat.resume("a/b")).rest())[-1].data == "[DONE]"
        assert (await chat.request("GET", "/v2/api/chat/health/live")).status == 200


@pytest.mark.parametrize("strips", [False, True], ids=["a proxy keeps the root path", "it strips the root path"])
async def test_the_routes_are_found_below_a_root_path(strips: bool) -> None:
    """The path as servers write it when they are told a root path, and as some proxies leave it."""
    streams = plugin()
    app = cast("ASGIApp", application(streams, chat_of(streams)))

    async def at_root(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "root_path": "/site"}
            if not strips:
                raw: bytes = scope["raw_path"]
                scope |= {"path": "/site" + scope["path"], "raw_path": b"/site" + raw}
        await app(scope, receive, send)

    async with GuardedApp(at_root, streams.guard, headers=USER) as chat:
        answer = await chat.post({"id": "a/b"})
        await answer.rest()
        assert answer.status == 200
        assert (await (await chat.resume("a/b")).rest())[-1].data == "[DONE]"


async def test_litestars_guards_protect_the_routes_but_not_health() -> None:
    def key(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if connection.headers.get("x-key") != "k":
            raise PermissionDeniedException("no key")

    streams = plugin(guards=[key])
    async with visiting(streams, chat_of(streams)) as chat:
        await (await chat.post(BODY)).rest()
        assert (await chat.resume("c1")).status == 403
        assert (await chat.stop("c1")).status == 403
        assert (await chat.request("GET", "/api/chat/health/ready")).status == 200
        assert (await chat.resume("c1", headers={"x-key": "k"})).status == 200


# -- who is asking ----------------------------------------------------------------------------------------------------


class Bearer(AbstractAuthenticationMiddleware):
    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        user = connection.headers.get("authorization")
        if user is None:
            raise PermissionDeniedException("who are you?")
        return AuthenticationResult(user={"name": user}, auth=f"token of {user}")


async def test_authenticate_sees_litestars_user_and_auth() -> None:
    def owner(connection: HTTPConnection) -> str:
        assert connection.auth == f"token of {connection.user['name']}"
        return str(connection.user["name"])

    streams = plugin(guard=StreamGuard(authenticate=owner))
    async with visiting(
        streams, chat_of(streams), middleware=[DefineMiddleware(Bearer)], headers={"authorization": "ann"}
    ) as chat:
        await (await chat.post(BODY)).rest()
        assert len(await (await chat.resume("c1")).rest()) > 3
        assert (await chat.resume("c1", headers={"authorization": "bob"})).status == 204
        chat.headers.clear()
        assert (await chat.resume("c1")).status == 403
        assert (await chat.request("GET", "/api/chat/health/live")).status == 200


@pytest.mark.parametrize("server_side", [True, False], ids=["server side", "in a cookie"])
async def test_authenticate_sees_litestars_session(server_side: bool) -> None:
    @post("/login/{name:str}")
    async def login(request: Request[Any, Any, Any], name: FromPath[str]) -> None:
        request.set_session({"user": name})

    @post("/logout")
    async def logout(request: Request[Any, Any, Any]) -> None:
        request.clear_session()

    def owner(connection: HTTPConnection) -> str | None:
        return connection.session.get("user")

    session: Middleware = (
        ServerSideSessionConfig().middleware if server_side else CookieBackendConfig(secret=b"k" * 16).middleware
    )
    streams = plugin(guard=StreamGuard(authenticate=owner))
    async with visiting(streams, chat_of(streams), login, logout, middleware=[session], headers={}) as chat:
        assert (await chat.post(BODY)).status == 401
        await chat.post({}, path="/login/ann")
        await (await chat.post(BODY)).rest()
        assert len(await (await chat.resume("c1")).rest()) > 3
        assert (await chat.status("c1")).last is not None
