"""Plain functions, which are called in a thread: what they return is somebody's, also when their stream is over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio.to_thread
import pytest
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import StreamingResponse

from streamguard import StreamGuard
from streamguard.web.endpoint.threaded_call import threaded_call

from ...harness.waiting import wait_until_async
from ..serving import calling, make_guard
from .test_returned_responses import SSE, app_of

pytestmark = pytest.mark.anyio


class Upstream(AsyncIterator[str]):
    """A provider's stream, of an async client."""

    def __init__(self) -> None:
        self.closed = 0

    async def __anext__(self) -> str:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


class SyncUpstream(Iterator[str]):
    """The same, of a client that is not."""

    def __init__(self) -> None:
        self.closed = 0

    def __next__(self) -> str:
        raise StopIteration

    def close(self) -> None:
        self.closed += 1


RETURNED: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "iterator": (SyncUpstream, lambda upstream: upstream),
    "async iterator": (Upstream, lambda upstream: upstream),
    "StreamingResponse": (Upstream, lambda upstream: StreamingResponse(upstream, media_type=SSE)),
    "EventSourceResponse": (Upstream, EventSourceResponse),
}


class Held:
    """A function that is in its thread for as long as the test wants."""

    def __init__(self, guard: StreamGuard, returned: object) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()
        self.calls = 0

        @guard.stream("request.query_params.id")
        def chat(request: Request) -> object:
            self.calls += 1
            self.reached.set()
            assert self.go.wait(20)
            return returned

        self.app = app_of(guard, chat)


def threads() -> int:
    return anyio.to_thread.current_default_thread_limiter().borrowed_tokens


@pytest.mark.parametrize("kind", RETURNED)
async def test_what_comes_after_a_stop_is_closed_and_the_thread_counts_until_then(kind: str) -> None:
    make, wrap = RETURNED[kind]
    guard, upstream = make_guard(), make()
    held = Held(guard, wrap(upstream))
    async with calling(held.app, guard) as client:
        asking = asyncio.create_task(client.post("/chat?id=s"))
        await wait_until_async(held.reached.is_set, description="it is called")
        assert (await client.post("/api/chat/s/stop")).status_code in (202, 204)
        answer = await asking
        status = (await client.get("/api/chat/s")).json()
        assert (answer.status_code, status["active"], status["last"]["outcome"]) == (200, None, "stopped")
        assert '"code":"stopped"' in answer.text
        assert (upstream.closed, threads()) == (0, 1)
        held.go.set()
        await wait_until_async(lambda: upstream.closed, description="what it returned is closed")
        await wait_until_async(lambda: threads() == 0, description="its thread is free")
    assert upstream.closed == 1


async def test_one_that_waits_for_a_thread_is_not_called_after_a_stop() -> None:
    guard = make_guard()
    held = Held(guard, SyncUpstream())
    limiter = anyio.to_thread.current_default_thread_limiter()
    async with calling(held.app, guard) as client:
        usual, limiter.total_tokens = limiter.total_tokens, 1
        try:
            first = asyncio.create_task(client.post("/chat?id=s"))
            await wait_until_async(held.reached.is_set, description="the first is called")
            second = asyncio.create_task(client.post("/chat?id=t"))
            await wait_until_async(lambda: limiter.statistics().tasks_waiting, description="the second waits")
            await client.post("/api/chat/t/stop")
            assert '"code":"stopped"' in (await second).text
            held.go.set()
            assert (await first).status_code == 200
            await wait_until_async(lambda: threads() == 0, description="no thread is taken")
        finally:
            limiter.total_tokens = usual
    assert held.calls == 1


async def test_what_has_come_when_the_waiter_is_cancelled_is_closed() -> None:
    upstream, go = Upstream(), threading.Event()
    waiting = asyncio.create_task(threaded_call(lambda: upstream if go.wait(20) else None))
    await wait_until_async(lambda: threads() == 1, description="it is called")
    (work,) = [task for task in asyncio.all_tasks() if task.get_name() == "streamguard-call"]
    work.add_done_callback(lambda _: waiting.cancel())
    go.set()
    await asyncio.wait({waiting})
    assert (waiting.cancelled(), upstream.closed) == (True, 1)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
async def test_what_it_raises_is_raised(error: type[BaseException]) -> None:
    def fail() -> object:
        raise error("told")

    with pytest.raises(error, match="told"):
        await threaded_call(fail)


async def test_an_iterator_that_finds_no_place_is_closed() -> None:
    guard = make_guard(max_sync_streams=1)
    upstreams: list[SyncUpstream] = []

    @guard.stream("request.query_params.id", protocol="plain")
    def chat(request: Request) -> Iterator[str]:
        upstreams.append(SyncUpstream())
        return upstreams[-1]

    async with calling(app_of(guard, chat), guard) as client:
        slot = guard._context.sync_streams.take()
        refused = await client.post("/chat?id=s")
        slot.release()
        answer = await client.post("/chat?id=s")
    assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "max_sync_streams")
    assert answer.status_code == 200
    assert [upstream.closed for upstream in upstreams] == [1, 1]
