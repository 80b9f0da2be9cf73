"""A real uvicorn in the test's own event loop, so that a test can hold an endpoint at a point of its choosing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import Settings, StreamGuard
from tests.harness.waiting import wait_until_async

__all__ = [
    "USER",
    "Gate",
    "WrappedSends",
    "calling",
    "gated",
    "gated_by",
    "make_guard",
    "request_scope",
    "serving",
    "user_of",
]

USER = {"X-User": "ann"}


class WrappedSends:
    """A host's middleware that wraps `send` and does nothing else, as `GZipMiddleware` does for every client from some
    Starlette on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped(message: Message) -> None:
            await send(message)

        await self._app(scope, receive, wrapped)


def request_scope(path: str, method: str = "POST") -> Scope:
    """Of a request without a body, of `USER`, as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"x-user", USER["X-User"].encode()), (b"content-length", b"0")],
    }


async def user_of(connection: HTTPConnection) -> str | None:
    """Tests say who they are."""
    return connection.headers.get("x-user")


def make_guard(**settings: object) -> StreamGuard:
    """A guard on memory whose owner is `X-User`; `settings` override the defaults."""
    return StreamGuard(authenticate=user_of, settings=Settings.model_validate(settings))


class Gate:
    """Where an endpoint waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._opened.wait()


def gated(gate: Gate, **settings: object) -> tuple[StreamGuard, Starlette]:
    """An answer of two events in the session `s`, with the gate between them."""
    guard = make_guard(drain_seconds=1, **settings)
    return guard, gated_by(guard, gate)


def gated_by(guard: StreamGuard, gate: Gate) -> Starlette:
    """The application of `gated`."""

    @guard.stream(lambda request: "s", protocol="plain")
    async def chat() -> AsyncIterator[str]:
        yield "one"
        await gate.wait()
        yield "two"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guard.install(app, "/api/chat")
    return app


class _Server(uvicorn.Server):
    """Leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Port(int):
    """Where a server listens, and how to have it shut down before its fixture does."""

    stop: Callable[[], None]


@asynccontextmanager
async def serving(
    app: ASGIApp, *, graceful_seconds: int | None = None, http: Literal["auto", "h11", "httptools"] = "auto"
) -> AsyncIterator[Port]:
    """Serve `app` on a free port of 127.0.0.1 while entered; gives the port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        http=http,
        ws="none",
        access_log=False,
        timeout_graceful_shutdown=graceful_seconds,
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True

    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await wait_until_async(lambda: server.started or task.done(), description="the server has started")
        port = Port(listener.getsockname()[1])
        port.stop = stop
        yield port
    finally:
        stop()
        with contextlib.suppress(SystemExit):
            await task
        listener.close()


@asynccontextmanager
async def calling(app: ASGIApp, guard: StreamGuard, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that gets whole answers of `app`, without a server, while `guard` runs."""
    transport = httpx.ASGITransport(app=app)
    async with (
        guard,
        httpx.AsyncClient(transport=transport, base_url="http://chat.example", headers={**USER, **headers}) as client,
    ):
        yield client
