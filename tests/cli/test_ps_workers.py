"""`streamguard ps` shows workers, what they do and what waits, over one Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from streamguard.quota.redis.reservation_index import SHARDS
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import RESERVATION_SHARDS
from streamguard.testing._stream_store.steps import begin

from ..e2e.calls import USER, new_session, open_gate, post
from ..e2e.conftest import environment
from ..harness.redis import RedisServer
from ..harness.sse import resume
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .running import administer, ran

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

APP = "tests.apps.chat:application"
READ_ONLY = (
    "ACL SETUSER oncall on >secret resetkeys ~streamguard:* nocommands +evalsha +script|load +select +time "
    "+get +exists +hget +hmget +xrange +xrevrange +xlen +zrange +zrangebyscore +zrevrangebyscore +zscore +zcard "
    "+zcount +pttl"
)


def states(server: RedisServer) -> Mapping[int, str]:
    """How each worker is, by its process."""
    return {one["pid"]: one["state"] for one in ran("ps", server.url, "--json").json["workers"]}


async def test_workers_tell_of_themselves_and_a_killed_one_is_gone(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    env = environment(server.url, heartbeat_seconds=0.5)
    with Worker(APP, env=env) as writer, Worker(APP, env=env) as other:
        wait_until(lambda: sorted(states(server).values()) == ["ready", "ready"], description="both", timeout=40)
        session = new_session()
        async with post(writer, session, n=3, gate=session, gate_at=1) as stream:
            await stream.read_events(3)
            async with resume(other.port, session, headers=USER) as viewer:
                await viewer.read_events(3)

                def told() -> bool:
                    totals = ran("ps", server.url, "--json").json["totals"]
                    return (totals["streams"], totals["viewers"], totals["resumes"]) == (1, 2, {"resumed": 1})

                wait_until(told, description="streams, viewers and resumes", timeout=40)
                shape = ran("ps", server.url, "--json").json
                assert shape["depths"]["active_streams"] == 1
                assert shape["states"] == {"open": 1}
                other.kill()
            wait_until(lambda: sorted(states(server).values()) == ["gone", "ready"], description="gone", timeout=40)
            text = ran("ps", server.url).out
            assert "gone" in text.splitlines()[1]
            assert "streams  1 active" in text
            open_gate(writer, session)
            await stream.read_rest()

        def ended() -> bool:
            return bool(ran("ps", server.url, "--json").json["totals"]["ends"] == {"completed": 1})

        wait_until(ended, description="the end is counted", timeout=40)
        writer.terminate()
        writer.wait_exit(30)
    assert list(states(server).values()) == ["gone"], "a worker that leaves in good order is not shown"
    assert server.keys_without_ttl() == []


async def test_one_look_costs_the_same_however_much_there_is(store: RedisStore, redis_url: str) -> None:
    await asyncio.gather(*(begin(store) for _ in range(2_000)))
    shape = ran("ps", redis_url, "--json", "--limit", "5").json
    assert "depths" in shape, shape
    assert shape["depths"]["active_streams"] == 2_000
    assert len(shape["streams"]) == 5


async def test_an_empty_redis_has_nothing_to_show(redis_url: str) -> None:
    shape = ran("ps", redis_url, "--json").json
    assert (shape["workers"], shape["streams"]) == ([], [])
    assert set(shape["depths"].values()) == {0, None}


async def test_damaged_records_hide_no_others(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url, command_seconds=5)
    report: dict[str, Any] = {"v": 1, "pid": "x", "ends": 7, "resumes": {"a": "b"}, "host": "\x1b[31m", "reasons": 3}
    await store.report_worker("odd", json.dumps(report).encode(), keep_seconds=60)
    await store.report_worker("broken", b"\xff{", keep_seconds=60)
    await store.report_worker("later", b'{"v": 2}', keep_seconds=60)
    administer(server, "HSET", "streamguard:{outbox.3}", "a", "b")
    administer(server, "PEXPIRE", "streamguard:{outbox.3}", "60000")
    shape = ran("ps", server.url, "--json").json
    assert {one["worker"]: one["state"] for one in shape["workers"]} == {
        "odd": "not ready",
        "broken": "unreadable",
        "later": "unreadable",
    }
    assert shape["depths"]["damaged_indexes"] == 1
    assert "\x1b[31m" not in ran("ps", server.url).out
    await store.aclose()


async def test_an_account_that_only_reads_is_enough(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url, command_seconds=5)
    await begin(store)
    await store.report_worker("one", b'{"v": 1}', keep_seconds=60)
    administer(server, *READ_ONLY.replace(">secret", ">secret").split())
    shape = ran("ps", f"redis://oncall:secret@127.0.0.1:{server.port}", "--json").json
    assert shape["depths"]["active_streams"] == len(shape["streams"]) == len(shape["workers"]) == 1
    await store.aclose()


def test_the_index_of_reservations_is_read_whole() -> None:
    assert RESERVATION_SHARDS == SHARDS
