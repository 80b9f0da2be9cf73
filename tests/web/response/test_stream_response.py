"""How a connection ends, on real servers: only a stream whose terminal went out ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

import hypercorn.asyncio
import pytest
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope

from streamguard import StreamGuard
from tests.harness.ports import free_port
from tests.harness.sse import Ending, open_sse, ui_text
from tests.harness.waiting import wait_until_async

from ..serving import USER, Gate, make_guard, serving

pytestmark = pytest.mark.anyio

Serving = Callable[[ASGIApp], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def hypercorning(app: ASGIApp) -> AsyncIterator[int]:
    config, stop = Config(), asyncio.Event()
    config.bind = [f"127.0.0.1:{(port := free_port())}"]
    config.errorlog = None
    config.graceful_timeout = 1
    task = asyncio.create_task(hypercorn.asyncio.serve(cast("ASGIFramework", app), config, shutdown_trigger=stop.wait))

    def listening() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return task.done()

    try:
        await wait_until_async(listening, description="hypercorn listens")
        yield port
    finally:
        stop.set()
        await task


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


STACKS = {
    "bare": [],
    "base-http": [Middleware(Passing)],
    "twice": [Middleware(Passing), Middleware(Passing)],
    "gzip": [Middleware(GZipMiddleware)],
}


def gated(guard: StreamGuard, gate: Gate, middleware: list[Middleware]) -> Starlette:
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        await gate.wait()
        yield "two"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], middleware=middleware, lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return app


@pytest.mark.parametrize("middleware", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("server", [serving, hypercorning], ids=["uvicorn", "hypercorn"])
async def test_only_a_terminal_ends_a_response_cleanly(server: Serving, middleware: list[Middleware]) -> None:
    guard, gate = make_guard(), Gate()
    headers = {**USER, "Accept-Encoding": "identity"}
    async with server(gated(guard, gate, middleware)) as port:  # noqa: SIM117 -- the server must outlive its clients
        async with (
            open_sse(port, "/chat?id=s", method="POST", headers=headers) as first,
            open_sse(port, "/api/chat/s/stream", headers=headers) as second,
        ):
            await first.read_events(3)
            await second.read_events(3)
            before = set(guard._running().viewer_registry.viewers)
            async with open_sse(port, "/api/chat/s/stream", headers=headers) as third:
                await third.read_events(3)
                (dropped,) = set(guard._running().viewer_registry.viewers) - before
                dropped.drop("slow")
                assert await third.read_rest() == []
                assert third.ending is Ending.CUT
            gate.open()
            for stream in (first, second):
                await stream.read_rest()
                assert ui_text(stream.events) == "one two"
                assert stream.ending is Ending.CLEAN
    assert not guard._context.limits.viewers.count


async def test_a_client_that_leaves_does_not_end_the_stream() -> None:
    guard, gate = make_guard(), Gate()
    async with serving(gated(guard, gate, [])) as port:
        async with open_sse(port, "/chat?id=s", method="POST", headers=USER) as first:
            await first.read_events(3)
        await wait_until_async(
            lambda: not guard._context.limits.viewers.count,
            description="the viewer of the client that left is gone",
        )
        assert len(guard._running().streams) == 1
        gate.open()
        async with open_sse(port, "/api/chat/s/stream", headers=USER) as second:
            assert ui_text(await second.read_rest()) == "one two"
            assert second.ending is Ending.CLEAN


@pytest.mark.long
async def test_a_client_that_does_not_read_is_dropped_and_the_others_get_everything() -> None:
    guard = make_guard(viewer_send_seconds=0.3, keep_alive_seconds=1, viewer_backlog_bytes=65_536)
    count, piece = 400, "x" * 50_000
    enough = Gate()

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        await enough.wait()
        for _ in range(count):
            yield piece
            await asyncio.sleep(0)

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with serving(app) as port:
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.setblocking(False)
            await asyncio.get_running_loop().sock_connect(stuck, ("127.0.0.1", port))
            await asyncio.get_running_loop().sock_sendall(
                stuck, b"POST /chat?id=s HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nContent-Length: 0\r\n\r\n"
            )
            await enough.reached.wait()
            async with open_sse(port, "/api/chat/s/stream", headers=USER) as other:
                enough.open()
                text = ui_text(await other.read_rest())
                assert other.ending is Ending.CLEAN
            assert len(text) == count * len(piece)
            await wait_until_async(
                lambda: not guard._context.limits.viewers.count, description="the stuck viewer is dropped"
            )


@pytest.mark.long
async def test_a_server_that_cancels_requests_gives_them_no_clean_end_and_streams_their_terminal() -> None:
    """uvicorn's graceful timeout: it cancels the requests and shuts the lifespan down at the same moment."""
    guard, gate = make_guard(drain_seconds=1), Gate()
    app = gated(guard, gate, [Middleware(Passing)])
    async with (
        serving(app, graceful_seconds=1) as server,
        open_sse(server, "/chat?id=s", method="POST", headers=USER) as stream,
    ):
        await stream.read_events(3)
        store = guard._running().store
        (live,) = guard._running().streams.values()
        server.stop()
        rest = await stream.read_rest()
        ended_with_terminal = any(event.data == "[DONE]" for event in rest)
        assert stream.ending is (Ending.CLEAN if ended_with_terminal else Ending.CUT)
    meta = await store.meta(live.ref)
    assert meta is not None
    assert meta.seal is not None
    assert meta.state == "closed"
    assert meta.seal.outcome == "interrupted"


async def test_asgi_2_4_tells_of_a_disconnect_by_an_oserror() -> None:
    guard, gate = make_guard(), Gate()
    app = gated(guard, gate, [])
    forever = asyncio.Event()

    async def receive() -> Message:
        await forever.wait()
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        if len(sent) == 2:
            raise OSError("gone")
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/chat",
        "raw_path": b"/chat",
        "query_string": b"id=s",
        "root_path": "",
        "headers": [(b"x-user", b"ann"), (b"content-length", b"0")],
    }
    async with guard, asyncio.TaskGroup() as tasks:
        tasks.create_task(app(scope, receive, send))
        await gate.reached.wait()
        gate.open()
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["more_body"] is True
