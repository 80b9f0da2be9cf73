"""An answer that is cut short never ends like one that is complete, wherever the guard's layer is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.observations import Observation
from tests.harness.sse import Ending, open_sse

from ..misuses.sites import TIMING, endless, own_lifespan, site, timing, told, visiting
from ..response.test_stream_response import hypercorning
from ..serving import USER, make_guard, serving

pytestmark = pytest.mark.anyio

Serving = Callable[[ASGIApp], AbstractAsyncContextManager[int]]
Build = Callable[[StreamGuard], ASGIApp]


def mounted(guard: StreamGuard, **options: object) -> FastAPI:
    """The guard is installed in an application that is mounted in this one."""
    app = FastAPI(**{"lifespan": own_lifespan(guard), "middleware": [TIMING], **options})
    app.mount("/v1", endless(guard))
    return app


def wrapped(guard: StreamGuard) -> ASGIApp:
    return guard.wrap(mounted(guard))


def wrapped_twice(guard: StreamGuard) -> ASGIApp:
    return guard.wrap(guard.wrap(mounted(guard)))


def wrapped_around_middlewares(guard: StreamGuard) -> ASGIApp:
    return guard.wrap(GZipMiddleware(BaseHTTPMiddleware(mounted(guard), timing)))


def started_by_the_outermost(guard: StreamGuard) -> ASGIApp:
    return mounted(guard, lifespan=guard.lifespan)


def inside_one(guard: StreamGuard) -> ASGIApp:
    return mounted(guard)


def inside_three(guard: StreamGuard) -> ASGIApp:
    app = BaseHTTPMiddleware(mounted(guard, middleware=[TIMING, TIMING]), timing)
    return Starlette(routes=[Mount("/", app)], lifespan=own_lifespan(guard))


def without_a_layer(guard: StreamGuard) -> ASGIApp:
    app = FastAPI(lifespan=own_lifespan(guard), middleware=[TIMING])

    @app.post("/v1/api/chat")
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "word"
        await asyncio.Event().wait()

    app.mount("/chat", guard.app)
    return app


RIGHT = [wrapped, wrapped_twice, wrapped_around_middlewares, started_by_the_outermost]
WRONG = [inside_one, inside_three, without_a_layer]


@pytest.mark.parametrize("server", [serving, hypercorning], ids=["uvicorn", "hypercorn"])
@pytest.mark.parametrize("build", [*RIGHT, *WRONG])
async def test_a_cut_answer_breaks_its_connection(build: Build, server: Serving) -> None:
    guard = make_guard(drain_seconds=0.2)
    seen: list[Observation] = []
    with guard.instrumented(observer=seen.append):
        app = build(guard)
        async with server(app) as port:
            path = "/v1/api/chat?id=s"
            headers = {**USER, "Accept-Encoding": "identity", "Content-Type": "application/json"}
            async with open_sse(port, path, method="POST", headers=headers, body=b'{"id": "s"}') as first:
                await first.read_events(2)
                (viewer,) = guard._running().viewer_registry.viewers
                viewer.drop("slow")
                await first.read_rest()
            assert first.ending is Ending.CUT
    assert bool(told(seen)) is (build in WRONG)


async def test_the_layer_passes_on_what_is_whole() -> None:
    """The lifespan, other routes, and answers that end."""
    guard = make_guard()
    inner = site(guard, lifespan=own_lifespan(guard))
    inner.get("/other")(lambda: "other")
    app = guard.wrap(BaseHTTPMiddleware(inner, timing))
    async with visiting(app, guard) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        assert answer.ending.name == "CLEAN"
        assert (await chat.request("GET", "/other")).body == b'"other"'
        assert told(chat.observations) == []


async def test_a_client_that_left_is_sent_nothing_to_fail_with() -> None:
    guard = make_guard()
    inner = mounted(guard)
    bodies: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def recorded(message: Message) -> None:
            bodies.append(message.get("body", b""))
            await send(message)

        await inner(scope, receive, recorded)

    async with visiting(app, guard, "/v1/api/chat") as chat:
        answer = await chat.post({"id": "s"})
        await answer.next_event()
        answer.drop()
        await chat.stop("s")
        await chat.ended(answer)
        await chat.idle()
    assert bodies
    assert {type(body) for body in bodies} == {bytes}


async def test_the_lifespans_application_keeps_the_layer_it_has() -> None:
    guard = make_guard()
    app = site(guard)
    for _ in range(2):
        async with visiting(app, guard) as chat:
            await (await chat.post({"id": "s"})).rest()
            layers, layer = [], app.middleware_stack
            while layer is not None:
                layers.append(type(layer).__name__)
                layer = getattr(layer, "app", None)
            assert layers.count("OutermostLayer") == 1
