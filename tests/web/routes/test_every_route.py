"""What all routes do: each member of `RouteName` is asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.stores import StreamStore
from streamguard.stores.memory import MemoryStore
from streamguard.testing import FaultyStore
from streamguard.web.routes.health import HEALTH_ROUTES
from streamguard.web.routes.paths import RouteName

from ..serving import calling, user_of

pytestmark = pytest.mark.anyio

ANSWER_WITHOUT_STORE: Final = {RouteName.MESSAGES}
"""Of another store, with a notice that the stream store is away."""
OF_SESSIONS: Final = [route for route in RouteName if route not in HEALTH_ROUTES]
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

every_route: Final = pytest.mark.parametrize("route", RouteName, ids=lambda route: route.name)
every_route_of_a_session: Final = pytest.mark.parametrize("route", OF_SESSIONS, ids=lambda route: route.name)


def make_guard(store: StreamStore | None = None) -> StreamGuard:
    return StreamGuard(store or MemoryStore(), authenticate=user_of, messages=MemoryMessageStore())


def chat_app(guard: StreamGuard) -> Starlette:
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guard.install(app, "/api/chat")
    return app


async def path_of(route: RouteName, client: httpx.AsyncClient, session: str = "s") -> str:
    """A path of the route, of a stream that is over."""
    stream = (await client.post("/chat?id=s")).headers["x-stream-id"] if "{stream}" in route.path else ""
    return "/api/chat" + route.path.format(session=session, stream=stream)


@every_route
async def test_it_is_reached_and_answers(route: RouteName) -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        path = await path_of(route, client)
        for method in route.methods:
            answer = await client.request(method, path, headers={"X-Request-Id": "mine"})
            assert answer.status_code in (200, 204), method
            assert answer.headers["x-request-id"] == "mine"


@every_route
async def test_options_and_methods_that_are_not_allowed(route: RouteName) -> None:
    guard = make_guard()
    allowed = ", ".join((*route.methods, "OPTIONS"))
    async with calling(chat_app(guard), guard) as client:
        path = await path_of(route, client)
        options = await client.options(path)
        assert (options.status_code, options.headers["allow"]) == (204, allowed)
        for method in set(METHODS) - set(route.methods):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@every_route
async def test_head_is_get_without_a_body(route: RouteName) -> None:
    """A server leaves the body of a `HEAD` out; what is not small is not even made."""
    assert ("GET" in route.methods) is ("HEAD" in route.methods)
    if "GET" in route.methods:
        guard = make_guard()
        async with calling(chat_app(guard), guard) as client:
            path = await path_of(route, client)
            got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code
        assert head.headers.get("content-type") == got.headers.get("content-type")


@every_route_of_a_session
async def test_nobody_is_refused(route: RouteName) -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        path = await path_of(route, client)
        for method in route.methods:
            assert (await client.request(method, path, headers={"X-User": ""})).status_code == 401


@every_route_of_a_session
async def test_another_owner_is_told_what_is_told_of_a_session_that_never_was(route: RouteName) -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        await client.post("/chat?id=s")
        path, unknown = await path_of(route, client), await path_of(route, client, session="u")
        for method in route.methods:
            foreign = await client.request(method, path, headers={"X-User": "eve"})
            never = await client.request(method, unknown, headers={"X-User": "eve"})
            assert foreign.status_code == never.status_code
            if "error" not in foreign.text:
                assert foreign.text == never.text.replace('"u"', '"s"')


@every_route_of_a_session
async def test_an_id_that_no_url_should_hold_is_refused(route: RouteName) -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard) as client:
        for method in route.methods:
            answer = await client.request(method, await path_of(route, client, session="%FF"))
            assert answer.status_code == 400


@every_route_of_a_session
async def test_a_foreign_page_may_change_nothing(route: RouteName) -> None:
    guard = make_guard()
    async with calling(chat_app(guard), guard, cookie="session=1") as client:
        path = await path_of(route, client)
        for method in route.methods:
            answer = await client.request(method, path, headers={"Origin": "https://evil.example"})
            assert (answer.status_code == 403) is (method not in ("GET", "HEAD")), method


@every_route_of_a_session
async def test_a_store_that_is_away_is_503(route: RouteName) -> None:
    store = FaultyStore(MemoryStore())
    guard = make_guard(store)
    async with calling(chat_app(guard), guard) as client:
        path = await path_of(route, client)
        store.faults.fail()
        for method in route.methods:
            answer = await client.request(method, path)
            assert answer.status_code == (200 if route in ANSWER_WITHOUT_STORE else 503), method
