"""A real Caddy in front of each server, with the configuration of the how-to page: every event at once, and broken
connections that stay broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.docs.samples import blocks
from tests.harness.caddy import Caddy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, open_sse, ui_text

from .matrix import GRACEFUL_SECONDS, Chat, Site, left, said, worker_of

pytestmark = pytest.mark.anyio

((_, CONFIGURATION),) = blocks("docs/how-to/deploy/caddy.md", "caddyfile")
UNFLUSHED: Final = CONFIGURATION.replace("flush_interval -1", "")
"""What the page says holds for events by their type alone."""


@pytest.fixture(scope="module", params=GRACEFUL_SECONDS)
def place(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Site]:
    worker = worker_of("starlette", request.param, redis)
    yield Site(worker, redis)
    worker.close()


@pytest.fixture(scope="module", params=[CONFIGURATION, UNFLUSHED], ids=["page", "unflushed"])
def caddy(request: pytest.FixtureRequest, place: Site) -> Iterator[Caddy]:
    with Caddy(request.param, upstream=place.worker.port) as server:
        yield server


@pytest.fixture
def chat(place: Site, caddy: Caddy) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place, through=caddy.port)


async def test_each_event_arrives_before_the_next_is_produced(chat: Chat) -> None:
    """The model waits with each piece until the client has the one before."""
    await chat.open_gate("-0")
    async with chat.post(step=chat.id, n=5) as stream:
        assert "content-encoding" not in stream.headers
        for number in range(5):
            await said(stream, f"w{number}")
            await chat.open_gate(f"-{number + 1}")
        rest = await stream.read_rest()
        assert (stream.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
    assert await chat.left() == left("completed", 5)


async def test_a_broken_connection_stays_broken_and_the_client_resumes(chat: Chat) -> None:
    async with chat.post(gate=chat.id, gate_at=2) as stream:
        await said(stream, "w1")
        chat.site.worker.kill()
        await stream.read_rest()
        assert stream.ending is Ending.CUT
    chat.site.worker.start()
    async with chat.resume(stream.cursor) as again:
        rest = await again.read_rest()
        assert (again.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")


async def test_a_client_that_leaves_caddy_leaves_the_answer_running(chat: Chat) -> None:
    async with chat.post(gate=chat.id) as stream:
        await said(stream, "w0")
    await chat.open_gate()
    assert await chat.left() == left("completed", 3)


async def test_ids_with_slashes_and_resuming(chat: Chat) -> None:
    chat.id += "/a b"
    async with chat.post() as stream:
        events = await stream.read_rest()
        assert ui_text(events) == "w0 w1 w2 "
    async with chat.resume(events[1].id) as again:
        assert await again.read_rest() == events[2:]


async def test_bodies_pass_up_to_the_guard_s_own_limit(chat: Chat) -> None:
    async with chat.post(padding=3_000_000) as stream:
        assert stream.status == 200
        await stream.read_rest()


async def test_pages_of_the_same_origin_may_change_things_and_others_not(chat: Chat) -> None:
    async def stopped(origin: str) -> int:
        headers = {**chat.headers, "Origin": origin, "Host": f"chat.example:{chat.port}", "Cookie": "a=b"}
        async with open_sse(chat.port, f"/api/chat/{chat.id}/stop", method="POST", headers=headers) as answer:
            return answer.status

    assert await stopped(f"http://chat.example:{chat.port}") == 204
    assert await stopped("http://elsewhere.example") == 403


async def test_answers_are_not_compressed(place: Site) -> None:
    if not place.worker.alive:
        place.worker.start()
    compressing = CONFIGURATION.replace("\treverse_proxy", "\tencode gzip\n\treverse_proxy")
    with Caddy(compressing, upstream=place.worker.port) as caddy:
        chat = Chat(place, through=caddy.port)
        chat.headers["Accept-Encoding"] = "gzip"
        async with chat.post(gate=chat.id) as stream:
            assert "content-encoding" not in stream.headers
            await said(stream, "w0")
            await chat.open_gate()
            assert (await stream.read_rest())[-1].data == "[DONE]"
