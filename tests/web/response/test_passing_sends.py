"""A response's body skips Starlette's own wrappers around `send`, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial, wraps
from types import FunctionType, MethodType

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware, cors
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


async def through_cors(middleware: type[CORSMiddleware]) -> tuple[Send, Send]:
    """What an application inside of it is given to send with, and what it sends to."""
    inner, outer = Inner(), []

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        outer.append(send)
        await middleware(inner, allow_origins=["*"])(scope, receive, send)

    sent = await post(outermost)
    assert (b"access-control-allow-origin", b"*") in sent[0]["headers"]
    return inner.send, outer[0]


async def test_the_wrapper_of_starlettes_cors_is_known() -> None:
    """Otherwise it changed: see whether it still passes the messages of a body on as they are."""
    inner, outer = await through_cors(CORSMiddleware)
    assert inner is not outer
    assert inside_passing(inner) is outer


class Noting(CORSMiddleware):
    """A host's own."""

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        await super().send(message, send, request_headers)


async def test_a_wrapper_of_cors_that_a_host_changed_gets_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    inner, _ = await through_cors(Noting)
    assert inside_passing(inner) is inner
    own = CORSMiddleware.send

    @wraps(own)
    async def traced(self: CORSMiddleware, message: Message, send: Send, request_headers: Headers) -> None:
        await own(self, message, send, request_headers)

    monkeypatch.setattr(CORSMiddleware, "send", traced)
    inner, _ = await through_cors(CORSMiddleware)
    assert inside_passing(inner) is inner


@pytest.mark.parametrize(("statement", "skipped"), [("pass", True), ("self.allow_origins", False)])
async def test_a_method_of_cors_that_does_more_gets_every_message(statement: str, skipped: bool) -> None:
    """As that of a later Starlette might: these are made in the place of its own."""
    made: dict[str, FunctionType] = {}
    source = f"async def send(self, message, send, request_headers):\n    {statement}\n    await send(message)\n"
    exec(source, vars(cors), made)
    sent = Sent()
    wrapper = partial(MethodType(made["send"], object()), send=sent.send, request_headers=Headers())
    assert inside_passing(wrapper) == (sent.send if skipped else wrapper)


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
