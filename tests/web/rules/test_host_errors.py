"""What a function of the host's raises in front of an application is answered by that application's handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import httpx
import pytest
from fastapi import FastAPI
from litestar import Litestar, post
from litestar import Response as LitestarResponse
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.contrib.litestar import StreamGuardPlugin
from streamguard.quota import Quota

from .inside import PATH

pytestmark = pytest.mark.anyio

FUNCTIONS: Final = ("authenticate", "when", "session", "message_id", "estimate")


class ShopError(Exception):
    """Of a host, which has a handler for it."""


class Site:
    """A guard whose functions raise `error` where they are told to."""

    def __init__(self, where: str, error: Exception) -> None:
        self._where = where
        self._error = error
        self.guard = StreamGuard(authenticate=self._authenticate)
        self.rule = StreamRule(
            PATH,
            when=self._function("when", True),
            session=self._function("session", "s"),
            message_id=self._function("message_id", "m"),
            quota=Quota(100, "day", "requests"),
            estimate=self._function("estimate", {"requests": 1}),
        )

    def _authenticate(self, connection: HTTPConnection) -> str:
        self._check("authenticate")
        return "ann"

    def _function(self, name: str, answer: Any) -> Any:
        def function(request: Request) -> Any:
            self._check(name)
            return answer

        return function

    def _check(self, name: str) -> None:
        if name == self._where:
            raise self._error


async def chat(request: Request) -> Response:
    return StreamingResponse(iter([b"data: x\n\n"]), media_type="text/event-stream")


def handled(request: Request, error: Exception) -> Response:
    return JSONResponse({"shop": str(error)}, 422)


def in_starlette(site: Site) -> ASGIApp:
    app = Starlette(routes=[Route(PATH, chat, methods=["POST"])], exception_handlers={ShopError: handled})
    app.add_middleware(StreamGuardMiddleware, guard=site.guard, rules=[site.rule])
    site.guard.install(app, "/api/chat")
    return app


def around_starlette(site: Site) -> ASGIApp:
    app = Starlette(routes=[Route(PATH, chat, methods=["POST"])], exception_handlers={ShopError: handled})
    return StreamGuardMiddleware(app, guard=site.guard, rules=[site.rule])


def in_fastapi(site: Site) -> ASGIApp:
    app = FastAPI()
    app.add_exception_handler(ShopError, handled)
    app.post(PATH)(chat)
    app.add_middleware(StreamGuardMiddleware, guard=site.guard, rules=[site.rule])
    site.guard.install(app, "/api/chat")
    return app


def around_a_route(site: Site) -> ASGIApp:
    """Where the handlers are outside, as they are of an endpoint."""
    app = Starlette(exception_handlers={ShopError: handled})
    around: ASGIApp = StreamGuardMiddleware(cast("ASGIApp", _Bare()), guard=site.guard, rules=[site.rule])
    app.mount("/", around)
    site.guard.install(app, "/api/chat")
    return app


class _Bare:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (await chat(Request(scope)))(scope, receive, send)


def in_litestar(site: Site) -> ASGIApp:
    @post(PATH)
    async def endpoint() -> Stream:
        return Stream(iter([b"data: x\n\n"]), media_type="text/event-stream")

    app = Litestar(
        [endpoint],
        logging_config=None,  # the process's own stays as it is
        plugins=[StreamGuardPlugin(site.guard, "/api/chat")],
        middleware=[
            DefineMiddleware(StreamGuardMiddleware, guard=site.guard, rules=[site.rule])  # type: ignore[arg-type]
        ],
        exception_handlers={ShopError: lambda _, error: LitestarResponse({"shop": str(error)}, status_code=422)},
    )
    return cast("ASGIApp", app)


BUILDS: Final = [in_starlette, around_starlette, in_fastapi, around_a_route, in_litestar]


async def answer_of(build: Callable[[Site], ASGIApp], site: Site) -> httpx.Response:
    transport = httpx.ASGITransport(build(site), raise_app_exceptions=False)
    async with site.guard, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(PATH, json={})


@pytest.mark.parametrize("where", [one for one in FUNCTIONS if one != "estimate"])
@pytest.mark.parametrize("build", BUILDS)
async def test_the_applications_handler_answers(build: Callable[[Site], ASGIApp], where: str) -> None:
    answer = await answer_of(build, Site(where, ShopError(where)))
    assert (answer.status_code, answer.json()) == (422, {"shop": where})


@pytest.mark.parametrize("build", [in_starlette, around_starlette, in_fastapi, in_litestar])
async def test_an_estimate_that_fails_is_a_fault(build: Callable[[Site], ASGIApp]) -> None:
    """Whether it is a mistake or an answer is decided where no handlers are in sight."""
    answer = await answer_of(build, Site("estimate", ShopError("estimate")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")


@pytest.mark.parametrize("where", FUNCTIONS)
@pytest.mark.parametrize("build", BUILDS)
async def test_an_http_exception_is_the_answer(build: Callable[[Site], ASGIApp], where: str) -> None:
    answer = await answer_of(build, Site(where, HTTPException(418, where, headers={"x-why": "tea"})))
    assert (answer.status_code, answer.headers["x-why"]) == (418, "tea")
    assert where in answer.text


@pytest.mark.parametrize("build", BUILDS)
async def test_what_has_no_handler_is_an_error_of_the_server(build: Callable[[Site], ASGIApp]) -> None:
    answer = await answer_of(build, Site("authenticate", ZeroDivisionError("a bug")))
    assert answer.status_code == 500


async def test_one_without_an_application_known_to_have_handlers() -> None:
    def bare(site: Site) -> ASGIApp:
        return StreamGuardMiddleware(cast("ASGIApp", _Bare()), guard=site.guard, rules=[site.rule])

    answer = await answer_of(bare, Site("authenticate", HTTPException(401, "who?")))
    assert (answer.status_code, answer.text) == (401, "who?")
