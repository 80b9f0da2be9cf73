"""A worker that freezes or dies: another ends its stream, once, and the frozen one can add nothing (I4, I5, I10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamguard.stores.redis.scripts import Scripts
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.redis_fixtures import KINDS, RedisOfKind
from tests.harness.sse import Ending, resume, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, open_gate, post, raw_post, status, trace
from .conftest import SHORT_LEASE
from .logs import codes, entries_of, terminals
from .steps import reached, stop_at

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["own_redis", *KINDS])
def any_redis(request: pytest.FixtureRequest) -> RedisOfKind:
    """A Redis of every kind in turn."""
    found: RedisOfKind = request.getfixturevalue(request.param)
    return request.getfixturevalue("server") if request.param == "own_redis" else found


@pytest.mark.promise("I5")
async def test_a_frozen_worker_adds_nothing_after_its_lease(
    any_redis: RedisOfKind, worker: Callable[..., Worker], session: str
) -> None:
    server = any_redis
    frozen, other = (worker(server.database_url(0), **SHORT_LEASE) for _ in range(2))
    # The pause between its pieces has the model still speaking when its worker hears that it was fenced.
    async with post(frozen, session, n=10, gate=session, gate_at=5, gap_ms=200) as local:
        seen = await local.read_events(7)
        stream_id = local.headers["x-stream-id"]
        async with resume(other.port, session, headers=USER) as remote:
            frozen.pause()
            watched = await remote.read_rest()
            assert remote.ending is Ending.CLEAN
        assert watched[: len(seen)] == seen
        assert codes(watched) == ["interrupted"]
        assert watched[-1].data == "[DONE]"
        log = entries_of(server, stream_id)
        frozen.resume()
        open_gate(frozen, session)
        rest = await local.read_rest()
        assert local.ending is Ending.CLEAN
        # Its own viewer reaches the one terminal too, the other worker's.
        assert seen + rest == watched
    await wait_until_async(lambda: f"finally {session}" in trace(frozen), description="the fenced model was ended")
    assert entries_of(server, stream_id) == log
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"
    assert f"completed {session}" not in trace(frozen)
    assert raw_post(frozen, session, n=3).status_code == 200


async def test_a_post_takes_over_an_expired_stream(
    any_redis: RedisOfKind, worker: Callable[..., Worker], session: str
) -> None:
    """Without waiting for a sweep."""
    server = any_redis
    dead, other = (worker(server.database_url(0), sweep_seconds=600.0, **SHORT_LEASE) for _ in range(2))
    async with post(dead, session, n=10, gate=session, gate_at=5) as stream:
        await stream.read_events(7)
        stream_id = stream.headers["x-stream-id"]
        dead.kill()
    assert status(other, session)["active"]["stream_id"] == stream_id

    def accepted() -> bool:
        answer = raw_post(other, session, n=2)
        assert answer.status_code in (200, 409)
        return answer.status_code == 200

    wait_until(accepted, description="the lease has run out")
    wait_until(lambda: terminals(server, stream_id), description="the dead worker's stream has its terminal")
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"


STEPS = {
    "streaming": None,
    "before the end": ("request", ("close", "seal")),
    "after the end": ("reply", ("close",)),
}
"""Where nothing is to be saved or settled, a stream ends in one step; in several where that was lost."""


@pytest.mark.promise("I4")
@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_at_any_step_of_the_end(
    step: str, server: RedisServer, proxy: FaultProxy, worker: Callable[..., Worker], session: str
) -> None:
    dying = worker(proxy.redis_url(), command_seconds=30.0, **SHORT_LEASE)
    other = worker(server.url, **SHORT_LEASE)
    stop = STEPS[step]
    if stop is not None:
        what, scripts = stop
        digests = [Scripts.load().digests[script] for script in scripts]
        stop_at(proxy, what, lambda request: any(digest in request for digest in digests))
    async with post(dying, session, n=6, gate=session, gate_at=4) as stream:
        seen = await stream.read_events(6)
        stream_id = stream.headers["x-stream-id"]
        async with resume(other.port, session, headers=USER) as remote:
            await remote.read_events(6)
            if stop is not None:
                open_gate(dying, session)
                await reached(proxy, f"the worker is {step}")
            dying.kill()
            watched = seen + await remote.read_rest()
            assert remote.ending is Ending.CLEAN
    (terminal,) = terminals(server, stream_id)
    natural = step == "after the end"
    assert terminal["outcome"] == ("completed" if natural else "interrupted")
    assert watched[-1].data == "[DONE]"
    if natural:
        assert ui_text(watched) == expected_text(6)
        assert codes(watched) == []
    else:
        assert codes(watched) == ["interrupted"]
    assert status(other, session)["active"] is None
    assert raw_post(other, session, n=2).status_code == 200
    assert get(other, session, seen[-1].id).status_code == 200
