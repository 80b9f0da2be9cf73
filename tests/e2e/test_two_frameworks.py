"""One Redis, one worker on FastAPI and one on Litestar, as while a site moves: each serves the other's streams."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, resume, ui_text
from tests.harness.waiting import wait_until
from tests.harness.workers import Worker

from .calls import expected_text, open_gate, post, status, trace
from .conftest import APP, SHORT_LEASE, environment

pytestmark = pytest.mark.anyio

ON_LITESTAR = "tests.apps.litestar_chat:application"
USER = {"X-User": "ann"}
EACH_BEGINS = pytest.mark.parametrize(("begins", "goes_on"), [("litestar", "fastapi"), ("fastapi", "litestar")])


@pytest.fixture(scope="module")
def workers(shared_redis: RedisServer) -> Iterator[dict[str, Worker]]:
    env = {**environment(shared_redis.url, **SHORT_LEASE), "CHAT_BASE_HTTP_MIDDLEWARE": "1"}
    with Worker(APP, env=env) as fastapi, Worker(ON_LITESTAR, env=env) as litestar:
        yield {"fastapi": fastapi, "litestar": litestar}


@EACH_BEGINS
@pytest.mark.parametrize("path", ["/api/chat", "/api/plain", "/api/threaded"])
async def test_an_answer_is_resumed_on_the_other(
    workers: dict[str, Worker], session: str, begins: str, goes_on: str, path: str
) -> None:
    async with post(workers[begins], session, path=path, n=6) as whole:
        events = await whole.read_rest()
        assert (whole.status, whole.ending) == (200, Ending.CLEAN)
    async with resume(workers[goes_on].port, session, events[2].id, headers=USER) as rest:
        assert await rest.read_rest() == events[3:]


@EACH_BEGINS
async def test_an_answer_is_watched_and_stopped_on_the_other(
    workers: dict[str, Worker], session: str, begins: str, goes_on: str
) -> None:
    async with (
        post(workers[begins], session, n=6, gate=session, gate_at=2) as first,
        resume(workers[goes_on].port, session, headers=USER) as second,
    ):
        seen = await first.read_events(4)
        assert await second.read_events(4) == seen
        stop = f"{workers[goes_on].url}/api/chat/{session}/stop"
        assert httpx.post(stop, headers=USER, trust_env=False).status_code == 202
        assert await first.read_rest() == await second.read_rest()
        assert (first.ending, second.ending) == (Ending.CLEAN, Ending.CLEAN)
    assert status(workers[begins], session)["last"]["outcome"] == "stopped"


@EACH_BEGINS
async def test_an_answer_goes_on_without_its_client(
    workers: dict[str, Worker], session: str, begins: str, goes_on: str
) -> None:
    async with post(workers[begins], session, n=6, gate=session, gate_at=2) as first:
        seen = await first.read_events(4)
    open_gate(workers[begins], session)
    wait_until(lambda: f"completed {session}" in trace(workers[begins]), description="the model has said all")
    async with resume(workers[goes_on].port, session, headers=USER) as second:
        events = await second.read_rest()
    assert events[:4] == seen
    assert ui_text(events) == expected_text(6)


async def test_what_a_killed_worker_on_litestar_left_is_ended_by_the_other(
    workers: dict[str, Worker], session: str, shared_redis: RedisServer
) -> None:
    with Worker(ON_LITESTAR, env=environment(shared_redis.url, **SHORT_LEASE)) as dying:
        async with (
            post(dying, session, n=6, gate=session, gate_at=2) as first,
            resume(workers["fastapi"].port, session, headers=USER) as second,
        ):
            seen = await first.read_events(4)
            dying.kill()
            await first.read_rest()
            assert first.ending is Ending.CUT
            events = await second.read_rest()
            assert second.ending is Ending.CLEAN
    assert events[:4] == seen
    assert '"code":"interrupted"' in events[-3].data
    assert status(workers["litestar"], session)["last"]["outcome"] == "interrupted"
