"""A cut connection breaks at once, while the framework's call lives on for what it lent to the stream."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.faults import FaultCode
from streamguard.observations import Observation, Signal
from streamguard.web.middleware.application_call import ApplicationCall
from tests.harness.sse import Ending, open_sse, ui_text
from tests.harness.waiting import wait_until_async

from ..response.test_stream_response import STACKS, hypercorning
from ..serving import USER, Gate, make_guard, serving

pytestmark = pytest.mark.anyio

Serving = Callable[[ASGIApp], AbstractAsyncContextManager[int]]

WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


class Lending:
    """An application whose endpoint borrows something for the length of its call."""

    def __init__(self, *middleware: Middleware, fails_at_the_end: bool = False, **settings: object) -> None:
        self.guard, self.gate = make_guard(**settings), Gate()
        self.events: list[str] = []
        self.tasks: list[asyncio.Task[object] | None] = []

        async def session() -> AsyncIterator[str]:
            self.tasks.append(asyncio.current_task())
            token = WHERE.set("in the call")
            yield "lent"
            WHERE.reset(token)  # not in another context, nor in another task
            self.tasks.append(asyncio.current_task())
            self.events.append("given back")
            if fails_at_the_end:
                raise RuntimeError("the session was broken")

        app = self.inner = FastAPI(middleware=middleware, lifespan=self.guard.lifespan)

        @app.api_route("/chat", methods=["GET", "POST"])
        @self.guard.stream("request.query_params.id")
        async def chat(request: Request, lent: Annotated[str, Depends(session)]) -> AsyncIterator[str]:
            yield f"{lent} "
            await self.gate.wait()
            yield "two"
            self.events.append("used")

        self.guard.install(app, "/api/chat")
        self.app: ASGIApp = app

    def mounted(self) -> Lending:
        self.app = Starlette(routes=[Mount("/sub", self.inner)], lifespan=self.guard.lifespan)
        return self

    def viewer_dropped(self) -> None:
        (viewer,) = self.guard._running().viewer_registry.viewers
        viewer.drop("slow")


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("place", ["", "/sub"], ids=["plain", "mounted"])
@pytest.mark.parametrize("middleware", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("server", [serving, hypercorning], ids=["uvicorn", "hypercorn"])
async def test_a_dropped_viewer_hears_of_it_at_once_and_the_stream_keeps_what_it_was_lent(
    server: Serving, middleware: list[Middleware], place: str, method: str
) -> None:
    lending = Lending(*middleware)
    if place:
        lending.mounted()
    headers = {**USER, "Accept-Encoding": "identity"}
    async with server(lending.app) as port:
        async with open_sse(port, f"{place}/chat?id=s", method=method, headers=headers) as first:
            await first.read_events(3)
            lending.viewer_dropped()
            assert await first.read_rest() == []
            assert first.ending is Ending.CUT
        assert lending.events == []
        async with open_sse(port, f"{place}/api/chat/s/stream", headers=headers) as second:
            await second.read_events(3)
            lending.gate.open()
            await second.read_rest()
            assert ui_text(second.events) == "lent two"
            assert second.ending is Ending.CLEAN
        await lending.guard.idle()
        assert lending.events == ["used", "given back"]
        assert len(set(lending.tasks)) == 1


async def test_other_routes_are_called_in_the_servers_own_task() -> None:
    """So that what they set in their context is seen around them, as ever."""
    lending = Lending()
    tasks: list[asyncio.Task[object] | None] = []

    @lending.inner.post("/plain")
    async def plain() -> str:
        tasks.append(asyncio.current_task())
        return "plain"

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.current_task())
        await lending.inner(scope, receive, send)

    async with lending.guard:
        scope: Scope = {"type": "http", "method": "POST", "path": "/plain", "query_string": b"", "headers": []}
        await around(scope, receive, Sent().send)
    assert tasks == [asyncio.current_task()] * 2


async def test_a_client_that_leaves_takes_nothing_with_it() -> None:
    lending = Lending()
    async with serving(lending.app) as port:
        async with open_sse(port, "/chat?id=s", method="POST", headers=USER) as first:
            await first.read_events(3)
        await wait_until_async(
            lambda: not lending.guard._context.limits.viewers.count, description="the viewer is gone"
        )
        assert lending.events == []
        lending.gate.open()
        await lending.guard.idle()
        assert lending.events == ["used", "given back"]


async def test_the_drain_waits_for_a_call_that_the_server_left() -> None:
    lending = Lending()
    async with serving(lending.app) as port:
        async with open_sse(port, "/chat?id=s", method="POST", headers=USER) as first:
            await first.read_events(3)
            lending.viewer_dropped()
            await first.read_rest()
        draining = asyncio.create_task(lending.guard.drain())
        lending.gate.open()
        await draining
        assert lending.events == ["used", "given back"]


@pytest.mark.long
async def test_a_server_that_cancels_its_call_leaves_the_frameworks_to_the_stream() -> None:
    lending = Lending(drain_seconds=10)
    async with serving(lending.app, graceful_seconds=1) as server:
        async with open_sse(server, "/chat?id=s", method="POST", headers=USER) as first:
            await first.read_events(3)
            server.stop()  # uvicorn cancels the request after a second, and only then shuts the lifespan down
            await first.read_rest()
            assert first.ending is Ending.CUT
        assert lending.events == []
        lending.gate.open()
        await wait_until_async(lambda: lending.events == ["used", "given back"], description="the call is over")


async def test_what_a_left_call_raises_is_observed() -> None:
    lending = Lending(fails_at_the_end=True)
    observed: list[Observation] = []
    with lending.guard.instrumented(observer=observed.append):
        async with serving(lending.app) as port:
            async with open_sse(port, "/chat?id=s", method="POST", headers=USER) as first:
                await first.read_events(3)
            await wait_until_async(
                lambda: not lending.guard._context.limits.viewers.count, description="the viewer is gone"
            )
            lending.gate.open()
            await lending.guard.idle()
    (fault,) = [one for one in observed if one.name is Signal.FAULT]
    assert fault.fault is not None
    assert fault.fault.code is FaultCode.INTERNAL
    assert str(fault.error) == "the session was broken"


# -- the call itself -------------------------------------------------------------------------------------------------


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


class Sent:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.silent = False

    async def send(self, message: Message) -> None:
        if not self.silent:
            self.messages.append(message)

    def silence(self) -> None:
        self.silent = True


def calling(app: ASGIApp, client: Sent) -> ApplicationCall:
    return ApplicationCall(app, {}, receive, client.send, silence=client.silence)


async def test_a_call_raises_what_the_application_raised() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("no such room")

    with pytest.raises(LookupError, match="no such room"):
        await calling(app, Sent()).wait()


async def test_a_call_runs_under_the_callers_context() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(WHERE.get())
        WHERE.set("inside")

    WHERE.set("outside")
    await calling(app, Sent()).wait()
    assert seen == ["outside"]
    assert WHERE.get() == "outside"


async def test_a_cancelled_call_that_began_nothing_has_ended_when_its_cancellation_is_through() -> None:
    ended: list[str] = []
    running = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append("cleaned up")

    server = asyncio.create_task(calling(app, Sent()).wait())
    await running.wait()
    server.cancel()
    await asyncio.sleep(0)
    server.cancel()  # servers may be impatient
    await asyncio.wait({server})
    assert server.cancelled()
    assert ended == ["cleaned up"]


async def test_a_cancelled_call_raises_what_the_application_made_of_it() -> None:
    running = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError("cancelled while looking") from None

    server = asyncio.create_task(calling(app, Sent()).wait())
    await running.wait()
    server.cancel()
    with pytest.raises(LookupError, match="cancelled while looking"):
        await server


@pytest.mark.parametrize("how", ["is detached", "is cancelled"])
async def test_a_detached_call_goes_on_without_its_client(how: str) -> None:
    owned: list[asyncio.Task[None]] = []
    client, begun, over = Sent(), asyncio.Event(), asyncio.Event()
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call.allow_detaching(owned.append)
        await send({"type": "http.response.start", "status": 200})
        begun.set()
        await over.wait()
        seen.append(await receive())
        await send({"type": "http.response.body", "body": b"late"})

    call = calling(app, client)
    server = asyncio.create_task(call.wait())
    await begun.wait()
    if how == "is detached":
        assert call.detach()
    else:
        server.cancel()
    await asyncio.wait({server})
    assert server.cancelled() is (how == "is cancelled")
    over.set()
    (task,) = owned
    await task
    assert seen == [{"type": "http.disconnect"}]
    assert [message["type"] for message in client.messages] == ["http.response.start"]


async def test_a_call_cannot_be_detached_before_it_began_a_stream_nor_after_that_ended() -> None:
    answers: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answers.append(call.detach())
        call.allow_detaching(lambda _: None)
        call.forbid_detaching()
        answers.append(call.detach())

    call = calling(app, Sent())
    await call.wait()
    assert answers == [False, False]


async def test_a_guard_that_does_not_run_any_more_owns_nothing() -> None:
    guard: StreamGuard = make_guard()
    async with guard:
        runtime = guard._running()
    answers: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        call.allow_detaching(runtime.adopt)
        answers.append(call.detach())

    call = calling(app, Sent())
    await call.wait()
    assert answers == [False]


def test_a_call_whose_loop_was_closed_goes_without_a_word_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio logs that a task was destroyed; an exception besides would fail a host's tests, which may forbid them."""
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    begun: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(True)
        await asyncio.Event().wait()

    async def serve() -> None:
        await calling(app, Sent()).wait()

    def stop_once_begun() -> None:
        loop.stop() if begun else loop.call_soon(stop_once_begun)

    loop = asyncio.new_event_loop()
    server = loop.create_task(serve())
    loop.call_soon(stop_once_begun)
    loop.run_forever()
    loop.close()
    del server
    gc.collect()
    assert begun
    assert ignored == []
