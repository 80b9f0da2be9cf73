"""A request's body can be read as long as its producer lives, whoever has read or left before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from streamguard.web.middleware.exchange import exchange_of
from streamguard.web.middleware.request_reader import RequestReader
from tests.harness.sse import open_sse
from tests.harness.waiting import wait_until_async

from ..serving import USER, Gate, make_guard, serving
from .stacks import Build, plain, stacks

pytestmark = pytest.mark.anyio


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
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(upload_head(f"{site.path}?s=s", 1_000) + b"half")
        await asyncio.wait_for(reader.readuntil(b"one "), 10)
        (stream,) = guard._running().streams.values()
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
        read_by: RequestReader | None = None

        async def noting_reader(message: Message) -> None:
            nonlocal read_by
            read_by = exchange_of(scope).reader  # which is let go when the application has returned
            await send(message)

        if scope["type"] != "http" or scope["method"] != "GET":
            await app(scope, receive, send)
            return
        await app(scope, receive, noting_reader)
        readers.append(read_by)

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


async def test_a_body_whose_length_a_layer_outside_took_away_is_read() -> None:
    """As layers do that decode a compressed body: neither its length nor its transfer coding holds any more."""
    guard = make_guard()

    @guard.stream(protocol="plain")
    async def echo(request: Request) -> AsyncIterator[str]:
        yield (await request.body()).decode()

    site = plain(guard, echo)

    async def outside(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [line for line in scope["headers"] if line[0] != b"content-length"]}
        await site.app(scope, receive, send)

    async with (
        serving(outside) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=USER, trust_env=False) as client,
    ):
        answer = await client.post(site.path, content=b"asked", headers={"content-type": "text/plain"})
    assert "data: asked\n" in answer.text
