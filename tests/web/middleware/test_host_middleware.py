"""What a host keeps around `send` works as under a bare Starlette response, also where the reader makes `send` wait."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.harness.waiting import wait_until_async

from ..response.test_stream_response import Passing
from ..serving import make_guard, serving

pytestmark = pytest.mark.anyio

SPAN: ContextVar[str | None] = ContextVar("span", default=None)
LOCK = anyio.Lock()

PIECES, PIECE = 200, "x" * 30_000

Around = Callable[[Message, Send], Awaitable[None]]


async def context_variable(message: Message, send: Send) -> None:
    token = SPAN.set("sending")
    try:
        await send(message)
    finally:
        SPAN.reset(token)


async def cancel_scope(message: Message, send: Send) -> None:
    with anyio.fail_after(60):
        await send(message)


async def timeout(message: Message, send: Send) -> None:
    async with asyncio.timeout(60):
        await send(message)


async def task_group(message: Message, send: Send) -> None:
    async def child() -> None:
        await send(message)

    async with anyio.create_task_group() as group:
        group.start_soon(child)


async def lock(message: Message, send: Send) -> None:
    async with LOCK:  # which only the task that holds it may release
        await send(message)


async def nothing(message: Message, send: Send) -> None:
    await send(message)


class OverTheResponse:
    """Sets a variable with the response's start and resets it with its end, as tracing of whole responses does."""

    def __init__(self) -> None:
        self.token: Token[str | None] | None = None

    async def __call__(self, message: Message, send: Send) -> None:
        if message["type"] == "http.response.start":
            self.token = SPAN.set("responding")
        await send(message)
        if self.token is not None and not message.get("more_body", message["type"] == "http.response.start"):
            assert SPAN.get() == "responding"
            SPAN.reset(self.token)


AROUND: dict[str, Callable[[], Around]] = {
    "nothing": lambda: nothing,
    "a context variable": lambda: context_variable,
    "a cancel scope": lambda: cancel_scope,
    "a timeout": lambda: timeout,
    "a task group": lambda: task_group,
    "a lock": lambda: lock,
    "a context variable from start to end": OverTheResponse,
}


@dataclass
class Seen:
    """What one response looked like to the middleware around it."""

    errors: list[str] = field(default_factory=list)
    """What its sends raised, but for the cancellation that a bare response's last one may meet, when the server says
    that it needs nothing more."""
    senders: set[asyncio.Task[object] | None] = field(default_factory=set)
    waiting: bool = False
    """A send is under way."""
    sends: int = 0


class Layer:
    def __init__(self, app: ASGIApp, around: Callable[[], Around], seen: Seen) -> None:
        self.app, self.around, self.seen = app, around, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        around, seen = self.around(), self.seen

        async def layered(message: Message) -> None:
            seen.senders.add(asyncio.current_task())
            seen.sends += 1
            seen.waiting = True
            try:
                await around(message, send)
            except BaseException as exc:
                if message.get("more_body", True) or not isinstance(exc, asyncio.CancelledError):
                    seen.errors.append(repr(exc))
                raise
            finally:
                seen.waiting = False

        await self.app(scope, receive, layered)


async def pausing_reader(port: int, path: str, seen: Seen) -> bytes:
    """The whole response, of which nothing is read until the server has a send that waits."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        request = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(client, request.encode())
        before = -1

        def stuck() -> bool:
            nonlocal before
            before, last = seen.sends, before
            return seen.waiting and seen.sends == last

        await wait_until_async(stuck, description="a send waits for the reader")
        received = b""
        while data := await loop.sock_recv(client, 262_144):
            received += data
        return received


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "around BaseHTTPMiddleware"])
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.long
@pytest.mark.repeats
async def test_nothing_differs_from_a_bare_response(around: Callable[[], Around], inside: bool) -> None:
    guard = make_guard(viewer_backlog_bytes=50_000_000)

    async def items() -> AsyncIterator[str]:
        for _ in range(PIECES):
            yield PIECE
            await asyncio.sleep(0)

    async def bare(request: Request) -> StreamingResponse:
        async def blocks() -> AsyncIterator[str]:
            async for item in items():
                yield f"data: {json.dumps(item)}\n\n"

        return StreamingResponse(blocks(), media_type="text/event-stream")

    @guard.stream("request.query_params.id", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        async for item in items():
            yield item

    found = {}
    for name, path in {"bare": "/bare", "guarded": "/chat?id=s"}.items():
        seen = Seen()
        middleware = [Middleware(Layer, around=around, seen=seen), *([Middleware(Passing)] if inside else [])]
        app = Starlette(
            routes=[Route("/bare", bare, methods=["POST"]), Route("/chat", chat, methods=["POST"])],
            middleware=middleware,
            lifespan=guard.lifespan,
        )
        guard.install(app, "/api/chat")
        async with serving(app) as port:
            received = await pausing_reader(port, path, seen)
        clean_end = received.endswith(b"0\r\n\r\n")
        found[name] = (seen.errors, len(seen.senders), received.count(PIECE.encode()), clean_end)
    assert found["guarded"] == found["bare"] == ([], 1, PIECES, True)
