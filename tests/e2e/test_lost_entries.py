"""A worker dies, and a failover loses its stream's entry in the lease index: another worker ends the stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamguard.stores.redis.keys import Keys
from streamguard.values import SessionKey, StreamRef
from tests.harness.redis_cluster import RedisCluster
from tests.harness.waiting import wait_until
from tests.harness.workers import Worker

from .calls import post
from .conftest import SHORT_LEASE
from .logs import terminals

pytestmark = [pytest.mark.anyio, pytest.mark.long]

KEYS = Keys("streamguard")


async def test_a_dead_workers_stream_that_no_index_names_is_ended(
    own_redis_cluster: Callable[..., RedisCluster], worker: Callable[..., Worker], session: str
) -> None:
    """Nobody asks for its session."""
    cluster = own_redis_cluster()
    dying = worker(cluster.url, **SHORT_LEASE)
    async with post(dying, session, n=3, gate=session, gate_at=2) as stream:
        stream_id = stream.headers["x-stream-id"]
        await stream.read_events(2)
        dying.kill()
    keys = KEYS.stream(StreamRef(SessionKey("ann", session), stream_id))
    assert cluster.master_of(keys.lease_shard).command("ZREM", keys.lease_shard, keys.member) == 1
    worker(cluster.url, **SHORT_LEASE)
    wait_until(lambda: terminals(cluster, stream_id) != [], description="another worker ends the stream", timeout=60)
    (terminal,) = terminals(cluster, stream_id)
    assert terminal["outcome"] == "interrupted"
