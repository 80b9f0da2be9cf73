"""One application on every framework and every server: same terminal record, saved row and settlement.

A server process runs several of these tests; the one that ends it starts it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.logs import codes
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, ui_text
from tests.harness.waiting import wait_until_async

from .matrix import GRACEFUL_SECONDS, Chat, Site, left, said, until, worker_of

pytestmark = pytest.mark.anyio

FRAMEWORKS: Final = ("fastapi", "starlette", "litestar")


@pytest.fixture(
    scope="module", params=[f"{framework}-{server}" for framework in FRAMEWORKS for server in GRACEFUL_SECONDS]
)
def place(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Site]:
    framework, _, server = request.param.partition("-")
    worker = worker_of(framework, server, redis)
    yield Site(worker, redis)
    worker.close()


@pytest.fixture
def chat(place: Site) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place)


async def test_completion(chat: Chat) -> None:
    async with chat.post() as stream:
        events = await stream.read_rest()
        assert (stream.status, stream.ending, events[-1].data) == (200, Ending.CLEAN, "[DONE]")
        assert ui_text(events) == "w0 w1 w2 "
    assert await chat.left() == left("completed", 3)
    async with chat.resume(events[1].id) as again:
        assert await again.read_rest() == events[2:]


@pytest.mark.promise("I1")
async def test_a_client_that_leaves(chat: Chat) -> None:
    async with chat.post(gate=chat.id) as stream:
        await stream.read_events(2)

    async def unwatched() -> bool:
        health = (await chat.ask("GET", "/api/chat/health/streaming")).json()
        return (health["viewers"], health["streams"]) == (0, 1)

    await until(unwatched, description="the server has told of the client's end")
    await chat.open_gate()
    assert await chat.left() == left("completed", 3)


async def test_a_stop(chat: Chat) -> None:
    async with chat.post(gate=chat.id, gate_at=2) as stream:
        await said(stream, "w1")
        assert (await chat.ask("POST", f"/api/chat/{chat.id}/stop")).status_code == 202
        rest = await stream.read_rest()
        assert rest[-1].data == "[DONE]"
        assert stream.ending is Ending.CLEAN
    assert await chat.left() == left("stopped", 2)


async def test_a_failure_in_the_middle(chat: Chat) -> None:
    async with chat.post(crash_at=2) as stream:
        events = await stream.read_rest()
        assert codes(events) == ["provider_error"]
        assert (stream.ending, events[-1].data) == (Ending.CLEAN, "[DONE]")
        assert b"secret words" not in stream.body
    assert await chat.left() == left("failed", 2)


async def test_a_failure_before_the_first_piece(chat: Chat) -> None:
    async with chat.post(crash_at=0) as stream:
        await stream.read_rest()
        assert (stream.status, json.loads(stream.body)["error"]["code"]) == (502, "provider_error")
    status = (await chat.ask("GET", f"/api/chat/{chat.id}")).json()
    assert [(limit["used"], limit["reserved"]) for limit in status["quota"]["limits"]] == [(0, 0)]
    async with chat.resume() as again:
        assert again.status == 204


async def test_sync_generators_take_turns(chat: Chat) -> None:
    """One thread is all there is here."""
    other = Chat(chat.site)
    async with chat.post("/api/threaded", gate=chat.id) as stream:
        await said(stream, "w0")
        async with other.post("/api/threaded") as refused:
            await refused.read_rest()
            fault = json.loads(refused.body)["error"]
            assert (refused.status, fault["code"], fault["reason"]) == (503, "limit_streams", "max_sync_streams")
            assert "retry-after" in refused.headers
    await chat.open_gate()  # after its client has left
    assert await chat.left() == left("completed", 3)

    async def admitted() -> bool:
        async with other.post("/api/threaded") as stream:
            await stream.read_rest()
        return stream.status == 200

    await until(admitted, description="the thread is free")
    assert await other.left() == left("completed", 3)


async def test_sigterm(chat: Chat) -> None:
    """Whose answer is cut off is told so by the server that is going; the next one knows all of it."""
    worker = chat.site.worker
    async with chat.post(gate=chat.id, gate_at=2) as stream:
        await said(stream, "w1")
        worker.terminate()
        rest = await stream.read_rest()
        assert codes(rest) == ["shutting_down"]
        assert (stream.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
    await wait_until_async(lambda: not worker.alive, description="the server has ended")
    worker.start()
    assert await chat.left() == left("interrupted", 2)
