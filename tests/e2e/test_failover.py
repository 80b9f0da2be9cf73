"""A master dies under running streams: they go on, are resumed, and say what the failover lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.harness.redis_cluster import RedisCluster
from tests.harness.redis_fixtures import RedisOfKind
from tests.harness.redis_sentinel import RedisSentinels
from tests.harness.sse import Ending, resume, ui_text
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, open_gate, post
from .logs import codes, entries_of, terminals

pytestmark = [pytest.mark.anyio, pytest.mark.long]


class Failing(NamedTuple):
    """A Redis with replicas, and how one takes over."""

    redis: RedisOfKind
    settle: Callable[[], None]
    """Wait until the replicas have everything."""
    fail: Callable[[], object]


def sentinels_told(started: RedisSentinels) -> Failing:
    return Failing(started, started.wait_until_settled, started.fail_over)


def sentinels_master_killed(started: RedisSentinels) -> Failing:
    return Failing(started, started.wait_until_settled, started.kill)


def cluster_told(started: RedisCluster) -> Failing:
    return Failing(
        started, started.wait_until_replicated, lambda: [started.fail_over(one) for one in started.masters()]
    )


def cluster_master_killed(started: RedisCluster) -> Failing:
    """The one that has the only log there is."""

    def kill() -> None:
        (holds,) = [one for one in started.masters() if list(one.client().scan_iter("*:l:*"))]
        started.kill(holds)

    return Failing(started, started.wait_until_replicated, kill)


@pytest.fixture(params=[sentinels_told, sentinels_master_killed, cluster_told, cluster_master_killed])
def failing(
    request: pytest.FixtureRequest,
    own_redis_sentinels: Callable[..., RedisSentinels],
    own_redis_cluster: Callable[..., RedisCluster],
) -> Failing:
    """Sentinel and a cluster, whose replicas take over when told, and when a master is dead."""
    made: Failing
    if request.param in (sentinels_told, sentinels_master_killed):
        made = request.param(own_redis_sentinels(down_seconds=1))
    else:
        made = request.param(own_redis_cluster(replicas=1, node_timeout_seconds=1.5))
    return made


async def test_a_stream_goes_on_when_a_replica_takes_over(
    failing: Failing, worker: Callable[..., Worker], session: str
) -> None:
    redis = failing.redis
    writer, other = (worker(redis.database_url(0), command_seconds=2.0) for _ in range(2))
    async with post(writer, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(7)
        async with resume(other.port, session, headers=USER) as remote:
            followed = await remote.read_events(7)
            await asyncio.to_thread(failing.settle)
            await asyncio.to_thread(failing.fail)
            open_gate(writer, session)
            seen += await stream.read_rest()
            followed += await remote.read_rest()
            assert (stream.ending, remote.ending) == (Ending.CLEAN, Ending.CLEAN)
        stream_id = stream.headers["x-stream-id"]
    assert ui_text(seen) == ui_text(followed) == expected_text(10)
    assert [event.id for event in seen] == [event.id for event in followed]
    assert codes(seen) == []
    (terminal,) = terminals(redis, stream_id)
    assert terminal["outcome"] == "completed"
    numbers = [int(entry.partition(b"-")[2]) for entry, _ in entries_of(redis, stream_id)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert get(other, session, seen[3].id).status_code == 200


async def test_what_a_failover_lost_is_told(
    own_redis_sentinels: Callable[..., RedisSentinels], worker: Callable[..., Worker], session: str
) -> None:
    """The replica had not heard of the last events when the master died with its worker."""
    sentinels = own_redis_sentinels(down_seconds=1)
    writer, other = (worker(sentinels.url, command_seconds=2.0, lease_seconds=2.0) for _ in range(2))
    replica = sentinels.replica
    async with post(writer, session, n=10, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(4)
        await asyncio.to_thread(sentinels.wait_until_settled)
        # It cannot log in to its master any more, so that nothing more reaches it.
        replica.command("CONFIG", "SET", "masterauth", "wrong")
        replica.command("CLIENT", "KILL", "TYPE", "master")
        open_gate(writer, session)
        seen += await stream.read_events(4)
        writer.kill()
        await asyncio.to_thread(sentinels.kill)
    answer = get(other, session, seen[-1].id)
    assert answer.status_code == 410
    assert answer.json()["error"]["reason"] in ("cursor_ahead", "stream_gone")
