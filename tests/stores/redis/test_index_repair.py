"""A stream whose entry in an index is lost, and whose worker is dead, is found by its record.

Here nobody renews the stream, and the store that finds it is another one than the one that wrote it: only the record
says that it is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore, index_repair
from streamguard.stores.redis.keys import Keys
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import (
    begin,
    end,
    fresh_key,
    new_stream,
    put,
    registered,
    seal,
    try_register,
)
from streamguard.values import Persisted, QuotaState, StreamRef

from ...harness.redis import RedisServer
from ...harness.redis_cluster import RedisCluster
from ...harness.waiting import wait_until_async
from ..leases import SHORT_SECONDS, overdue

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")


class Place:
    """One Redis, or a cluster: two stores on it, and commands of one's own."""

    def __init__(self, url: str, server_of: Callable[[bytes], RedisServer]) -> None:
        self.writer = RedisStore(url, command_seconds=5)
        self.finder = RedisStore(url, command_seconds=5)
        self._server_of = server_of

    def lose(self, index: bytes, ref: StreamRef) -> None:
        """As a failover does that loses the entry, of a stream whose worker is dead."""
        assert self._server_of(index).command("ZREM", index, KEYS.stream(ref).member) == 1

    def listed(self, index: bytes, ref: StreamRef) -> bool:
        return self._server_of(index).command("ZSCORE", index, KEYS.stream(ref).member) is not None


@pytest.fixture(params=["server", "cluster"])
async def place(
    request: pytest.FixtureRequest,
    own_redis: Callable[..., RedisServer],
    own_redis_cluster: Callable[..., RedisCluster],
) -> AsyncIterator[Place]:
    if request.param == "server":
        server = own_redis()
        made = Place(server.url, lambda _: server)
    else:
        cluster = own_redis_cluster()
        made = Place(cluster.url, cluster.master_of)
    yield made
    await made.writer.aclose()
    await made.finder.aclose()


async def test_a_stream_whose_entry_is_lost_is_found(place: Place) -> None:
    ref = await begin(place.writer, lease=SHORT_SECONDS)
    await put(place.writer, ref, 1, b"a")
    sealed = await begin(place.writer, lease=SHORT_SECONDS)
    await seal(place.writer, sealed)
    for one in (ref, sealed):
        place.lose(KEYS.lease_shard(one), one)
    assert not {ref, sealed} & {*await overdue(place.finder)}, "no sweep sees them"
    await place.finder.repair_indexes()
    assert {ref, sealed} <= {*await place.finder.expired_leases(limit=10)}
    await place.finder.repair_indexes()
    assert {ref, sealed} <= {*await place.finder.expired_leases(limit=10)}, "once more changes nothing"


async def test_a_stream_that_is_renewed_or_closed_gets_no_entry(place: Place) -> None:
    running, closed = await begin(place.writer, lease=60), await begin(place.writer, lease=SHORT_SECONDS)
    await end(place.writer, closed)
    place.lose(KEYS.lease_shard(running), running)
    await overdue(place.finder)
    await place.finder.repair_indexes()
    for ref in (running, closed):
        assert not place.listed(KEYS.lease_shard(ref), ref)
        assert not place.listed(KEYS.outbox_shard(ref), ref)


async def test_work_whose_entry_is_lost_is_found(place: Place) -> None:
    ref = await enqueued(place.writer, due=60)
    place.lose(KEYS.outbox_shard(ref), ref)
    assert await place.finder.claim_due(limit=10, claim_seconds=60) == []
    await place.finder.repair_indexes()
    assert [owed.ref for owed in await place.finder.claim_due(limit=10, claim_seconds=60)] == [ref]
    await place.finder.repair_indexes()
    assert await place.finder.claim_due(limit=10, claim_seconds=60) == [], "its claim stands"


async def test_a_dead_letter_whose_entry_is_lost_is_listed_again(place: Place) -> None:
    ref, kept = await enqueued(place.writer, due=60), await enqueued(place.writer, due=60)
    for one in (ref, kept):
        assert await place.writer.dead_letter(one, reason="too_often", ttl_seconds=60) is Status.OK
    place.lose(KEYS.outbox_shard(ref), ref)
    await place.finder.repair_indexes()
    assert await place.finder.claim_due(limit=10, claim_seconds=60) == []
    assert {owed.ref for owed in await place.finder.outbox_entries(dead=True, limit=10)} == {ref, kept}


async def test_work_that_was_given_up_is_not_entered_again(place: Place) -> None:
    """Its record may go on to say that a settlement is pending: an outbox that is empty must not seem to fill."""
    ref = await enqueued(place.writer, due=60)
    assert await place.writer.dead_letter(ref, reason="too_often", ttl_seconds=60) is Status.OK
    assert await place.writer.update_meta(ref, quota=QuotaState.PENDING) is Status.OK
    assert await place.writer.complete(ref, persisted=Persisted.NO, retention_seconds=60) is Status.OK
    await wait_until_async(lambda: not place.listed(KEYS.outbox_shard(ref), ref), description="its entry is removed")
    await place.finder.repair_indexes()
    assert not place.listed(KEYS.outbox_shard(ref), ref)
    assert (await place.finder.depths()).outbox == 0


async def test_work_that_waits_stays_where_it_is(place: Place) -> None:
    ref = await enqueued(place.writer, due=60)
    await place.finder.repair_indexes()
    assert await place.finder.claim_due(limit=10, claim_seconds=60) == []
    (owed,) = await place.finder.outbox_entries(dead=False, limit=10)
    assert (owed.ref, owed.due_seconds > 30) == (ref, True)


async def test_damaged_records_hide_no_other(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url, command_seconds=5)
    try:
        refs = [await begin(store, lease=SHORT_SECONDS) for _ in range(5)]
        for ref in refs:
            assert server.command("ZREM", KEYS.lease_shard(ref), KEYS.stream(ref).member) == 1
        text, late, foreign, later, good = [KEYS.stream(ref).meta for ref in refs]
        server.command("SET", text, "no record", "PX", 60_000)
        server.command("HSET", late, "d", "never")
        server.command("HSET", foreign, "id", "\xff")
        server.command("HSET", later, "v", "999")
        await overdue(store)
        await store.repair_indexes()
        assert await store.expired_leases(limit=10) == [refs[4]]
        assert good == KEYS.stream(refs[4]).meta
    finally:
        await store.aclose()


async def test_a_call_looks_at_so_many_keys_and_the_next_goes_on(
    own_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: what grows is the number of calls for all of them."""
    monkeypatch.setattr(index_repair, "PAGE", 10)
    server = own_redis()
    store, client = RedisStore(server.url, command_seconds=5), server.client()
    try:
        lost = []
        for _ in range(100):
            ref = registered(await try_register(store, new_stream(fresh_key()), lease=SHORT_SECONDS)).ref
            await end(store, ref)
        for _ in range(3):
            lost.append(await begin(store, lease=SHORT_SECONDS))
            assert server.command("ZREM", KEYS.lease_shard(lost[-1]), KEYS.stream(lost[-1]).member) == 1
        await overdue(store)
        found: set[StreamRef] = set()
        calls = 0
        while not found >= {*lost}:
            client.config_resetstat()
            await store.repair_indexes()
            stats = client.info("commandstats")
            assert stats["cmdstat_scan"]["calls"] <= index_repair.PAGES
            assert stats.get("cmdstat_hmget", {"calls": 0})["calls"] <= index_repair.PAGES * 30
            found |= {*await store.expired_leases(limit=10)}
            calls += 1
        assert calls <= 20
    finally:
        await store.aclose()


async def test_an_account_without_scan_is_asked_once(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    client = server.client()
    store = RedisStore(server.url, command_seconds=5)
    try:
        await store.start()
        server.command("ACL", "SETUSER", "default", "-scan")
        client.config_resetstat()
        for _ in range(3):
            await store.repair_indexes()
        assert client.info("commandstats")["cmdstat_scan"]["rejected_calls"] == 1
    finally:
        server.command("ACL", "SETUSER", "default", "+scan")
        await store.aclose()


async def test_a_server_that_takes_no_commands_at_present_is_asked_again(own_redis: Callable[..., RedisServer]) -> None:
    """That it refuses now says nothing of the account."""
    server = own_redis(config={"replica-serve-stale-data": "no"})
    store = RedisStore(server.url, command_seconds=5)
    try:
        ref = await begin(store, lease=SHORT_SECONDS)
        assert server.command("ZREM", KEYS.lease_shard(ref), KEYS.stream(ref).member) == 1
        await overdue(store)
        server.command("REPLICAOF", "127.0.0.1", 1)
        await store.repair_indexes()
        server.command("REPLICAOF", "NO", "ONE")
        await store.repair_indexes()
        assert await store.expired_leases(limit=10) == [ref]
    finally:
        await store.aclose()
