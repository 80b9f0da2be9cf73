"""A guarded endpoint's request lives as long as its producer, not as long as a client watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from fastapi import Depends
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.values import SessionKey
from tests.harness.sse import open_sse
from tests.harness.waiting import wait_until_async

from ..serving import USER, Gate, make_guard, serving
from .stacks import Build, plain, stacks

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each


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


def held_request(request: Request) -> Held:
    return Held(request)


def own_request(guard: StreamGuard, watched: Watched) -> Callable[..., object]:
    @guard.stream("s", protocol="plain")
    async def chat(request: Request, s: str) -> AsyncIterator[str]:
        async for word in watched.tell(request.is_disconnected):
            yield word

    return chat


def of_a_dependency(guard: StreamGuard, watched: Watched) -> Callable[..., object]:
    @guard.stream("s", protocol="plain")
    async def chat(held: Annotated[Held, Depends(held_request)], s: str) -> AsyncIterator[str]:
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


@stacks
async def test_the_request_is_the_one_that_middlewares_know(build: Build) -> None:
    guard, outer = make_guard(), list[Scope]()
    inner: list[Request] = []

    @guard.stream("s", protocol="plain")
    async def chat(request: Request, held: Annotated[Held, Depends(held_request)], s: str) -> AsyncIterator[str]:
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
