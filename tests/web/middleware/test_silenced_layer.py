"""Where the layer falls silent, the short way past it is closed too: uvicorn gets no message after the last one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard.web.middleware.exchange import EXCHANGE, Exchange
from streamguard.web.response.passing_sends import inside_passing
from streamguard.web.response.server_sends import is_servers_own, past_layer

from ..serving import USER, Gate, make_guard, serving
from .limited_bodies import LIMIT, code_of, limited

pytestmark = pytest.mark.anyio


class Noting:
    """Outside the application: the server's tasks, and what comes out of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.tasks: list[asyncio.Task[object]] = []
        self.failures: list[BaseException] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            task = asyncio.current_task()
            assert task is not None
            self.tasks.append(task)
        try:
            await self._app(scope, receive, send)
        except BaseException as exc:
            self.failures.append(exc)
            raise


class ByShortWay(Response):
    """Sends its body as a viewer's chunks are sent: past the layer, if that is possible once the response has begun."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert is_servers_own(inside_passing(send), scope[EXCHANGE])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        direct = past_layer(inside_passing(send), scope[EXCHANGE])
        for _ in range(3):
            await direct({"type": "http.response.body", "body": b"data: all is well\n\n", "more_body": True})


async def test_a_refused_body_is_answered_once_though_the_endpoint_streams_all_the_same() -> None:
    guard = limited()

    @guard.stream(lambda request: "s", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "never"

    @functools.wraps(chat)
    async def swallowing(request: Request) -> Response:
        with contextlib.suppress(Exception):  # as host code does
            await request.body()
        return ByShortWay()

    app = Starlette(routes=[Route("/chat", swallowing, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    noting = Noting(app)
    async with serving(noting) as port, httpx.AsyncClient(headers=USER, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/chat", content=b"x" * (LIMIT + 1))
        assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")
        await asyncio.wait(noting.tasks)
    assert noting.failures == [], "uvicorn takes no message after the last one"


async def test_a_call_that_the_server_left_has_no_way_past_the_layer() -> None:
    """The server's call is cancelled, as uvicorn does when its patience with a shutdown ends, and the response begins
    only then."""
    guard, gate = make_guard(drain_seconds=1), Gate()
    held: list[tuple[Send, Exchange]] = []

    class Holding:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                held.append((send, scope[EXCHANGE]))
            await self._app(scope, receive, send)

    @guard.stream(lambda request: "s", protocol="plain")
    async def chat() -> AsyncIterator[str]:
        await gate.wait()
        yield "one"

    routes = [Route("/chat", chat, methods=["POST"])]
    app = Starlette(routes=routes, lifespan=guard.lifespan, middleware=[Middleware(Holding)])
    guard.install(app, "/api/chat")
    noting = Noting(app)
    async with serving(noting) as port, httpx.AsyncClient(headers=USER, trust_env=False) as client:
        asking = asyncio.create_task(client.post(f"http://127.0.0.1:{port}/chat"))
        await gate.reached.wait()
        (task,), ((send, exchange),) = noting.tasks, held
        assert is_servers_own(inside_passing(send), exchange)
        task.cancel()
        await asyncio.wait({task})
        assert exchange.call is not None
        assert exchange.call.detached
        assert not is_servers_own(inside_passing(send), exchange)
        assert (await asking).status_code == 500, "uvicorn's own"
        (stream,) = guard._running().streams.values()
        gate.open()
        await stream.ended()
    assert stream.seal is not None
    assert stream.seal.outcome == "completed"
    assert [type(failure) for failure in noting.failures] == [asyncio.CancelledError]
