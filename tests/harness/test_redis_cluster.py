"""The cluster that other tests stand on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
import redis.asyncio

from .redis_cluster import SLOTS, RedisCluster


def test_three_masters_share_the_slots(redis_cluster: RedisCluster, redis_cluster_url: str) -> None:
    assert redis_cluster_url.startswith("redis+cluster://127.0.0.1:")
    masters = redis_cluster.masters()
    assert len(masters) == 3
    assert sum(len(some) for node in masters for some in node.slots) == SLOTS
    key = b"a key"
    redis_cluster.master_of(key).client().set(key, "1", ex=60)
    with pytest.raises(redis.exceptions.ResponseError):  # MOVED
        redis_cluster.another_master(redis_cluster.master_of(key)).client().get(key)


@pytest.mark.anyio
async def test_clients_find_their_way(redis_cluster: RedisCluster, redis_cluster_url: str) -> None:
    del redis_cluster_url
    async with redis.asyncio.RedisCluster(host="127.0.0.1", port=redis_cluster.nodes[0].public_port) as client:
        for number in range(20):
            await client.set(f"key {number}", number, ex=60)
    assert {bytes(key) for key in redis_cluster.all_keys()} == {b"key %d" % number for number in range(20)}


def test_a_slot_half_way_answers_ask_and_tryagain_until_its_migration_ends(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    del redis_cluster_url
    source = redis_cluster.master_of(b"{slot}")
    for name in ("{slot}1", "{slot}2"):
        source.client().set(name, name, ex=60)
    migration = redis_cluster.begin_migration(b"{slot}")
    assert source.client().get("{slot}1") == b"{slot}1"
    migration.move(b"{slot}1")
    with pytest.raises(redis.exceptions.AskError):
        source.client().get("{slot}1")
    with pytest.raises((redis.exceptions.TryAgainError, redis.exceptions.AskError)):  # ASK until Redis 6.2
        source.client().mget("{slot}1", "{slot}2")
    migration.finish()
    assert redis_cluster.master_of(b"{slot}") is migration.target is not source
    assert migration.target.client().mget("{slot}1", "{slot}2") == [b"{slot}1", b"{slot}2"]
    with pytest.raises(redis.exceptions.MovedError):
        source.client().get("{slot}1")
    redis_cluster.wait_until_agreed()


@pytest.mark.long
def test_replicas_take_over_by_agreement_by_election_and_by_force(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    cluster = own_redis_cluster(replicas=1, node_timeout_seconds=1, proxied=True)
    first = cluster.master_of(b"k")
    first.client().set("k", "1", ex=60)
    second = cluster.fail_over(first)
    assert cluster.master_of(b"k") is second is not first
    assert second.client().get("k") == b"1"
    cluster.wait_until_replicated()
    assert cluster.kill(second) is first
    assert first.client().get("k") == b"1"
    second.start()
    cluster.wait_until_agreed()
    cluster.wait_until_replicated()
    first.pause()
    assert cluster.take_over(first) is second
    first.resume()
    cluster.wait_until_agreed()
    assert cluster.master_of(b"k") is second
    ports = {node.proxy.port for node in cluster.nodes if node.proxy is not None}
    assert {node.public_port for node in cluster.nodes} == ports  # which is where clients are sent
    assert {int(words[1].partition("@")[0].rpartition(":")[2]) for words in first.view().values()} == ports
