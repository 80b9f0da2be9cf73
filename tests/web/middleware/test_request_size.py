"""A body over `max_request_bytes` is refused as its bytes come, whatever the framework was doing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.web.middleware import body_too_large
from tests.harness.sse import open_sse

from ..serving import USER, calling, serving
from .host_middlewares import Passing, Reading
from .limited_bodies import LIMIT, PIECE, Counting, code_of, endless, limited

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    text: str


def json_model(guard: StreamGuard) -> Starlette:
    app = FastAPI()

    @app.post("/chat")
    @guard.stream()
    async def chat(body: Body) -> AsyncIterator[str]:
        yield body.text

    return app


def by_a_dependency(guard: StreamGuard) -> Starlette:
    async def size(request: Request) -> int:
        return len(await request.body())

    app = FastAPI()

    @app.post("/chat")
    @guard.stream()
    async def chat(size: Annotated[int, Depends(size)]) -> AsyncIterator[str]:
        yield str(size)

    return app


def while_producing(guard: StreamGuard) -> Starlette:
    @guard.stream()
    async def chat(request: Request) -> AsyncIterator[str]:
        yield str(len(await request.body()))

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


def swallowed_while_producing(guard: StreamGuard) -> Starlette:
    @guard.stream()
    async def chat(request: Request) -> AsyncIterator[str]:
        try:
            yield str(len(await request.body()))
        except Exception:  # noqa: BLE001 -- as host code does
            yield "nothing happened"

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


def joined(guard: StreamGuard) -> Starlette:
    @guard.stream(on_conflict="join")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "never"

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


class Swallowing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        try:
            return await call_next(request)
        except Exception:  # noqa: BLE001 -- as host code does
            return PlainTextResponse("all is well")


class SwallowingItself:
    """A pure ASGI middleware that reads the body, and goes on whatever happens."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        except Exception:  # noqa: BLE001 -- as host code does
            await PlainTextResponse("all is well")(scope, receive, send)


class Raising:
    """A pure ASGI middleware whose own error hides what was wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
            while True:
                await receive()
        except Exception as exc:
            raise LookupError("hidden") from exc


APPS: list[Callable[[StreamGuard], Starlette]] = [
    json_model,
    by_a_dependency,
    while_producing,
    swallowed_while_producing,
    joined,
]
MIDDLEWARES: list[Any] = [None, Passing, Reading, Swallowing, SwallowingItself, Raising]


@pytest.mark.parametrize("how", ["chunked", "with a length"])
@pytest.mark.parametrize("middleware", MIDDLEWARES, ids=lambda cls: cls.__name__ if cls else "bare")
@pytest.mark.parametrize("build", APPS, ids=lambda build: build.__name__)
async def test_the_answer_is_413_within_the_limit(
    build: Callable[[StreamGuard], Starlette], middleware: Any, how: str
) -> None:
    guard = limited()
    app = build(guard)
    if middleware is not None:
        app.add_middleware(middleware)

    async def handled(request: Request, exc: Exception) -> Response:
        return JSONResponse({"mine": True}, 418)

    app.add_exception_handler(413, handled)
    guard.install(app, "/api/chat")
    counting = Counting(app)
    headers = {"Content-Type": "application/json"}
    if how == "with a length":
        headers["Content-Length"] = str(10_486 * len(PIECE))
    async with calling(counting, guard) as client:
        answer = await client.post("/chat", content=endless(), headers=headers)
        assert not guard._running().streams
    assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert counting.taken <= LIMIT + len(PIECE)
    if how == "with a length":
        assert counting.taken <= len(PIECE)  # nothing, but for who reads before it is known to be refused


async def test_a_limit_is_a_limit_to_the_byte() -> None:
    guard = limited()
    app = while_producing(guard)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
            assert (await client.post("/chat", content=b"x" * size)).status_code == status
            assert (await client.post("/chat", content=one_piece(size))).status_code == status


async def one_piece(size: int) -> AsyncIterator[bytes]:
    yield b"x" * size


async def test_code_that_goes_on_for_long_is_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_too_large, "LATE_SECONDS", 0.01)
    guard, done = limited(), asyncio.Event()

    class Stubborn:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                while True:
                    await receive()
            except Exception:  # noqa: BLE001 -- as host code does
                await done.wait()
                await PlainTextResponse("late")(scope, receive, send)

    app = json_model(guard)
    app.add_middleware(Stubborn)
    guard.install(app, "/api/chat")
    started = asyncio.Event()
    sent: list[Message] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            sent.append(message)
            await send(message)
            if message["type"] == "http.response.body":
                started.set()

        await app(scope, receive, noted)

    async with calling(noting, guard) as client, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(client.post("/chat", content=endless()))
        await asyncio.wait_for(started.wait(), 10)
        done.set()
    assert (asking.result().status_code, code_of(asking.result())) == (413, "payload_too_large")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


async def test_a_page_of_another_origin_can_read_what_is_wrong() -> None:
    guard = limited()
    app = json_model(guard)
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_credentials=True)
    guard.install(app, "/api/chat")
    async with calling(app, guard, origin="https://app.example") as client:
        answer = await client.post("/chat", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


async def test_in_a_running_answer_it_is_the_streams_fault() -> None:
    guard = limited()

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        yield str(len(await request.body()))

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /chat?id=s HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nTransfer-Encoding: chunked\r\n\r\n")
        answer = b""
        while b"one " not in answer:
            answer += await asyncio.wait_for(reader.read(65_536), 10)
        writer.write(b"%x\r\n%b\r\n" % (LIMIT + 1, b"x" * (LIMIT + 1)))
        while b"[DONE]" not in answer:
            answer += await asyncio.wait_for(reader.read(65_536), 10)
        writer.close()
    assert b'"payload_too_large"' in answer


@pytest.mark.parametrize("implementation", ["h11", "httptools"])
async def test_the_connection_serves_the_next_request(implementation: Literal["h11", "httptools"]) -> None:
    guard = limited()
    app = json_model(guard)
    app.router.lifespan_context = guard.lifespan
    guard.install(app, "/api/chat")
    async with (
        serving(app, http=implementation) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=USER, trust_env=False) as client,
    ):
        for _ in range(2):
            large = await client.post("/chat", content=json.dumps({"text": "x" * 1_000_000}))
            assert (large.status_code, code_of(large)) == (413, "payload_too_large")
            small = await client.post("/chat", json={"text": "small"})
            assert (small.status_code, "small" in small.text) == (200, True)


@pytest.mark.parametrize("how", ["length", "pieces"])
async def test_without_install_the_endpoint_counts(how: str) -> None:
    guard = limited()
    app = while_producing(guard)
    counting = Counting(app)
    async with calling(counting, guard) as client:
        body = b"x" * (LIMIT + 1) if how == "length" else endless()
        answer = await client.post("/chat", content=body)
    assert (answer.status_code, code_of(answer)) == (413, "payload_too_large")
    assert counting.taken <= (0 if how == "length" else LIMIT + len(PIECE))


async def test_a_refused_request_leaves_no_stream_behind() -> None:
    guard = limited()

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield str(len(await request.body()))

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with serving(app) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=USER, trust_env=False) as client:
            large = await client.post("/chat?id=s", content=b"x" * (LIMIT + 1))
            status = (await client.get("/api/chat/s")).json()
        async with open_sse(port, "/chat?id=s", method="POST", headers=USER, body=b"small") as tab:
            await tab.read_rest()
    assert large.status_code == 413
    assert (status["active"], status["last"]) == (None, None)
