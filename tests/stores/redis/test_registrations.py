"""A registration writes at once what a new session needs; whatever is there already is looked at first."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import pytest
import redis

from streamguard.stores.damage import RecordKind, Unreadable
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.record_fields import RECORD_FIELDS
from streamguard.testing._stream_store.steps import (
    a_seal,
    begin,
    closing,
    end,
    fresh_key,
    full,
    losing,
    new_stream,
    put,
    registered,
    sibling,
    tombstone,
    try_register,
)

from ...harness.redis import RedisServer

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")


@pytest.fixture
def client(redis_server: RedisServer, redis_database: int) -> redis.Redis:
    return redis_server.client(redis_database)


async def test_a_stream_whose_record_expired_is_registered_for_another_message(
    store: RedisStore, client: redis.Redis
) -> None:
    new = new_stream()
    await try_register(store, new)
    client.delete(KEYS.stream(new.ref).meta)
    again = replace(new, message_id="another")
    record = registered(await try_register(store, again))
    assert record.message_id == "another"
    assert (await store.seal(new.ref, record.epoch, a_seal()))[0] is Status.OK
    assert (await store.close(closing(new.ref)._replace(epoch=record.epoch))).status is Status.OK
    asking = new_stream(new.ref.key)
    await try_register(store, asking)
    assert await store.previous(asking.ref, new.message_id) is None
    found = await store.previous(asking.ref, "another")
    assert found is not None
    assert found.ref == new.ref


async def test_the_streams_of_a_message_are_all_listed(store: RedisStore) -> None:
    key = fresh_key()
    refs = []
    for _ in range(3):
        new = replace(new_stream(key), message_id="asked again")
        await try_register(store, new)
        await end(store, new.ref)
        refs.append(new.ref)
    for earlier, later in pairwise(refs):
        found = await store.previous(later, "asked again")
        assert found is not None
        assert found.ref == earlier


async def test_a_log_that_outlived_its_record_is_told(store: RedisStore, client: redis.Redis) -> None:
    new = new_stream()
    await try_register(store, new)
    await put(store, new.ref, 1, b"a", b"b")
    client.delete(KEYS.stream(new.ref).meta)
    again = registered(await try_register(store, new))
    assert again.last_seq == 2


async def test_a_note_of_a_subscriber_that_came_before_the_stream_is_heeded(
    store: RedisStore, client: redis.Redis
) -> None:
    unwatched, watched = new_stream(), new_stream()
    until = round(time.time() * 1000) + 60_000
    client.set(KEYS.stream(watched.ref).watch_note, until, ex=60)
    for new, watched_until in ((unwatched, None), (watched, b"%d" % until)):
        registered(await try_register(store, new))
        assert client.hget(KEYS.stream(new.ref).meta, RECORD_FIELDS["watched_until"]) == watched_until


async def test_an_erasure_mark_ahead_of_the_clock_is_heeded_without_any_other_note(
    store: RedisStore, client: redis.Redis
) -> None:
    new = new_stream()
    mark_us = round(time.time() * 1_000_000) + 60_000_000
    client.set(KEYS.session(new.ref.key).erased, mark_us, ex=60)
    assert registered(await try_register(store, new)).created_at > mark_us / 1_000_000


async def test_nothing_is_read_of_a_session_that_is_not_there(store: RedisStore, client: redis.Redis) -> None:
    client.config_resetstat()
    registered(await try_register(store, new_stream()))
    assert not {"cmdstat_hmget", "cmdstat_zrange"} & client.info("commandstats").keys()


async def test_a_stop_is_heeded_in_a_session_that_had_streams(store: RedisStore) -> None:
    key = fresh_key()
    await end(store, await begin(store, key))
    assert await store.stop_pending_requests(key, seconds=60.0, limit=10)
    assert registered(await try_register(store, new_stream(key), arrived=30.0)).stop_requested


async def test_a_stop_is_heeded_without_any_other_note(store: RedisStore) -> None:
    new = new_stream()
    assert await store.stop_pending_requests(new.ref.key, seconds=60.0, limit=10)
    assert registered(await try_register(store, new, arrived=30.0)).stop_requested


async def test_only_streams_that_expired_leave_their_sessions_list(store: RedisStore, client: redis.Redis) -> None:
    key = fresh_key()
    refs = []
    for _ in range(6):
        ref = await begin(store, key)
        await end(store, ref)
        refs.append(ref)
    for ref in refs[::2]:
        client.delete(KEYS.stream(ref).meta)
    last = await begin(store, key)
    kept = [ref.stream_id.encode() for ref in (*refs[1::2], last)]
    assert client.zrange(KEYS.session(key).streams, 0, -1) == kept
    fields = set(client.hgetall(KEYS.session(key).session))
    assert {b"i:" + ref.stream_id.encode() for ref in refs} & fields == {b"i:" + stream_id for stream_id in kept[:-1]}


async def test_ordinals_go_on_after_a_session_lost_its_list(store: RedisStore, client: redis.Redis) -> None:
    key = fresh_key()
    first = await begin(store, key)
    await end(store, first)
    client.delete(KEYS.session(key).streams)
    assert registered(await try_register(store, new_stream(key))).ordinal == 2


async def test_slots_whose_leases_ran_out_are_removed_once_they_are_needed(
    store: RedisStore, client: redis.Redis
) -> None:
    key = fresh_key()
    slots = KEYS.owner(key.owner)
    client.zadd(slots, {"dead": 1, "dead too": 2})
    registered(await try_register(store, new_stream(key), limit=3))
    assert client.zcard(slots) == 3
    registered(await try_register(store, new_stream(sibling(key)), limit=3))
    assert client.zcard(slots) == 2
    registered(await try_register(store, new_stream(sibling(key)), limit=3))
    full(await try_register(store, new_stream(sibling(key)), limit=3))


@pytest.mark.parametrize("ended", [False, True])
async def test_a_session_whose_first_stream_was_never_registered_is_not_damaged(
    ended: bool, store: RedisStore, client: redis.Redis
) -> None:
    """It began while Redis was away. All that is known of the session is that stream, which has no ordinal."""
    told: list[Unreadable] = []
    store.on_unreadable = told.append
    lost = new_stream()
    assert (await store.declare_lost(losing(lost))).status is Status.OK
    if ended:
        assert (await store.declare_lost(losing(lost, terminal=tombstone()))).status is Status.OK
    else:
        client.delete(KEYS.stream(lost.ref).meta)  # as if it had expired: then it is not in the way
    first = registered(await try_register(store, new_stream(lost.ref.key)))
    assert first.ordinal == 1
    assert told == []
    session = client.hgetall(KEYS.session(lost.ref.key).session)
    assert b"unlisted" not in session, "all of its streams are on its lists"


async def test_a_session_that_lost_its_ordinal_is_damaged_though_a_stream_was_lost_since(
    store: RedisStore, client: redis.Redis
) -> None:
    told: list[Unreadable] = []
    store.on_unreadable = told.append
    ref = await begin(store)
    await end(store, ref)
    client.hdel(KEYS.session(ref.key).session, "ordinal")
    assert (await store.declare_lost(losing(new_stream(ref.key), terminal=tombstone()))).status is Status.OK
    assert registered(await try_register(store, new_stream(ref.key))).ordinal == 2
    assert [one.record for one in told] == [RecordKind.SESSION]


async def test_no_ordinal_is_given_twice_where_a_session_was_evicted(store: RedisStore, client: redis.Redis) -> None:
    """Its list of streams is there still, and says what the last one was."""
    ref = await begin(store)
    await end(store, ref)
    client.delete(KEYS.session(ref.key).session)
    assert registered(await try_register(store, new_stream(ref.key))).ordinal == 2


async def test_nor_though_a_stream_was_lost_since(store: RedisStore, client: redis.Redis) -> None:
    ref = await begin(store)
    await end(store, ref)
    client.delete(KEYS.session(ref.key).session)
    assert (await store.declare_lost(losing(new_stream(ref.key), terminal=tombstone()))).status is Status.OK
    assert registered(await try_register(store, new_stream(ref.key))).ordinal == 2
