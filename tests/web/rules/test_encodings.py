"""Which encodings the application inside sees: none where a rule matches, all where its condition is false."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import httpx
import pytest
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.web.headers import with_encodings, without_encodings

from ..serving import USER, make_guard
from .inside import PATH

pytestmark = pytest.mark.anyio

GIVEN: Final = "gzip, br;q=0.5"
ANSWER: Final = {"answer": "x" * 2_000}


async def whole(_: Request) -> Response:
    return JSONResponse(ANSWER)


async def streamed(_: Request) -> Response:
    return StreamingResponse(iter([b"data: one\n\n"]), media_type="text/event-stream")


def ours(guard: StreamGuard, **options: Any) -> Middleware:
    return Middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule(PATH, **options)])


def outermost(guard: StreamGuard) -> ASGIApp:
    """The middleware makes the layer itself."""
    app = Starlette(routes=[Route(PATH, whole, methods=["POST"])], middleware=[Middleware(GZipMiddleware)])
    return StreamGuardMiddleware(app, guard=guard, rules=[StreamRule(PATH, when="body.stream")])


def in_a_stack(guard: StreamGuard) -> ASGIApp:
    app = Starlette(
        routes=[Route(PATH, whole, methods=["POST"])],
        middleware=[ours(guard, when="body.stream"), Middleware(GZipMiddleware)],
    )
    guard.install(app, "/api/chat")
    return app


def mounted(guard: StreamGuard) -> ASGIApp:
    return guard.wrap(Starlette(routes=[Mount("/", in_a_stack(guard))]))


def of_two_tables(guard: StreamGuard) -> ASGIApp:
    inner = Starlette(
        routes=[Route(PATH, whole, methods=["POST"])],
        middleware=[ours(guard, when="body.other", binding="inner"), Middleware(GZipMiddleware)],
    )
    return StreamGuardMiddleware(inner, guard=guard, rules=[StreamRule(PATH, when="body.stream")])


class Rewriting:
    """A host's middleware that changes another header of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-tenant", b"1")]}
        await self.app(scope, receive, send)


def below_one_that_rewrites(guard: StreamGuard) -> ASGIApp:
    app = Starlette(
        routes=[Route(PATH, whole, methods=["POST"])],
        middleware=[Middleware(Rewriting), ours(guard, when="body.stream"), Middleware(GZipMiddleware)],
    )
    guard.install(app, "/api/chat")
    return app


def reading_headers(app: Any) -> Any:
    """A host's middleware that has Litestar read the headers, which keeps them."""

    async def read(scope: Any, receive: Any, send: Any) -> None:
        LitestarRequest(scope).headers.get("accept-encoding")
        await app(scope, receive, send)

    return read


def in_litestar(guard: StreamGuard) -> Litestar:
    @post(PATH, status_code=200)
    async def chat(request: LitestarRequest[Any, Any, Any]) -> dict[str, str]:
        return {**ANSWER, "seen": request.headers.get("accept-encoding", "")}

    return Litestar(
        [chat],
        logging_config=None,  # the process's own stays as it is
        middleware=[
            reading_headers,
            DefineMiddleware(
                StreamGuardMiddleware,  # type: ignore[arg-type] # Litestar's ASGI types are its own
                guard=guard,
                rules=[StreamRule(PATH, when="body.stream")],
            ),
        ],
    )


@asynccontextmanager
async def client_of(app: Any, guard: StreamGuard) -> AsyncIterator[httpx.AsyncClient]:
    headers = {**USER, "accept-encoding": GIVEN}
    transport = httpx.ASGITransport(app)
    async with guard, httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


@pytest.mark.parametrize("build", [outermost, in_a_stack, mounted, of_two_tables, below_one_that_rewrites])
async def test_what_no_rule_matches_after_all_is_compressed(build: Callable[[StreamGuard], ASGIApp]) -> None:
    guard = make_guard()
    async with client_of(build(guard), guard) as client:
        passed = await client.post(PATH, json={"stream": False})
        assert (passed.json(), passed.headers["content-encoding"]) == (ANSWER, "gzip")
        guarded = await client.post(PATH, json={"stream": True})
        assert guarded.json() == ANSWER
        assert "content-encoding" not in guarded.headers


async def test_litestar_reads_the_headers_again() -> None:
    guard = make_guard()
    async with client_of(guard.wrap(cast("ASGIApp", in_litestar(guard))), guard) as client:
        seen = [(await client.post(PATH, json={"stream": stream})).json()["seen"] for stream in (False, True)]
    assert seen == [GIVEN, ""]


async def test_a_rule_further_inside_still_has_its_stream_plain() -> None:
    guard = make_guard()
    inner = Starlette(routes=[Route(PATH, streamed, methods=["POST"])], middleware=[ours(guard, binding="inner")])
    app = StreamGuardMiddleware(
        Hoarding(inner), guard=guard, rules=[StreamRule(PATH, when="body.stream", binding="outer")]
    )
    async with client_of(app, guard) as client:
        answer = await client.post(PATH, json={"stream": False})
    assert "content-encoding" not in answer.headers
    assert answer.text.startswith("data: one\n\n")


class Hoarding:
    """Says that it compresses every response of a client that takes gzip."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        takes = b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b"")

        async def compressing(message: Message) -> None:
            if takes and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-encoding", b"gzip")]
            await send(message)

        await self.app(scope, receive, compressing)


def test_the_lines_are_those_that_were_given() -> None:
    given = [(b"a", b"1"), (b"accept-encoding", b"br"), (b"b", b"2")]
    assert with_encodings(without_encodings(given), given) is given
    changed = [*without_encodings(given), (b"c", b"3")]
    assert with_encodings(changed, given) == [*changed, (b"accept-encoding", b"br")]
    assert with_encodings([(b"accept-encoding", b"x")], given) == [(b"accept-encoding", b"br")]
