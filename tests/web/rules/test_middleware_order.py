"""Whatever middleware is above or below: the first event arrives before the second is produced, and the log holds plain
text."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import httpx
import pytest
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule

from ..misuses.sites import TIMING
from ..serving import Gate, make_guard, user_of
from .inside import PATH, client_of

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each

ORIGIN: Final = "https://chat.example"
LINES: Final = {
    "text/event-stream": (b"data: one\n\n", b"data: two\n\n"),
    "application/x-ndjson": (b'{"n":1}\n', b'{"n":2}\n'),
}


class AnyUser(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        return AuthCredentials(["chat"]), SimpleUser("ann")


class Hoarding:
    """Compresses every response of a client that takes gzip, and flushes at its end only."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or b"gzip" not in headers.get(b"accept-encoding", b""):
            await self.app(scope, receive, send)
            return
        compressor = zlib.compressobj(wbits=31)

        async def compress(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-encoding", b"gzip")]
            if message["type"] == "http.response.body":
                body = compressor.compress(message.get("body", b""))
                message["body"] = body if message.get("more_body") else body + compressor.flush()
            await send(message)

        await self.app(scope, receive, compress)


MIDDLEWARES: Final = {
    "gzip": Middleware(GZipMiddleware, minimum_size=0),
    "hoarding": Middleware(Hoarding),
    "cors": Middleware(CORSMiddleware, allow_origins=[ORIGIN]),
    "session": Middleware(SessionMiddleware, secret_key="secret"),
    "authentication": Middleware(AuthenticationMiddleware, backend=AnyUser()),
    "base": TIMING,
    "trusted": Middleware(TrustedHostMiddleware, allowed_hosts=["*"]),
}


def rule(**options: Any) -> StreamRule:
    return StreamRule("/v1/*", session="query.s", **options)


def endpoint_of(gate: Gate, media_type: str) -> Callable[[Request], Any]:
    async def body() -> AsyncIterator[bytes]:
        first, second = LINES[media_type]
        yield first
        await gate.wait()
        yield second

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(body(), media_type=media_type)

    return endpoint


async def check(app: ASGIApp, gate: Gate, media_type: str = "text/event-stream", path: str = PATH) -> httpx.Response:
    first, second = LINES[media_type]
    asked = {"accept-encoding": "gzip, deflate, br, zstd", "origin": ORIGIN}
    async with client_of(app, **asked) as client:
        async with client.stream("POST", path, params={"s": "s"}) as answer:
            assert answer.status_code == 200
            chunks = answer.aiter_bytes()
            assert await anext(chunks) == first
            gate.open()
            assert b"".join([chunk async for chunk in chunks]) == second
        raw = await client.get(f"/api/chat/s/streams/{answer.headers['x-stream-id']}/raw")
        assert raw.content == first + second
    return answer


@pytest.mark.parametrize("media_type", list(LINES))
@pytest.mark.parametrize("place", ["above", "below", "wrapped", "mounted above", "mounted below"])
@pytest.mark.parametrize("name", list(MIDDLEWARES))
async def test_starlettes(name: str, place: str, media_type: str) -> None:
    guard, gate = make_guard(), Gate()
    routes = [Route(PATH, endpoint_of(gate, media_type), methods=["POST"])]
    ours = Middleware(StreamGuardMiddleware, guard=guard, rules=[rule()])
    middleware, app = MIDDLEWARES[name], None
    served: ASGIApp
    match place:
        case "above":
            served = app = Starlette(routes=routes, middleware=[middleware, ours], lifespan=guard.lifespan)
        case "below":
            served = app = Starlette(routes=routes, middleware=[ours, middleware], lifespan=guard.lifespan)
        case "wrapped":
            app = Starlette(routes=routes, middleware=[middleware], lifespan=guard.lifespan)
            served = StreamGuardMiddleware(app, guard=guard, rules=[rule()])
        case _:
            inner = Starlette(routes=routes, middleware=[ours])
            if place == "mounted below":
                inner.user_middleware.append(middleware)
            outer = [middleware] if place == "mounted above" else []
            served = app = Starlette(routes=[Mount("/app", inner)], middleware=outer, lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    answer = await check(served, gate, media_type, "/app" + PATH if "mounted" in place else PATH)
    assert "content-encoding" not in answer.headers or answer.headers["content-encoding"] == "identity"
    if name == "cors":
        assert answer.headers["access-control-allow-origin"] in (ORIGIN, "*")
        if place in ("above", "mounted above"):
            assert "X-Stream-Id" in answer.headers["access-control-expose-headers"]


async def test_all_of_them_at_once() -> None:
    guard, gate = make_guard(), Gate()
    around = list(MIDDLEWARES.values())
    ours = Middleware(StreamGuardMiddleware, guard=guard, rules=[rule()])
    routes = [Route(PATH, endpoint_of(gate, "text/event-stream"), methods=["POST"])]
    app = Starlette(routes=routes, middleware=[*around, ours, *around], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    await check(app, gate)


@pytest.mark.parametrize("attribute", ["session", "user"])
async def test_authenticate_reads_what_a_middleware_above_provides(attribute: str) -> None:
    async def by_session(connection: HTTPConnection) -> str | None:
        return str(connection.session.get("user", "ann"))

    async def by_user(connection: HTTPConnection) -> str | None:
        return str(connection.user.username)

    gate = Gate()
    guard = StreamGuard(authenticate=by_session if attribute == "session" else by_user)
    above = [MIDDLEWARES["session"], MIDDLEWARES["authentication"]]
    ours = Middleware(StreamGuardMiddleware, guard=guard, rules=[rule()])
    routes = [Route(PATH, endpoint_of(gate, "text/event-stream"), methods=["POST"])]
    app = Starlette(routes=routes, middleware=[*above, ours], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    await check(app, gate)


@pytest.mark.parametrize("media_type", list(LINES))
@pytest.mark.parametrize("backend", ["gzip", "none"])
@pytest.mark.parametrize("place", ["wrapped", "a middleware of Litestar's"])
async def test_litestars_compression(place: str, backend: Any, media_type: str) -> None:
    guard, gate = StreamGuard(authenticate=user_of), Gate()

    @post(PATH)
    async def chat(request: LitestarRequest[Any, Any, Any]) -> Stream:
        async def body() -> AsyncIterator[bytes]:
            first, second = LINES[media_type]
            yield first
            await gate.wait()
            yield second

        return Stream(body(), media_type=media_type, status_code=200)

    wrapped = place == "wrapped"
    ours: Any = StreamGuardMiddleware
    middleware = DefineMiddleware(ours, guard=guard, rules=[rule()])
    app: Any = Litestar(
        [chat],
        compression_config=None if backend == "none" else CompressionConfig(backend=backend, minimum_size=1),
        cors_config=CORSConfig(allow_origins=[ORIGIN]),
        logging_config=None,
        middleware=[] if wrapped else [middleware],
    )

    async def with_routes(scope: Scope, receive: Receive, send: Send) -> None:
        inside = guard.app if scope["type"] == "lifespan" or scope["path"].startswith("/api/chat/") else app
        if inside is not app and scope["type"] == "http":
            scope = {**scope, "path": scope["path"].removeprefix("/api/chat"), "raw_path": None}
        await inside(scope, receive, send)

    served: ASGIApp = with_routes
    if wrapped:
        served = StreamGuardMiddleware(with_routes, guard=guard, rules=[rule()])
    await check(served, gate, media_type)
