"""A guarded endpoint's request lives as long as its producer, not as long as a client watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.values import SessionKey
from streamguard.web.middleware.exchange import exchange_of
from streamguard.web.middleware.request_reader import RequestReader
from tests.harness.sse import open_sse
from tests.harness.waiting import wait_until_async

from ..serving import USER, Gate, make_guard, serving

pytestmark = pytest.mark.anyio


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


@dataclass
class Site:
    """An application with one guarded endpoint, as it is served."""

    guard: StreamGuard
    app: ASGIApp
    path: str


Build = Callable[[StreamGuard, Callable[..., object]], Site]


def plain(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat")(endpoint)
    guard.install(app, "/api/chat")
    return Site(guard, app, "/chat")


def under_middleware(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    site = plain(guard, endpoint)
    assert isinstance(site.app, FastAPI)
    site.app.add_middleware(Passing)
    site.app.add_middleware(Passing)
    return site


def mounted(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    """Installed in the outer application; the inner one has a middleware of its own."""
    inner = FastAPI()
    inner.post("/chat")(endpoint)
    inner.add_middleware(Passing)
    app = Starlette(routes=[Mount("/v1", inner)], lifespan=guard.lifespan, middleware=[Middleware(Passing)])
    guard.install(app, "/api/chat")
    return Site(guard, app, "/v1/chat")


def installed_inside(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    """Installed in an application that is mounted in another, under a middleware."""
    inner = FastAPI()
    inner.post("/chat")(endpoint)
    guard.install(inner, "/api/chat")
    app = Starlette(routes=[Mount("/v1", inner)], lifespan=guard.lifespan, middleware=[Middleware(Passing)])
    return Site(guard, app, "/v1/chat")


def never_installed(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    app = FastAPI(lifespan=guard.lifespan)
    app.post("/chat")(endpoint)
    return Site(guard, app, "/chat")


def never_installed_under_middleware(guard: StreamGuard, endpoint: Callable[..., object]) -> Site:
    site = never_installed(guard, endpoint)
    assert isinstance(site.app, FastAPI)
    site.app.add_middleware(Passing)
    return site


STACKS: list[Build] = [
    plain,
    under_middleware,
    mounted,
    installed_inside,
    never_installed,
    never_installed_under_middleware,
]
stacks = pytest.mark.parametrize("build", STACKS, ids=lambda build: build.__name__)


# -- a client that leaves ---------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What an endpoint sees of its request after its client left."""

    gate: Gate = field(default_factory=Gate)
    seen: list[bool] = field(default_factory=list)

    async def tell(self, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        yield "one "
        await self.gate.wait()
        for _ in range(3):
            self.seen.append(await gone())
            if self.seen[-1]:
                return
        yield "two"


class Held:
    """A dependency that keeps the request it was made with."""

    def __init__(self, request: Request) -> None:
        self.request = request

    async def gone(self) -> bool:
        return await self.request.is_disconnected()


def own_request(guard: StreamGuard, watched: Watched) -> Callable[..., object]:
    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> AsyncIterator[str]:
        async for word in watched.tell(request.is_disconnected):
            yield word

    return chat


def of_a_dependency(guard: StreamGuard, watched: Watched) -> Callable[..., object]:
    @guard.stream("s", protocol="plain")
    async def chat(held: Annotated[Held, Depends()], s: str) -> AsyncIterator[str]:
        async for word in watched.tell(held.gone):
            yield word

    return chat


def in_a_returned_response(guard: StreamGuard, watched: Watched) -> Callable[..., object]:
    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> StreamingResponse:
        return StreamingResponse(watched.tell(request.is_disconnected))

    return chat


@stacks
@pytest.mark.parametrize("make", [own_request, of_a_dependency, in_a_returned_response], ids=lambda make: make.__name__)
async def test_a_client_that_leaves_is_not_seen_by_the_producer(
    build: Build, make: Callable[[StreamGuard, Watched], Callable[..., object]]
) -> None:
    guard, watched = make_guard(), Watched()
    site = build(guard, make(guard, watched))
    async with serving(site.app) as port:
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER) as tab:
            await tab.read_events(1)
        await wait_until_async(
            lambda: not guard._running().viewer_registry.viewers, description="the client's viewer is gone"
        )
        (stream,) = guard._running().streams.values()
        watched.gate.open()
        await stream.ended()
        assert stream.seal is not None
        assert (watched.seen, stream.seal.outcome) == ([False, False, False], "completed")


@stacks
@pytest.mark.parametrize("how", ["stop", "shutdown", "finish"])
async def test_the_streams_end_is_a_disconnect(build: Build, how: str) -> None:
    """For whoever waits in `receive` beside the producer: a watcher that would cancel an upstream call, say."""
    guard, gate = make_guard(drain_seconds=0.1), Gate()
    heard: list[str] = []
    watchers: list[asyncio.Task[None]] = []

    async def watch(request: Request) -> None:
        heard.append((await request.receive())["type"])
        heard.append(str(await request.is_disconnected()))

    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> AsyncIterator[str]:
        await request.body()
        watchers.append(asyncio.create_task(watch(request)))
        yield "one "
        await gate.wait()
        yield "two"

    site = build(guard, chat)
    async with serving(site.app) as port:
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER) as tab:
            await tab.read_events(1)
            await gate.reached.wait()
            assert heard == []
            if how == "stop":
                await guard._running().sessions.stop(SessionKey("ann", "s"))
            elif how == "finish":
                gate.open()
            else:
                await guard.drain()
            await tab.read_rest()
        await watchers[0]
    assert heard == ["http.disconnect", "True"]


async def test_an_answer_of_its_own_is_watched_by_its_own_viewer() -> None:
    """A response that is passed on as it is has no producer: it hears of its client as without a guard."""
    guard, left = make_guard(), asyncio.Event()

    async def forever() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.01)
        finally:
            left.set()

    @guard.stream("s")
    async def chat(request: Request, s: str) -> StreamingResponse:
        return StreamingResponse(forever(), status_code=503)

    site = plain(guard, chat)
    async with serving(site.app) as port:
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER) as tab:
            assert await tab.read_bytes(2000)
            assert not left.is_set()
        await asyncio.wait_for(left.wait(), 10)


# -- the body ---------------------------------------------------------------------------------------------------------


def upload_head(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nContent-Length: {length}\r\n\r\n".encode()


@stacks
async def test_a_body_read_while_streaming_is_whole(build: Build) -> None:
    guard, pieces = make_guard(), [f"<{n}>" for n in range(12)]

    @guard.stream("s", protocol="plain")
    async def echo(request: Request, s: str) -> AsyncIterator[str]:
        yield "begin "
        async for piece in request.stream():
            if piece:
                yield piece.decode()

    site = build(guard, echo)
    async with serving(site.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upload_head(f"{site.path}?s=s", sum(map(len, pieces))))
        answer = b""
        for piece in pieces:  # each when the one before has been answered, so that none shares a message with another
            writer.write(piece.encode())
            while piece.encode() not in answer:
                answer += await asyncio.wait_for(reader.read(65_536), 10)
        while not answer.endswith(b"0\r\n\r\n"):
            answer += await asyncio.wait_for(reader.read(65_536), 10)
        writer.close()
    assert answer.count(b"<") == len(pieces)


@stacks
async def test_a_body_is_whole_although_its_client_has_left(build: Build) -> None:
    guard, gate, got = make_guard(), Gate(), list[bytes]()

    @guard.stream("s", protocol="plain")
    async def late(request: Request, s: str) -> AsyncIterator[str]:
        yield "one "
        await gate.wait()
        got.append(await request.body())
        yield "two"

    site = build(guard, late)
    body = bytes(range(256)) * 2_000
    async with serving(site.app) as port:
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER, body=body) as tab:
            await tab.read_events(1)
            await gate.reached.wait()
        await wait_until_async(
            lambda: not guard._running().viewer_registry.viewers, description="the client's viewer is gone"
        )
        (stream,) = guard._running().streams.values()
        gate.open()
        await stream.ended()
    assert got == [body]
    assert stream.seal is not None
    assert stream.seal.outcome == "completed"


@stacks
async def test_looking_for_a_disconnect_takes_nothing_of_the_body(build: Build) -> None:
    guard = make_guard()

    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> AsyncIterator[str]:
        for _ in range(3):
            assert not await request.is_disconnected()
            await asyncio.sleep(0)
        yield str(len(await request.body()))

    site = build(guard, chat)
    async with serving(site.app) as port:  # noqa: SIM117 -- the server must outlive its client
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER, body=b"x" * 300_000) as tab:
            await tab.read_rest()
            assert b"300000" in tab.body


async def test_what_a_client_that_left_never_sent_cannot_be_read() -> None:
    guard, raised = make_guard(), list[str]()

    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> AsyncIterator[str]:
        yield "one "
        try:
            await request.body()
        except ClientDisconnect:
            raised.append("ClientDisconnect")
            raise

    site = plain(guard, chat)
    async with serving(site.app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upload_head(f"{site.path}?s=s", 1_000) + b"half")
        await wait_until_async(lambda: bool(guard._running().streams), description="the stream has begun")
        (stream,) = guard._running().streams.values()
        await stream.first(10)
        writer.close()
        await asyncio.wait_for(stream.ended(), 10)
    assert raised == ["ClientDisconnect"]
    assert stream.seal is not None
    assert stream.seal.outcome == "failed"


async def test_a_middleware_that_has_read_the_body_passes_it_on() -> None:
    guard, sizes = make_guard(), list[int]()

    class Reading(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            sizes.append(len(await request.body()))
            return await call_next(request)

    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> AsyncIterator[str]:
        yield "one "
        sizes.append(len(await request.body()))
        yield str(await request.is_disconnected())

    site = plain(guard, chat)
    assert isinstance(site.app, FastAPI)
    site.app.add_middleware(Reading)
    async with serving(site.app) as port:  # noqa: SIM117 -- the server must outlive its client
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER, body=b"x" * 200_000) as tab:
            await tab.read_rest()
    assert sizes == [200_000, 200_000]
    assert b"False" in tab.body


@stacks
async def test_the_request_is_the_one_that_middlewares_know(build: Build) -> None:
    guard, outer = make_guard(), list[Scope]()
    inner: list[Request] = []

    @guard.stream("s", protocol="plain")
    async def chat(request: Request, held: Annotated[Held, Depends()], s: str) -> AsyncIterator[str]:
        inner.append(request)
        assert held.request is request
        assert request.state.word == "from outside"
        request.state.answer = "from inside"
        yield "one"

    site = build(guard, chat)

    async def stateful(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["word"] = "from outside"
            outer.append(scope)
        await site.app(scope, receive, send)

    async with serving(stateful) as port:  # noqa: SIM117 -- the server must outlive its client
        async with open_sse(port, f"{site.path}?s=s", method="POST", headers=USER) as tab:
            await tab.read_rest()
    assert outer[0]["state"]["answer"] == "from inside"
    assert outer[0] is inner[0].scope


async def test_a_resume_does_not_keep_what_its_client_sends() -> None:
    """Nobody reads the body of a resume, so nothing of it is kept while its stream is shown."""
    guard, gate = make_guard(), Gate()

    @guard.stream("request.query_params.s", protocol="plain")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        await gate.wait()
        yield "two"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    readers: list[RequestReader | None] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "http" and scope["method"] == "GET":
            readers.append(exchange_of(scope).reader)

    async with serving(noting) as port:  # noqa: SIM117 -- the server must outlive its client
        async with open_sse(port, "/chat?s=s", method="POST", headers=USER) as tab:
            await tab.read_events(1)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"GET /api/chat/s/stream HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nConnection: close\r\n"
            head += b"Content-Length: 5000000\r\n\r\n"
            writer.write(head + b"x" * 5_000_000)
            await writer.drain()
            assert b" 200 " in await reader.readline()
            gate.open()
            answer = b""
            while b"two" not in answer:
                answer += await asyncio.wait_for(reader.read(65_536), 10)
            await wait_until_async(lambda: bool(readers), description="the resume is through")
            writer.close()
            await tab.read_rest()
    (read_by,) = readers
    assert read_by is not None
    assert not read_by._buffered
