"""A response's body skips Starlette's own wrappers around `send`, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.web.response import stream_response
from streamguard.web.response.passing_sends import inside_passing

pytestmark = pytest.mark.anyio


async def owner(_: object) -> str:
    return "ana"


async def words(request: Request) -> AsyncIterator[str]:
    for word in ("one", "two", "three"):
        yield word


async def post(app: ASGIApp, path: str = "/chat") -> list[Message]:
    """What the application sends."""
    sent: list[Message] = []
    request: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not request:
            await asyncio.Event().wait()
        return request.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"content-length", b"0"), (b"origin", b"https://a.test")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
    }
    await app(scope, receive, send)
    return sent


def body_of(sent: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in sent)


class Sent:
    """Has a `send` that is a method."""

    async def send(self, message: Message) -> None:
        raise AssertionError("nobody calls it")


class Inner:
    """An application that keeps the `send` it is given."""

    send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.send = send
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_all_of_starlettes_wrappers_are_known() -> None:
    """Otherwise they changed: see whether they still do nothing but pass messages on."""
    inner, outer = Inner(), []

    async def endpoint(request: Request) -> ASGIApp:
        return inner

    app = Starlette(routes=[Route("/chat", endpoint, methods=["POST"])])

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        outer.append(send)
        await app(scope, receive, send)

    await post(outermost)
    assert inner.send is not outer[0]
    assert inside_passing(inner.send) is outer[0]


async def test_what_does_anything_else_is_not_skipped() -> None:
    async def send(message: Message) -> None:
        raise AssertionError("nobody calls it")

    seen: list[Message] = []

    response_started = False

    async def counting(message: Message) -> None:
        seen.append(message)
        await send(message)

    async def late(message: Message) -> None:
        response_started = False
        if message["type"] == "http.response.start":
            response_started = True
        assert not response_started
        await send(message)

    async def alike(message: Message) -> None:
        nonlocal response_started

        if message["type"] == "http.response.start":
            response_started = True
        await send(message)

    for wrapper in (send, counting, late, alike):
        assert inside_passing(wrapper) is wrapper
    bound = Sent().send
    assert inside_passing(bound) is bound


def in_starlette(guard: StreamGuard, middleware: list[Middleware]) -> ASGIApp:
    app = Starlette(lifespan=guard.lifespan, middleware=middleware)
    app.router.routes.append(Route("/chat", guard.stream(protocol="plain")(words), methods=["POST"]))
    guard.install(app, "/chat")
    return app


def in_fastapi(guard: StreamGuard, middleware: list[Middleware]) -> ASGIApp:
    app = FastAPI(lifespan=guard.lifespan, middleware=middleware)
    app.post("/chat")(guard.stream(protocol="plain")(words))
    guard.install(app, "/chat")
    return app


class Stamping:
    """A host's middleware that changes each message."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamped(message: Message) -> None:
            if message.get("body"):
                message = {**message, "body": b": stamped\n" + message["body"]}
            await send(message)

        await self.app(scope, receive, stamped)


@pytest.mark.parametrize("make", [in_starlette, in_fastapi])
@pytest.mark.parametrize(
    "middleware",
    [[], [Middleware(Stamping)], [Middleware(CORSMiddleware, allow_origins=["*"]), Middleware(GZipMiddleware)]],
    ids=["none", "a host's", "Starlette's"],
)
async def test_an_answer_is_the_same_through_the_wrappers_and_past_them(
    make: Callable[[StreamGuard, list[Middleware]], ASGIApp],
    middleware: list[Middleware],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = []
    for skipping in (True, False):
        if not skipping:
            monkeypatch.setattr(stream_response, "inside_passing", lambda send: send)
        guard = StreamGuard("memory://", authenticate=owner)
        app = make(guard, middleware)
        async with guard.lifespan(app):
            sent = await post(app)
        body = body_of(sent)
        assert all(word in body for word in (b"one", b"two", b"three"))
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        names = sorted(name for name, _ in sent[0]["headers"])
        answers.append((names, body.count(b": stamped"), body.count(b"data: ")))
    assert answers[0] == answers[1]
    if any(getattr(one.cls, "__name__", "") == Stamping.__name__ for one in middleware):
        assert answers[0][1] > 0
