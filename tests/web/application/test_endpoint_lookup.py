"""What is kept of a lookup is what the routes would say again."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Host, Mount, Route
from starlette.types import Scope

from streamguard import StreamGuard
from streamguard.web.application.guarded_endpoint import EndpointLookup, guarded_endpoint

from ..serving import make_guard

GUARD = make_guard()


@GUARD.stream(protocol="plain", binding="chat")
async def chat() -> AsyncIterator[str]:
    yield "a"


@GUARD.stream(protocol="plain", binding="other")
async def other() -> AsyncIterator[str]:
    yield "b"


async def page(request: Request) -> Response:
    return Response()


class Answers(HTTPEndpoint):
    """For any method, as its route says."""

    @GUARD.stream(protocol="plain", binding="answers")
    async def post(self, request: Request) -> AsyncIterator[str]:
        yield "c"


class BetaRoute(Route):
    """Looks at more than path and method."""

    def matches(self, scope: Scope) -> tuple[object, Scope]:  # type: ignore[override]
        beta = (b"x-beta", b"1") in scope["headers"]
        return super().matches(scope) if beta else super().matches({**scope, "path": "/nowhere"})


CHAT = Route("/chat", chat, methods=["POST"])
OTHER = Route("/chat", other, methods=["POST"])


def installed(guard: StreamGuard) -> Starlette:
    app = Starlette(routes=[CHAT])
    guard.install(app, "/chat")
    return app


def of_fastapi() -> FastAPI:
    app = FastAPI()
    app.post("/chat")(chat)
    return app


APPLICATIONS = {
    "one route": Starlette(routes=[CHAT]),
    "the guard's routes before it": installed(GUARD),
    "fastapi": of_fastapi(),
    "a parameter first": Starlette(routes=[Route("/{name}", page), CHAT]),
    "a parameter that answers": Starlette(routes=[Route("/{name}", other, methods=["POST"]), CHAT]),
    "a mount first": Starlette(routes=[Mount("/", routes=[OTHER]), CHAT]),
    "a host": Starlette(routes=[CHAT, Host("b.test", Starlette(routes=[OTHER]))]),
    "a host first": Starlette(routes=[Host("b.test", Starlette(routes=[OTHER])), CHAT]),
    "a class of the host's first": Starlette(routes=[BetaRoute("/chat", other, methods=["POST"]), CHAT]),
    "a page of another method": Starlette(routes=[Route("/chat", page), CHAT]),
    "a page of another method before a class of the host's": Starlette(
        routes=[Route("/chat", page), BetaRoute("/chat", other, methods=["POST"]), CHAT]
    ),
    "a page of another method before hosts": Starlette(
        routes=[Route("/chat", page), Mount("/", routes=[Host("b.test", Starlette(routes=[OTHER])), CHAT])]
    ),
    "a class of Starlette's": Starlette(routes=[Route("/chat", Answers)]),
    "an application as an endpoint": Starlette(
        routes=[Route("/chat", Starlette(routes=[Host("b.test", Starlette(routes=[OTHER])), CHAT])), OTHER]
    ),
}
REQUESTS = [
    (method, path, headers, root)
    for method in ("POST", "GET", "OPTIONS", "pOST")
    for path in ("/chat", "/chat/", "/chat/s/stream", "/other")
    for headers in ([], [(b"host", b"b.test")], [(b"x-beta", b"1")])
    for root in ("", "/chat")
]


def scope_of(method: str, path: str, headers: list[tuple[bytes, bytes]], root: str = "") -> Scope:
    return {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": headers} | (
        {"root_path": root} if root else {}
    )


@pytest.mark.parametrize("app", APPLICATIONS.values(), ids=APPLICATIONS)
def test_every_request_finds_what_the_routes_say_however_often_it_comes(app: Starlette) -> None:
    lookup = EndpointLookup(app)
    found = 0
    for _ in range(2):
        for request in REQUESTS:
            expected = guarded_endpoint(scope_of(*request), app)
            assert lookup.find(scope_of(*request)) is expected
            found += expected is not None
    assert found


@pytest.mark.parametrize("name", ["one route", "the guard's routes before it", "a parameter first", "fastapi"])
def test_a_path_that_is_spelled_out_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = EndpointLookup(APPLICATIONS[name])
    before = lookup.find(scope_of("POST", "/chat", []))
    monkeypatch.setattr(Route, "matches", None)
    assert before is not None
    assert lookup.find(scope_of("POST", "/chat", [])) is before


def test_that_an_endpoint_is_not_guarded_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = EndpointLookup(Starlette(routes=[Route("/page", page), CHAT]))
    assert lookup.find(scope_of("GET", "/page", [])) is None
    assert lookup.find(scope_of("GET", "/elsewhere", [])) is None
    monkeypatch.setattr(Route, "matches", None)
    assert lookup.find(scope_of("GET", "/page", [])) is None
    with pytest.raises(TypeError):
        lookup.find(scope_of("GET", "/elsewhere", []))


def test_a_method_that_a_client_invents_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = EndpointLookup(APPLICATIONS["a class of Starlette's"])
    kept = lookup.find(scope_of("POST", "/chat", []))
    assert lookup.find(scope_of("pOST", "/chat", [])) is kept is not None
    monkeypatch.setattr(Route, "matches", None)
    assert lookup.find(scope_of("POST", "/chat", [])) is kept
    with pytest.raises(TypeError):
        lookup.find(scope_of("pOST", "/chat", []))


def test_a_route_that_is_added_or_replaced_counts_from_then_on() -> None:
    app = Starlette(routes=[CHAT])
    lookup = EndpointLookup(app)
    first = lookup.find(scope_of("POST", "/chat", []))
    app.router.routes.insert(0, OTHER)
    second = lookup.find(scope_of("POST", "/chat", []))
    app.router.routes[0] = Route("/elsewhere", page)
    third = lookup.find(scope_of("POST", "/chat", []))
    app.router.routes.clear()
    assert first is third is not second
    assert second is not None
    assert lookup.find(scope_of("POST", "/chat", [])) is None


def test_a_route_that_is_added_to_an_application_that_is_an_endpoint_counts_from_then_on() -> None:
    inner = Starlette()
    lookup = EndpointLookup(Starlette(routes=[Route("/chat", inner)]))
    assert lookup.find(scope_of("POST", "/chat", [])) is None
    inner.router.routes.append(CHAT)
    assert lookup.find(scope_of("POST", "/chat", [])) is not None


def test_an_endpoint_that_was_routed_already_is_taken() -> None:
    lookup = EndpointLookup(APPLICATIONS["one route"])
    kept = lookup.find(scope_of("POST", "/chat", []))
    assert lookup.find({**scope_of("POST", "/chat", []), "endpoint": other}) is not kept


class Changing:
    """A route's pattern. Once, while a path is compared with it, something else happens."""

    def __init__(self, pattern: re.Pattern[str], meanwhile: Callable[[], object]) -> None:
        self._pattern = pattern
        self._meanwhile: Callable[[], object] | None = meanwhile

    def match(self, path: str) -> re.Match[str] | None:
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return self._pattern.match(path)


def test_routes_that_change_while_two_threads_look_are_the_ones_that_count_afterwards() -> None:
    route = Route("/chat", chat, methods=["POST"])
    app = Starlette(routes=[route])
    lookup, scope = EndpointLookup(app), scope_of("POST", "/chat", [])

    def change() -> None:
        app.router.routes[:] = [OTHER]
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(lookup.find, {**scope}).result() is guarded_endpoint({**scope}, app)

    route.path_regex = cast("re.Pattern[str]", Changing(route.path_regex, change))
    before = lookup.find({**scope})
    after = lookup.find({**scope})
    assert after is guarded_endpoint({**scope}, app)
    assert after is not before
