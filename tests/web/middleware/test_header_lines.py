"""The header lines of a host's may be of anything that its server takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard.web.headers import merge_headers

from ..serving import USER, make_guard, serving

pytestmark = pytest.mark.anyio


class Adding:
    """A host's middleware that adds headers, which are not of `bytes`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def added(message: Message) -> None:
            if message["type"] == "http.response.start":
                lines = [[b"x-one", bytearray(b"1")], (bytearray(b"x-two"), b"2"), (b"x-three", memoryview(b"3"))]
                message["headers"] = [*message["headers"], *lines]
            await send(message)

        await self._app(scope, receive, added)


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_those_of_a_middleware_are_passed_on(http: Literal["h11", "httptools"]) -> None:
    """ASGI says bytes; uvicorn takes whatever is like them."""
    guard = make_guard()

    @guard.stream(lambda request: "s", protocol="plain")
    async def chat() -> AsyncIterator[str]:
        yield "one"

    routes = [Route("/chat", chat, methods=["POST"])]
    app = Starlette(routes=routes, lifespan=guard.lifespan, middleware=[Middleware(Adding)])
    guard.install(app, "/api/chat")
    async with serving(app, http=http) as port, httpx.AsyncClient(headers=USER, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/chat")
    assert answer.status_code == 200
    assert [answer.headers[name] for name in ("x-one", "x-two", "x-three")] == ["1", "2", "3"]
    assert "x-stream-id" in answer.headers


def test_the_content_type_of_a_returned_response_gets_its_charset() -> None:
    lines: list[tuple[Any, Any]] = [(b"content-type", bytearray(b"text/event-stream"))]
    assert merge_headers([], lines, own_type=True) == [(b"content-type", b"text/event-stream; charset=utf-8")]
