"""The Redis store against the contract, on a real Redis, and what only it promises: TTLs, two processes, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.appends import Append, AppendReply, LateDecision
from streamguard.stores.records import Close, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys, encode_member
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.registrations import StopReply
from streamguard.stores.store import StreamStore
from streamguard.testing import StreamStoreSuite
from streamguard.testing._stream_store.steps import (
    a_terminal,
    beat,
    begin,
    closing,
    end,
    epoch_of,
    fresh_key,
    full,
    log,
    losing,
    new_stream,
    occupied,
    payloads,
    put,
    registered,
    seal,
    sibling,
    take,
    tombstone,
    try_register,
)
from streamguard.values import START, EventKind, Persisted, SessionKey, StreamRef

from ...harness.redis import RedisServer
from ...harness.waiting import wait_until_async
from ..leases import SHORT_SECONDS, overdue

pytestmark = pytest.mark.anyio


class TestRedisStore(StreamStoreSuite):
    short_seconds = 0.2

    @pytest.fixture
    async def store(self, redis_url: str) -> AsyncIterator[StreamStore]:
        store = RedisStore(redis_url, command_seconds=5)
        assert await store.start() == []
        yield store
        await store.aclose()


# -- keys expire ------------------------------------------------------------------------------------------------------


async def test_every_key_has_a_ttl_after_each_step(store: RedisStore, check: Callable[[str], None]) -> None:
    key = fresh_key()
    new = new_stream(key)
    async with store.subscribe(new.ref, lambda hint: None):
        check("watch before registration")
        ref = registered(await try_register(store, new)).ref
        check("register")
        await store.ping()
        check("ping")
        await put(store, ref, 1, b"a")
        check("append")
    await put(store, ref, 2, b"b", refresh=True)
    check("append that refreshes")
    undecided = registered(await try_register(store, new_stream())).ref
    decided = LateDecision("plain", "", "another")
    append = Append(undecided, epoch_of(undecided), 1, [(EventKind.DATA, b"a")], refresh=False, decided=decided)
    assert (await store.append([append]))[0].status is Status.OK
    check("append that decides")
    await beat(store, ref)
    check("heartbeat")
    await take(store, ref, lease=5, force=True)
    check("take_over")
    await store.request_stop(ref)
    check("stop")
    await seal(store, ref, 2, epoch=2)
    check("seal")
    await store.close(closing(ref, b"z", epoch=2, owed=b"{}"))
    check("close")
    await store.update_meta(ref, persisted=Persisted.YES)
    check("update_meta")
    lost = new_stream(key)
    await store.declare_lost(losing(lost))
    check("declare_lost")
    await store.declare_lost(losing(lost, terminal=tombstone()))
    check("tombstone")
    await store.expired_leases(limit=10)
    check("expired_leases")
    await store.erase(key, mark_seconds=60)
    check("erase")


async def test_a_lost_stream_leaves_the_lease_index_in_the_step_that_closes_it(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """In a later one, a failover between the two would leave a stream that is open again, and that nobody finds."""
    client, new = redis_server.client(redis_database), new_stream(fresh_key())
    keys = Keys("streamguard").stream(new.ref)
    for terminal in (None, tombstone(), tombstone()):
        await store.declare_lost(losing(new, terminal=terminal))
        assert (client.zscore(keys.lease_shard, keys.member) is None) is (terminal is not None)
        client.zadd(keys.lease_shard, {keys.member: 1})  # as if a renewal were late
    client.delete(keys.lease_shard)


async def test_a_withdrawn_stream_leaves_the_lease_index_in_the_step_that_removes_it(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """As above."""
    client, ref = redis_server.client(redis_database), await begin(store, fresh_key())
    keys = Keys("streamguard").stream(ref)
    assert client.zscore(keys.lease_shard, keys.member) is not None
    assert await store.withdraw(ref, refuse_seconds=5) is Status.OK
    assert client.zscore(keys.lease_shard, keys.member) is None


async def test_what_is_owed_no_more_leaves_the_outbox_in_the_step_that_says_so(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """In a later one, a failover between the two would leave work that is owed again, and that nobody looks at."""
    client, ref = redis_server.client(redis_database), await begin(store, fresh_key())
    shard = Keys("streamguard").outbox_shard(ref)
    await store.enqueue(ref, due_seconds=60)
    await seal(store, ref)
    await store.close(closing(ref, owed=b"{}"))
    assert client.zscore(shard, encode_member(ref)) is not None
    await store.complete(ref, persisted=Persisted.YES, retention_seconds=60)
    assert client.zscore(shard, encode_member(ref)) is None


async def test_closing_keeps_the_session_as_long_as_its_longest_stream(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client, key = redis_server.client(redis_database), fresh_key()
    ref = await begin(store, key, ttl=50)
    keys = Keys("streamguard").stream(ref)
    await seal(store, ref)
    await store.close(closing(ref, retention=5000))
    assert client.pttl(keys.meta) > 4_000_000
    assert client.pttl(keys.log) > 4_000_000
    assert client.pttl(keys.session) > 4_000_000
    await end(store, await begin(store, key, ttl=50), retention=50)
    assert client.pttl(keys.session) > 4_000_000
    assert client.pttl(keys.streams) > 4_000_000


async def test_a_session_forgets_the_names_of_streams_that_expired(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client, key = redis_server.client(redis_database), fresh_key()
    streams = Keys("streamguard").session(key).streams
    for _ in range(5):
        ref = await begin(store, key)
        await end(store, ref)
        client.delete(Keys("streamguard").stream(ref).meta)
    last = await begin(store, key)
    assert client.zrange(streams, 0, -1) == [last.stream_id.encode()]


# -- processes --------------------------------------------------------------------------------------------------------


async def test_two_processes_see_each_other(store: RedisStore, redis_url: str) -> None:
    other = RedisStore(redis_url)
    try:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        assert payloads(await log(other, ref)) == [b"a"]
        assert (await take(other, ref, lease=5, force=True)).status is Status.OK
        assert (await put(store, ref, 2, b"b")).status is Status.FENCED
        assert (await put(other, ref, 2, b"c", epoch=2)).status is Status.OK
        assert payloads(await log(store, ref)) == [b"a", b"c"]
    finally:
        await other.aclose()


async def test_namespaces_share_a_server_without_meeting(store: RedisStore, redis_url: str) -> None:
    other = RedisStore(redis_url, namespace="another")
    try:
        ref = await begin(store, lease=SHORT_SECONDS)
        assert await other.meta(ref) is None
        assert (await other.session(ref.key)).last_id is None
        assert await overdue(store) == [ref]
        assert await other.expired_leases(limit=10) == []
    finally:
        await other.aclose()


async def test_one_append_given_to_two_stores_goes_to_each_ones_own_keys(
    store: RedisStore, redis_url: str, redis_server: RedisServer, redis_database: int
) -> None:
    """What a store keeps in an append, to pack the next one faster, is nobody else's."""
    other = RedisStore(redis_url, namespace="other")
    new = new_stream()
    for each in (store, other):
        await try_register(each, new)
    redis_server.client(redis_database).hset(Keys("other").stream(new.ref).meta, "e", epoch_of(new.ref))
    append = Append(new.ref, epoch_of(new.ref), 1, [(EventKind.DATA, b"a")], refresh=False)
    for each in (store, other):
        (reply,) = await each.append([append])
        assert reply == AppendReply(Status.OK, 1, stop_requested=False)
        assert payloads(await log(each, new.ref)) == [b"a"]
    await other.aclose()


async def test_at_most_four_connections_and_two_more_for_viewers(own_redis: Callable[[], RedisServer]) -> None:
    server = own_redis()
    client = server.client()

    def others() -> int:
        return len(client.client_list()) - 1

    store = RedisStore(server.url)
    try:
        await store.start()
        refs = [await begin(store) for _ in range(20)]
        await asyncio.gather(*(put(store, ref, 1, b"a") for ref in refs))
        before = others()
        watches = [store.subscribe(ref, lambda hint: None) for ref in refs]
        await asyncio.gather(*(watch.__aenter__() for watch in watches))
        await asyncio.gather(*(store.read(ref, START, max_bytes=100) for ref in refs * 5))
        assert others() <= before + 2
        assert others() <= 4
        await asyncio.gather(*(watch.__aexit__(None, None, None) for watch in watches))
    finally:
        await store.aclose()
    await wait_until_async(lambda: others() == 0, description="all connections are closed")


# -- refusals ---------------------------------------------------------------------------------------------------------


async def test_a_full_server_refuses_single_appends(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url)
    try:
        one, two = await begin(store), await begin(store)
        server.client().config_set("maxmemory", "1")
        refused = AppendReply(Status.REFUSED, 0, False)
        items = [Append(ref, epoch_of(ref), 1, [(EventKind.DATA, b"a")], False) for ref in (one, two)]
        assert await store.append(items) == [refused, refused]
        with pytest.raises(StoreUnavailableError, match="OOM"):
            await store.ping()
        server.client().config_set("maxmemory", "0")
        assert [reply.status for reply in await store.append(items)] == [Status.OK, Status.OK]
        await store.ping()
    finally:
        await store.aclose()


async def test_a_replica_refuses_and_the_next_call_connects_anew(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url)
    client = server.client()
    try:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        connected = client.info("stats")["total_connections_received"]
        client.replicaof("127.0.0.1", "1")
        assert (await put(store, ref, 2, b"b")).status is Status.REFUSED
        with pytest.raises(StoreUnavailableError, match="READONLY"):
            await store.ping()
        client.replicaof("NO", "ONE")
        assert (await put(store, ref, 2, b"b")).status is Status.OK
        assert client.info("stats")["total_connections_received"] > connected
    finally:
        await store.aclose()


# -- the lease index --------------------------------------------------------------------------------------------------


async def test_wrong_index_entries_are_corrected_on_the_way(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client, keys = redis_server.client(redis_database), Keys("streamguard")
    closed, running, gone = await begin(store), await begin(store), await begin(store)
    await end(store, closed)
    await store.erase(gone.key, mark_seconds=5)
    members = {ref: keys.lease_shard(ref) for ref in (closed, running, gone)}
    for ref, shard in members.items():
        client.zadd(shard, {encode_member(ref): 1})
        client.expire(shard, 60)
    assert await store.expired_leases(limit=10) == []
    assert client.zscore(members[closed], encode_member(closed)) is None
    assert client.zscore(members[gone], encode_member(gone)) is None
    assert (client.zscore(members[running], encode_member(running)) or 0) > 1e12


async def test_a_refused_registration_leaves_no_entry(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """Neither for want of the session nor for want of a slot; nobody waits for it to be removed."""
    ref = await begin(store)
    client = redis_server.client(redis_database)

    def entries() -> list[object]:
        return [member for shard in Keys("streamguard").lease_shards() for member in client.zrange(shard, 0, -1)]

    occupied(await try_register(store, new_stream(ref.key), limit=2))
    await wait_until_async(lambda: entries() == [encode_member(ref)], description="the entry is withdrawn")
    full(await try_register(store, new_stream(sibling(ref.key)), limit=1))
    await wait_until_async(lambda: entries() == [encode_member(ref)], description="the entry is withdrawn")


async def test_a_stream_registered_again_after_a_refusal_keeps_its_entry(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """What withdraws the first entry may come late: it leaves the second alone."""
    client, keys = redis_server.client(redis_database), Keys("streamguard")
    ref = await begin(store)
    new = new_stream(sibling(ref.key))
    for _ in range(20):
        full(await try_register(store, new, limit=1))
    registered(await try_register(store, new, limit=2))
    await store.ping()
    assert client.zscore(keys.lease_shard(new.ref), encode_member(new.ref)) is not None


async def test_a_registration_is_one_exchange(own_redis: Callable[[], RedisServer]) -> None:
    server = own_redis()
    client = server.client()
    store = RedisStore(server.url)

    def reads() -> int:
        return int(client.info("stats")["total_reads_processed"])

    try:
        await store.start()
        await begin(store)
        before = reads()
        own = reads() - before
        before = reads()
        registered(await try_register(store, new_stream(), limit=8))
        assert reads() - before == own + 1
    finally:
        await store.aclose()


# -- a test of the tests ----------------------------------------------------------------------------------------------


async def test_a_changed_line_of_lua_is_run(redis_url: str) -> None:
    broken = Scripts.load().replacing("append", "if stored_epoch ~= epoch then", "if false then")
    store = RedisStore(redis_url, scripts=broken)
    try:
        ref = await begin(store)
        assert (await put(store, ref, 1, b"a", epoch=7)).status is Status.OK
    finally:
        await store.aclose()
    with pytest.raises(ValueError, match="0 times"):
        broken.replacing("append", "no such line", "")


async def test_after_closing_every_call_is_refused(redis_url: str) -> None:
    store = RedisStore(redis_url)
    await store.start()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.ping()
    with pytest.raises(StoreUnavailableError, match="closed"):
        async with store.subscribe(StreamRef(SessionKey("o", "s"), "0" * 24), lambda hint: None):
            pytest.fail("entered")


async def test_stopping_a_stream_whose_writer_is_late_says_so(store: RedisStore) -> None:
    ref = await begin(store, lease=SHORT_SECONDS)
    assert await overdue(store) == [ref]
    assert await store.request_stop(ref) is StopReply.EXPIRED


async def test_what_is_owed_is_kept_with_the_record(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await begin(store)
    await seal(store, ref)
    await store.close(Close(ref, epoch_of(ref), (), a_terminal(), 60, b'{"save":1}'))
    assert redis_server.client(redis_database).hget(Keys("streamguard").stream(ref).meta, "j") == b'{"save":1}'
