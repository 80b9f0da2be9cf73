"""A failover to a replica that lags takes back a stream's end, and not the removal of its entry from the lease index,
which another server has, or which was asked for later. The stream is found all the same. So is work that is owed, when
a failover takes back its completion, or its entry in the outbox.

The failover is played: the session's keys are put back as they were before, or the entry is removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore, removed_entries
from streamguard.stores.redis.keys import Keys
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import (
    begin,
    end,
    is_due,
    losing,
    new_stream,
    put,
    tombstone,
    try_register,
)
from streamguard.values import Persisted, StreamRef

from ...harness.redis import RedisServer
from ...harness.redis_cluster import RedisCluster
from ...harness.waiting import wait_until_async
from ..leases import SHORT_SECONDS, overdue

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removed_entries, "LOOK_AFTER_SECONDS", 0.0)


@pytest.fixture
async def clusters(redis_cluster_url: str) -> AsyncIterator[RedisStore]:
    """A store on the cluster."""
    store = RedisStore(redis_cluster_url, command_seconds=5)
    yield store
    await store.aclose()


async def entry_removed(server: RedisServer, index: bytes, member: bytes) -> None:
    """Wait until an index on this server has lost an entry."""
    await wait_until_async(lambda: server.command("ZSCORE", index, member) is None, description="its entry is removed")


def kept(server: RedisServer, ref: StreamRef) -> Callable[[], None]:
    """What puts the keys of a stream and its session back as they are now."""
    keys, session = KEYS.stream(ref), KEYS.session(ref.key)
    names = (keys.meta, keys.log, keys.session, keys.streams, keys.withdrawn, session.erased)
    dumps = {name: server.command("DUMP", name) for name in names}

    def put_back() -> None:
        for name, dump in dumps.items():
            server.command("DEL", name)
            if isinstance(dump, bytes):
                server.command("RESTORE", name, 60_000, dump)

    return put_back


async def closes(store: StreamStore, ref: StreamRef) -> None:
    await put(store, ref, 1, b"a")
    await end(store, ref, 1)


async def withdraws(store: StreamStore, ref: StreamRef) -> None:
    assert await store.withdraw(ref, refuse_seconds=5) is Status.OK


async def erases(store: StreamStore, ref: StreamRef) -> None:
    await store.erase(ref.key, mark_seconds=5)


@pytest.mark.parametrize("ends", [closes, withdraws, erases])
async def test_a_stream_whose_end_a_cluster_lost_is_found(
    ends: Callable[[StreamStore, StreamRef], Awaitable[None]], redis_cluster: RedisCluster, clusters: RedisStore
) -> None:
    ref = await begin(clusters, lease=SHORT_SECONDS)
    keys = KEYS.stream(ref)
    put_back = kept(redis_cluster.master_of(keys.meta), ref)
    await ends(clusters, ref)
    await entry_removed(redis_cluster.master_of(keys.lease_shard), keys.lease_shard, keys.member)
    put_back()
    assert ref in await overdue(clusters)


async def test_a_lost_stream_whose_tombstone_a_cluster_lost_is_found(
    redis_cluster: RedisCluster, clusters: RedisStore
) -> None:
    new = new_stream()
    await try_register(clusters, new, lease=SHORT_SECONDS)
    keys = KEYS.stream(new.ref)
    put_back = kept(redis_cluster.master_of(keys.meta), new.ref)
    assert (await clusters.declare_lost(losing(new, terminal=tombstone()))).status is Status.OK
    await entry_removed(redis_cluster.master_of(keys.lease_shard), keys.lease_shard, keys.member)
    put_back()
    assert new.ref in await overdue(clusters)


async def test_a_stream_whose_erasure_a_server_lost_is_found_once_the_server_answers(
    own_redis: Callable[[], RedisServer],
) -> None:
    server = own_redis()
    store = RedisStore(server.url, command_seconds=5)
    try:
        ref = await begin(store, lease=SHORT_SECONDS)
        put_back = kept(server, ref)
        await store.erase(ref.key, mark_seconds=5)
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await store.expired_leases(limit=10)
        server.start()
        put_back()
        assert ref in await overdue(store)
    finally:
        await store.aclose()


async def test_a_stream_whose_end_a_server_lost_after_a_sweep_is_found(own_redis: Callable[[], RedisServer]) -> None:
    """Its renewal came late, so an entry was left over for the sweep to remove."""
    server = own_redis()
    store = RedisStore(server.url, command_seconds=5)
    try:
        ref = await begin(store, lease=SHORT_SECONDS)
        keys, put_back = KEYS.stream(ref), kept(server, ref)
        await store.erase(ref.key, mark_seconds=5)
        assert not await is_due(store, ref)  # it was looked at once more
        server.command("ZADD", keys.lease_shard, 1, keys.member)
        server.command("PEXPIRE", keys.lease_shard, 60_000)
        assert not await is_due(store, ref)
        put_back()
        assert ref in await overdue(store)
    finally:
        await store.aclose()


async def test_a_stream_that_stays_closed_gets_no_entry(redis_cluster: RedisCluster, clusters: RedisStore) -> None:
    ref = await begin(clusters)
    await closes(clusters, ref)
    assert not await is_due(clusters, ref)
    keys = KEYS.stream(ref)
    assert redis_cluster.master_of(keys.lease_shard).command("ZSCORE", keys.lease_shard, keys.member) is None


async def claimed(store: StreamStore) -> list[StreamRef]:
    return [owed.ref for owed in await store.claim_due(limit=100, claim_seconds=60)]


async def test_work_whose_completion_a_cluster_lost_is_found(redis_cluster: RedisCluster, clusters: RedisStore) -> None:
    ref = await enqueued(clusters)
    assert await claimed(clusters) == [ref]
    shard, member = KEYS.outbox_shard(ref), KEYS.stream(ref).member
    put_back = kept(redis_cluster.master_of(KEYS.stream(ref).meta), ref)
    assert await clusters.complete(ref, persisted=Persisted.YES, retention_seconds=60) is Status.OK
    await entry_removed(redis_cluster.master_of(shard), shard, member)
    put_back()
    assert await claimed(clusters) == [ref]


async def test_work_whose_entry_a_cluster_lost_is_found(redis_cluster: RedisCluster, clusters: RedisStore) -> None:
    ref = await enqueued(clusters)
    shard, member = KEYS.outbox_shard(ref), KEYS.stream(ref).member
    assert redis_cluster.master_of(shard).command("ZREM", shard, member) == 1
    assert await claimed(clusters) == [ref]


async def test_work_that_is_done_or_claimed_gets_no_other_entry(
    redis_cluster: RedisCluster, clusters: RedisStore
) -> None:
    ref = await enqueued(clusters)
    assert await claimed(clusters) == [ref]
    assert await claimed(clusters) == [], "its claim stands"
    assert await clusters.complete(ref, persisted=Persisted.YES, retention_seconds=60) is Status.OK
    assert await claimed(clusters) == []
    shard, member = KEYS.outbox_shard(ref), KEYS.stream(ref).member
    assert redis_cluster.master_of(shard).command("ZSCORE", shard, member) is None
