"""The outermost layer finds the rule of a request wherever the middleware that has it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router
from starlette.types import ASGIApp, Scope

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.web.application.route_tree import first_match
from streamguard.web.application.rule_search import RuleSearch, middleware_classes

from ..serving import make_guard


async def endpoint(request: Request) -> Response:
    return PlainTextResponse("x")


def routes() -> list[Route]:
    return [Route("/chat", endpoint, methods=["POST"])]


def ours(guard: StreamGuard, path: str = "/chat") -> Middleware:
    return Middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule(path)])


def in_its_stack(guard: StreamGuard) -> ASGIApp:
    return Starlette(routes=routes(), middleware=[Middleware(GZipMiddleware), ours(guard), Middleware(GZipMiddleware)])


def around_it(guard: StreamGuard) -> ASGIApp:
    return GZipMiddleware(StreamGuardMiddleware(Starlette(routes=routes()), guard=guard, rules=[StreamRule("/chat")]))


def around_its_router(guard: StreamGuard) -> ASGIApp:
    return Router(routes=routes(), middleware=[ours(guard)])


def around_its_route(guard: StreamGuard) -> ASGIApp:
    return Starlette(routes=[Route("/chat", endpoint, methods=["POST"], middleware=[ours(guard)])])


def in_a_mounted_one(guard: StreamGuard) -> ASGIApp:
    return Starlette(routes=[Mount("/nothing", Starlette()), Mount("/", in_its_stack(guard))])


def in_one_mounted_twice(guard: StreamGuard) -> ASGIApp:
    return Starlette(routes=[Mount("/", Starlette(routes=[Mount("/", around_it(guard))]))])


def around_a_mount(guard: StreamGuard) -> ASGIApp:
    return Starlette(routes=[Mount("/", routes=routes(), middleware=[ours(guard)])])


def behind_a_host(guard: StreamGuard) -> ASGIApp:
    return Starlette(routes=[Host("chat.example", in_its_stack(guard))])


BUILDS: list[Callable[[StreamGuard], ASGIApp]] = [
    in_its_stack,
    around_it,
    around_its_router,
    around_its_route,
    in_a_mounted_one,
    in_one_mounted_twice,
    around_a_mount,
    behind_a_host,
]


def scope_of(path: str, method: str = "POST") -> Scope:
    headers = [(b"host", b"chat.example")]
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": headers, "query_string": b""}


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_a_rule_is_found(build: Callable[[StreamGuard], ASGIApp]) -> None:
    search = RuleSearch(build(make_guard()))
    assert search.any
    assert search.find(scope_of("/chat")) is not None
    assert search.find(scope_of("/chat", "GET")) is None
    assert search.find(scope_of("/other")) is None


def test_a_path_below_a_mount_is_the_rules() -> None:
    app = Starlette(routes=[Mount("/v1", in_its_stack(make_guard()))])
    assert RuleSearch(app).find(scope_of("/v1/chat")) is not None
    assert RuleSearch(app).find(scope_of("/chat")) is None


def test_a_mount_below_an_included_router() -> None:
    router = APIRouter()
    router.mount("/v1", in_its_stack(make_guard()))
    app = FastAPI()
    app.include_router(router)
    routed = first_match(app.routes, scope_of("/v1/chat")) is not None  # older FastAPI leaves mounts out
    assert (RuleSearch(app).find(scope_of("/v1/chat")) is not None) == routed
    assert RuleSearch(app).find(scope_of("/v1/other")) is None


def test_an_application_without_rules() -> None:
    app = Starlette(routes=[*routes(), Mount("/", FastAPI())], middleware=[Middleware(GZipMiddleware)])
    search = RuleSearch(app)
    assert not search.any
    assert search.find(scope_of("/chat")) is None
    assert app.middleware_stack is None  # it was not begun for this
    assert not RuleSearch(None).any


def test_the_middlewares_of_an_application_that_has_not_begun() -> None:
    app = Starlette(middleware=[Middleware(GZipMiddleware)])
    assert GZipMiddleware in set(middleware_classes(app))
