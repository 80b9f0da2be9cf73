"""What a host puts around `send` gets every message in the viewer's task; the server's own `send` needs none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Literal

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message

from streamguard import StreamGuard
from streamguard.web.middleware.exchange import Exchange, LayerSends
from streamguard.web.response.chunk_sender import ChunkSender
from streamguard.web.response.server_sends import past_layer

from ...harness.waiting import wait_until_async
from ..serving import USER, WrappedSends, make_guard, serving

pytestmark = pytest.mark.anyio

EVENTS = 30


def application(
    guard: StreamGuard,
    read: asyncio.Semaphore,
    *,
    events: int = EVENTS,
    text: str = "word",
    middleware: list[Middleware] | None = None,
) -> Starlette:
    """Says an event when the one before was `read`, so that each is shown alone."""

    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        for number in range(events):
            yield f"{number} {text}"
            await read.acquire()

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan, middleware=middleware)
    guard.install(app, "/api/chat")
    return app


@pytest.fixture
def read() -> asyncio.Semaphore:
    """Released for each event that a client has read."""
    return asyncio.Semaphore(0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each send that was begun where its event was shown: whether it had to wait."""
    waited: list[bool] = []

    wake = ChunkSender._wake

    def noting(self: ChunkSender, newest: bytes, seq: int) -> None:
        waits = self._woken is not None
        wake(self, newest, seq)
        if waits and (self._rest is not None or self._woken is not None):
            waited.append(self._rest is not None)

    monkeypatch.setattr(ChunkSender, "_wake", noting)
    return waited


async def lines_of(read: asyncio.Semaphore, method: str, url: str) -> list[str]:
    """The data lines of an answer. Each releases `read`."""
    lines = []
    async with (
        httpx.AsyncClient(headers=USER, trust_env=False) as client,
        client.stream(method, url) as answer,
    ):
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                lines.append(line)
                read.release()
    return lines


async def asked(read: asyncio.Semaphore, port: int, path: str = "/chat") -> None:
    """Ask for an answer, which is whole."""
    *data, end = await lines_of(read, "POST", f"http://127.0.0.1:{port}{path}?id=s")
    assert data == [f"data: {number} word" for number in range(EVENTS)]
    assert '"completed"' in end


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_an_event_is_written_where_it_is_shown(
    http: Literal["h11", "httptools"], read: asyncio.Semaphore, at_once: list[bool]
) -> None:
    async with serving(application(make_guard(), read), http=http) as port:
        await asked(read, port)
    assert at_once[: EVENTS - 1] == [False] * (EVENTS - 1), "of each event after the first"


async def test_also_through_the_wrapper_of_starlettes_cors(read: asyncio.Semaphore, at_once: list[bool]) -> None:
    middleware = [Middleware(CORSMiddleware, allow_origins=["*"])]
    async with serving(application(make_guard(), read, middleware=middleware)) as port:
        await asked(read, port)
    assert at_once[: EVENTS - 1] == [False] * (EVENTS - 1), "of each event after the first"


Wrapped = Callable[[StreamGuard, asyncio.Semaphore], ASGIApp]


def renamed(guard: StreamGuard, read: asyncio.Semaphore) -> ASGIApp:
    return application(guard, read, middleware=[Middleware(WrappedSends)])


def outside(guard: StreamGuard, read: asyncio.Semaphore) -> ASGIApp:
    return WrappedSends(application(guard, read))


@pytest.mark.parametrize("wrapped", [renamed, outside])
async def test_what_a_host_wraps_is_called_in_the_task(
    wrapped: Wrapped, read: asyncio.Semaphore, at_once: list[bool]
) -> None:
    async with serving(wrapped(make_guard(), read)) as port:
        await asked(read, port)
    assert at_once == []


async def test_in_a_mounted_application(read: asyncio.Semaphore, at_once: list[bool]) -> None:
    guard = make_guard()
    app = Starlette(routes=[Mount("/v1", application(guard, read))], lifespan=guard.lifespan)
    async with serving(app) as port:
        await asked(read, port, "/v1/chat")
    assert at_once


async def test_a_client_that_reads_slowly_gets_everything(read: asyncio.Semaphore, at_once: list[bool]) -> None:
    """The server's `send` waits while the connection takes no more: then the rest of it is the task's. Another client
    reads each event at once."""
    events, text = 1_500, "x" * 8_000  # each below what leaves others a turn, together above what a connection takes
    async with serving(application(make_guard(), read, events=events, text=text)) as port:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=small, limit=4096)
        user = "".join(f"{name}: {value}\r\n" for name, value in USER.items())
        head = f"POST /chat?id=s HTTP/1.1\r\nhost: x\r\n{user}content-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(60), asyncio.TaskGroup() as clients:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            other = clients.create_task(lines_of(read, "GET", f"http://127.0.0.1:{port}/api/chat/s/stream"))
            await wait_until_async(lambda: any(at_once), description="a send waits")
            received = await reader.read(-1)
        writer.close()
    assert received.rstrip().endswith(b"0"), "the last chunk of the body"
    assert received.count(b"\ndata: ") == len(other.result()) == events + 1


async def test_the_way_past_the_layer_is_closed_once_it_sends_nothing() -> None:
    async def inner(message: Message) -> None: ...

    async def outer(message: Message) -> None: ...

    exchange = Exchange()
    exchange.sends = LayerSends(inner, outer)
    assert past_layer(inner, exchange) is outer
    assert past_layer(outer, exchange) is outer, "what a host put around it is called"
    exchange.sends = None
    assert past_layer(inner, exchange) is inner
