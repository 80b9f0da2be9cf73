"""Which task sends a stream, under what context, and who waits for it, however the response ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.harness.waiting import wait_until_async

from ..serving import Gate, gated, make_guard, request_scope

pytestmark = pytest.mark.anyio

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class PanicError(BaseException):
    """As libraries in Rust raise it."""


async def nothing(_: Message) -> None:
    """Sends it nowhere."""


@dataclass
class Exchange:
    """A request to `/chat`, and what its server saw. `send` is what happens with each message besides."""

    send: Callable[[Message], Awaitable[None]] = nothing
    bodies: list[bytes] = field(default_factory=list)
    senders: set[asyncio.Task[object] | None] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    messages: asyncio.Queue[Message | Exception] = field(default_factory=asyncio.Queue)
    caller: asyncio.Task[object] | None = None

    async def _receive(self) -> Message:
        message = await self.messages.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def _send(self, message: Message) -> None:
        self.senders.add(asyncio.current_task())
        self.names.add(WHO.get())
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])
        await self.send(message)

    async def run(self, app: Starlette) -> None:
        self.caller = asyncio.current_task()
        WHO.set("the request")
        await app(request_scope("/chat"), self._receive, self._send)

    async def has(self, text: bytes) -> None:
        await wait_until_async(lambda: text in b"".join(self.bodies), description=f"{text!r} was sent")


def viewer_tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task.get_name() in ("streamguard-viewer", "streamguard-disconnect")}


async def test_one_task_sends_everything_with_the_requests_variables() -> None:
    gate, exchange = Gate(), Exchange()
    guard, app = gated(gate)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        assert len(viewer_tasks()) == 1  # the other one is the request's, which watches
        gate.open()
        await request
        assert exchange.bodies[-1] == b""
        assert b"two" in b"".join(exchange.bodies)
        assert len(exchange.senders) == 1
        assert exchange.names == {"the request"}
        assert not viewer_tasks()


async def test_an_answer_that_is_all_there_begins_no_task() -> None:
    guard = make_guard()
    seen: set[asyncio.Task[object]] = set()

    async def look(_: Message) -> None:
        seen.update(viewer_tasks())

    @guard.stream(protocol="plain")
    async def chat() -> AsyncIterator[str]:
        yield "one"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])
    guard.install(app, "/api/chat")
    exchange = Exchange(look)
    async with guard, asyncio.timeout(10):
        await exchange.run(app)
    assert b"one" in b"".join(exchange.bodies)
    assert exchange.bodies[-1] == b""
    assert not seen


@pytest.mark.parametrize("error", [RuntimeError("broken"), PanicError("broken")])
async def test_what_send_raises_is_raised_by_the_call_and_leaves_no_task(error: BaseException) -> None:
    gate = Gate()
    guard, app = gated(gate)
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def failing(message: Message) -> None:
        if b"two" in message.get("body", b""):
            raise error

    exchange = Exchange(failing)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        gate.open()
        await asyncio.wait([request])
        assert request.exception() is error
        assert not viewer_tasks()
    assert not told


async def test_what_receive_raises_ends_the_sending_and_is_raised() -> None:
    gate, exchange = Gate(), Exchange()
    guard, app = gated(gate)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        exchange.messages.put_nowait(LookupError("lost"))
        gate.open()  # the call lasts until its stream has ended
        with pytest.raises(LookupError, match="lost"):
            await request
        assert not viewer_tasks()


@pytest.mark.parametrize("scoped", [False, True], ids=["its task", "a cancel scope around the application"])
async def test_cancelling_the_request_cancels_a_send_that_waits_and_lets_it_clear_up(scoped: bool) -> None:
    gate = Gate()
    guard, app = gated(gate)
    cleared = False

    async def stuck(message: Message) -> None:
        nonlocal cleared
        if b"one" in message.get("body", b""):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                cleared = True

    exchange, scope = Exchange(stuck), anyio.CancelScope()
    tasks: list[asyncio.Task[object]] = []

    def layered(inner: ASGIApp) -> ASGIApp:
        async def call(asgi: Scope, receive: Receive, send: Send) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            with scope:
                await inner(asgi, receive, send)

        return call

    app.add_middleware(layered)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        if scoped:
            scope.cancel()
        else:
            tasks[0].cancel()
        await asyncio.wait([request])
        assert cleared
        assert not viewer_tasks()
        gate.open()


async def test_a_client_that_leaves_ends_a_send_that_waits() -> None:
    gate = Gate()
    guard, app = gated(gate)
    cancelled = asyncio.Event()

    async def stuck(message: Message) -> None:
        if b"one" in message.get("body", b""):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    exchange = Exchange(stuck)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        exchange.messages.put_nowait({"type": "http.disconnect"})
        await cancelled.wait()
        await request  # without waiting for the stream
        assert not viewer_tasks()
        gate.open()


async def test_a_send_that_keeps_its_cancellation_to_itself_is_the_last_one() -> None:
    gate = Gate()
    guard, app = gated(gate)

    async def deaf(message: Message) -> None:
        if b"one" in message.get("body", b""):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    exchange = Exchange(deaf)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        exchange.messages.put_nowait({"type": "http.disconnect"})
        await request  # without waiting for the stream
        assert not viewer_tasks()
        gate.open()
    assert b"two" not in b"".join(exchange.bodies)


async def test_cancelling_the_request_ends_a_sending_that_keeps_its_cancellation_to_itself() -> None:
    gate = Gate()
    guard, app = gated(gate)
    tasks: list[asyncio.Task[object]] = []

    async def deaf(message: Message) -> None:
        if b"one" in message.get("body", b""):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    def layered(inner: ASGIApp) -> ASGIApp:
        async def call(asgi: Scope, receive: Receive, send: Send) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await inner(asgi, receive, send)

        return call

    app.add_middleware(layered)
    exchange = Exchange(deaf)
    async with guard, asyncio.timeout(10):
        request = asyncio.create_task(exchange.run(app))
        await exchange.has(b"one")
        tasks[0].cancel()
        await asyncio.wait([request])  # without waiting for the stream
        assert not viewer_tasks()
        gate.open()
    assert b"two" not in b"".join(exchange.bodies)
