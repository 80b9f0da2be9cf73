"""What a host puts around `send` gets every message in the viewer's task; the server's own `send` needs none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.web.response import chunk_sender
from streamguard.web.response.server_sends import RestOfSend, begin

from ...harness.waiting import wait_until_async
from ..serving import USER, make_guard, serving

pytestmark = pytest.mark.anyio

EVENTS = 30


class Renaming:
    """A host's middleware that wraps `send`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def renaming(message: Message) -> None:
            await send(message)

        await self.app(scope, receive, renaming)


def application(guard: StreamGuard, *, text: str = "word", middleware: list[Middleware] | None = None) -> Starlette:
    @guard.stream(protocol="plain")
    async def chat() -> AsyncIterator[str]:
        for number in range(EVENTS):
            yield f"{number} {text}"
            await asyncio.sleep(0.001)

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan, middleware=middleware)
    guard.install(app, "/api/chat")
    return app


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each send that was begun where its event was shown: whether it had to wait."""
    waited: list[bool] = []

    def noting(sending: Awaitable[None]) -> RestOfSend | None:
        rest = begin(sending)
        waited.append(rest is not None)
        return rest

    monkeypatch.setattr(chunk_sender, "begin", noting)
    return waited


async def body(port: int, path: str = "/chat") -> str:
    async with httpx.AsyncClient(headers=USER, trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{port}{path}")
    assert answer.status_code == 200
    return answer.text


def whole(text: str) -> bool:
    data = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("data: ")]
    return [line.partition(" ")[0] for line in data[:EVENTS]] == [str(number) for number in range(EVENTS)]


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_an_event_is_written_where_it_is_shown(http: Literal["h11", "httptools"], at_once: list[bool]) -> None:
    async with serving(application(make_guard()), http=http) as port:
        text = await body(port)
    assert whole(text)
    assert text.count("event: streamguard.end") == 1
    assert len(at_once) > EVENTS // 2
    assert not any(at_once)


Wrapped = Callable[[StreamGuard], ASGIApp]


def renamed(guard: StreamGuard) -> ASGIApp:
    return application(guard, middleware=[Middleware(Renaming)])


def outside(guard: StreamGuard) -> ASGIApp:
    return Renaming(application(guard))


@pytest.mark.parametrize("wrapped", [renamed, outside])
async def test_what_a_host_wraps_is_called_in_the_task(wrapped: Wrapped, at_once: list[bool]) -> None:
    async with serving(wrapped(make_guard())) as port:
        assert whole(await body(port))
    assert at_once == []


async def test_in_a_mounted_application(at_once: list[bool]) -> None:
    guard = make_guard()
    inner = application(guard)
    app = Starlette(routes=[Mount("/v1", inner)], lifespan=guard.lifespan)
    async with serving(app) as port:
        assert whole(await body(port, "/v1/chat"))
    assert at_once


async def test_a_client_that_reads_slowly_gets_everything(at_once: list[bool]) -> None:
    """The server's `send` waits while the connection takes no more: then the rest of it is the task's."""
    guard = make_guard()
    text = "x" * 8_000  # below what leaves others a turn

    @guard.stream(protocol="plain")
    async def chat() -> AsyncIterator[str]:
        for number in range(1_500):
            yield f"{number} {text}"
            await asyncio.sleep(0.0001)  # so that most events are shown alone

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        user = "".join(f"{name}: {value}\r\n" for name, value in USER.items())
        writer.write(f"POST /chat HTTP/1.1\r\nhost: x\r\n{user}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        async with asyncio.timeout(30):
            await wait_until_async(lambda: any(at_once), description="a send waits")
            received = await reader.read(-1)
        writer.close()
    assert received.rstrip().endswith(b"0"), "the last chunk of the body"
    assert b"data: 1499 x" in received
    assert b"streamguard.end" in received
