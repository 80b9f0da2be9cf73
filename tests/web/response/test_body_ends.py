"""The end of a stream's body: with the last chunk where `send` is the server's own, else in a message of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http import h11_impl, httptools_impl

from streamguard import StreamGuard
from streamguard.runtime import Viewer
from streamguard.runtime.viewing.feed import CHUNK_BYTES
from streamguard.values import EventKind
from streamguard.web.middleware.exchange import ResponseState
from streamguard.web.response.chunk_sender import FAIR_BYTES
from streamguard.wire.plain import PlainProtocol

from ...harness.sse import Ending, SseConnection, open_sse
from ...harness.waiting import wait_until_async
from ..serving import USER, Gate, WrappedSends, gated, make_guard, serving
from .deliveries import Client, Window, delivering, hangs

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_last_chunk_is_the_end_of_the_body_for_a_servers_own_send(at_once: bool) -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=at_once) as task:
        window.say("one")
        await client.has("one")
        window.say("two")
        window.end()
        assert await asyncio.wait_for(task, 20) is at_once
        assert client.ended is at_once
        assert client.bodies[-1].count(b"streamguard.end") == 1
        assert window.viewer.left_reason == "ended"
        expected = ResponseState.WHOLE if at_once else ResponseState.CUT_SHORT
        assert window.exchange.response is expected, "whoever sends the final message says so first"


async def test_an_end_that_comes_later_ends_the_body_with_its_own_chunk() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=True) as task:
        window.say("one")
        assert client.texts() == ["one"]
        window.end()
        assert await asyncio.wait_for(task, 20)
        assert len(client.bodies) == 2
        assert client.ended


@pytest.mark.parametrize("text", ["x" * FAIR_BYTES, "x" * 3 * CHUNK_BYTES], ids=["large", "in pieces"])
async def test_after_a_large_last_chunk_the_end_follows(text: str) -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=True) as task:
        window.feed.push(EventKind.DATA, text.encode())
        window.end()
        ended = await asyncio.wait_for(task, 20)
        assert client.texts()[0] == text
        assert client.bodies[-1].count(b"streamguard.end") == 1
        assert ended is client.ended is (len(client.bodies[-1]) < FAIR_BYTES)


class Formless(PlainProtocol):
    """Its streams' ends have no form."""

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        return b"" if kind is EventKind.TERMINAL else super().block(seq, kind, payload, id_prefix)


async def test_an_end_without_a_form_has_no_chunk_to_go_out_with() -> None:
    window, client = Window(Formless()), Client()
    async with delivering(window, client.send, at_once=True) as task:
        window.say("one")
        window.end()
        assert await asyncio.wait_for(task, 20) is client.ended
        assert client.texts() == ["one"]


async def test_a_stream_that_is_cut_has_no_end_of_body() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=True) as task:
        window.say("one")
        window.feed.end(complete=False)
        await asyncio.wait([task])
        assert task.exception() is not None
        assert not client.ended


@pytest.mark.parametrize("how", ["cancelled", "raises"])
async def test_a_last_send_that_fails_leaves_the_response_cut_short(how: str) -> None:
    window, client, gate = Window(), Client(), asyncio.Event()

    async def send(message: Message) -> None:
        if b"streamguard.end" in message.get("body", b""):
            assert window.exchange.response is ResponseState.WHOLE, "else an outer layer keeps the message back"
            await gate.wait()
            raise OSError("the client left")
        await client.send(message)

    async with delivering(window, send, at_once=True) as task:
        window.say("one")
        window.end()
        await wait_until_async(lambda: hangs(window), description="the watchdog sees the last send")
        if how == "cancelled":
            task.cancel()
        gate.set()
        await asyncio.wait([task])
        assert task.cancelled() or isinstance(task.exception(), OSError)
        assert window.exchange.response is ResponseState.CUT_SHORT
        assert window.viewer.left_reason == "left"


# -- on a server -------------------------------------------------------------------------------------------------------

Cycle = h11_impl.RequestResponseCycle | httptools_impl.RequestResponseCycle


class Server:
    """What uvicorn was sent, each message once it was taken.

    Attributes:
        bodies: the bodies, and whether more was to follow.
        paused: the latest connection takes no more at present.
        taken: set with each message.
    """

    def __init__(self, http: Literal["h11", "httptools"]) -> None:
        self.http: Literal["h11", "httptools"] = http
        self.bodies: list[tuple[bytes, bool]] = []
        self.paused = False
        self.taken = asyncio.Event()

    def took(self, cycle: Cycle, message: Message) -> None:
        self.paused = cycle.flow.write_paused
        self.taken.set()
        if message["type"] == "http.response.body":
            self.bodies.append((message["body"], message["more_body"]))


@pytest.fixture(params=["h11", "httptools"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server(request.param)
    cycle: type[Cycle] = {"h11": h11_impl, "httptools": httptools_impl}[request.param].RequestResponseCycle
    own = cycle.send

    async def send(self: Cycle, message: Message) -> None:
        await own(self, message)  # type: ignore[arg-type]
        server.took(self, message)

    monkeypatch.setattr(cycle, "send", send)
    return server


async def whole(port: int, path: str, method: str = "POST", **headers: str) -> list[str]:
    """The data of an answer that ends cleanly, and at last the id of its first event."""
    async with open_sse(port, path, method=method, headers={**USER, "Accept-Encoding": "identity", **headers}) as got:
        events = await got.read_rest()
        assert got.ending is Ending.CLEAN
    return [*(event.data for event in events), events[0].id or ""]


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


@pytest.mark.parametrize("middleware", [None, Passing, WrappedSends], ids=["none", "base-http", "a wrapper"])
async def test_a_hosts_middleware_gets_the_end_of_the_body_by_itself(
    middleware: Callable[..., ASGIApp] | None, server: Server
) -> None:
    gate = Gate()
    guard, app = gated(gate)
    if middleware is not None:
        app.add_middleware(middleware)
    app.router.lifespan_context = guard.lifespan
    gate.open()
    async with serving(app, http=server.http) as port:
        *data, first = await whole(port, "/chat")
        assert data[:2] == ["one", "two"]
        assert '"completed"' in data[2]
        assert [more for _, more in server.bodies] == [True] * (len(server.bodies) - 1) + [False]
        assert bool(server.bodies[-1][0]) is (middleware is None)
        server.bodies.clear()
        *again, _ = await whole(port, "/api/chat/s/stream", "GET", **{"Last-Event-ID": first})
        assert again == data[1:], "from the log"
        assert bool(server.bodies[-1][0]) is (middleware is None)


@pytest.mark.parametrize(("how", "reason"), [("leaves", "left"), ("is dropped", "slow")])
async def test_a_viewer_of_a_log_that_misses_the_last_chunk_has_not_seen_the_end(how: str, reason: str) -> None:
    gate = Gate()
    guard, app = gated(gate)
    app.router.lifespan_context = guard.lifespan
    gate.open()
    viewers: list[Viewer] = []

    async def missing(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message.get("body"):
                viewers.extend(guard._running().viewer_registry.viewers)
                if how == "leaves":
                    raise OSError("the client left")
                viewers[0].drop("slow")
                await asyncio.Event().wait()
            await send(message)

        await app(scope, receive, sending if scope.get("method") == "GET" else send)

    async with serving(missing) as port:
        *_, first = await whole(port, "/chat")
        headers = {**USER, "Last-Event-ID": first}
        async with open_sse(port, "/api/chat/s/stream", method="GET", headers=headers) as client:
            await client.read_rest()
            assert client.ending is Ending.CUT
        assert [viewer.left_reason for viewer in viewers] == [reason]


@asynccontextmanager
async def last_send_waits(server: Server) -> AsyncIterator[tuple[StreamGuard, Viewer, SseConnection]]:
    """A connection that takes no more when the end of its stream, in one message with the end of the body, is sent."""
    guard = make_guard()

    @guard.stream(lambda request: "s", protocol="plain")
    async def chat() -> AsyncIterator[str]:
        while not server.paused:
            server.taken.clear()
            yield "x" * 8_000  # below what leaves others a turn
            await server.taken.wait()

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    async with serving(app, http=server.http) as port, open_sse(port, "/chat", method="POST", headers=USER) as client:
        (viewer,) = guard._running().viewer_registry.viewers
        await wait_until_async(
            lambda: viewer.feed is not None and viewer.feed.complete and viewer.sending_since is not None,
            description="the last send waits",
        )
        yield guard, viewer, client


async def test_a_client_that_leaves_while_the_last_send_waits_has_left(server: Server) -> None:
    async with last_send_waits(server) as (guard, viewer, client):
        await client.drop()
        await wait_until_async(lambda: not guard._context.limits.viewers.count, description="its viewer is gone")
        assert viewer.left_reason == "left"


async def test_a_viewer_that_is_dropped_while_the_last_send_waits_sees_a_broken_connection(server: Server) -> None:
    async with last_send_waits(server) as (guard, viewer, client):
        viewer.drop("slow")
        await wait_until_async(lambda: not guard._context.limits.viewers.count, description="its viewer is gone")
        assert viewer.left_reason == "slow"
        await client.read_rest()
        assert client.ending is Ending.CUT
        assert all(more for _, more in server.bodies)


async def test_a_last_send_that_waits_goes_out_once_the_client_reads(server: Server) -> None:
    async with last_send_waits(server) as (guard, viewer, client):
        events = await client.read_rest()
        assert client.ending is Ending.CLEAN
        assert '"completed"' in events[-1].data
        assert viewer.left_reason == "ended"
        assert [more for _, more in server.bodies] == [True] * (len(server.bodies) - 1) + [False]
        assert b"completed" in server.bodies[-1][0]
        assert not guard._context.limits.viewers.count
