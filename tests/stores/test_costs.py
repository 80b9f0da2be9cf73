"""What a step costs does not grow with a session's history or the backlog: commands inside Redis are counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.steps import (
    begin,
    closing,
    end,
    fresh_key,
    new_stream,
    registered,
    seal,
    try_register,
)
from streamguard.values import SessionKey, StreamRef
from tests.harness.redis import RedisServer

pytestmark = pytest.mark.anyio

SHORT, LONG = 20, 400
READS = ("hget", "hmget", "exists", "xlen", "zrangebyscore", "zrevrangebyscore", "zrange")


class Counting:
    """A store on a Redis whose reading commands are counted, those inside scripts too."""

    def __init__(self, server: RedisServer) -> None:
        self.client = server.client()
        self.store = RedisStore(server.url, command_seconds=5.0)

    def begin(self) -> None:
        self.client.config_resetstat()

    def reads(self) -> int:
        found = self.client.info("commandstats")
        return sum(int(found.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in READS)


@pytest.fixture
async def counting(own_redis: Callable[..., RedisServer]) -> AsyncIterator[Counting]:
    counting = Counting(own_redis())
    await counting.store.start()
    yield counting
    await counting.store.aclose()


async def answered(store: RedisStore | MemoryStore, key: SessionKey, message_id: str) -> StreamRef:
    new = replace(new_stream(key), message_id=message_id)
    ref = registered(await try_register(store, new)).ref
    await end(store, ref)
    return ref


async def test_the_previous_stream_of_a_message_is_found_at_once_in_a_long_session(counting: Counting) -> None:
    costs = {}
    for length in (SHORT, LONG):
        key = fresh_key()
        first = await answered(counting.store, key, "asked twice")
        for number in range(length):
            await answered(counting.store, key, f"m{number}")
        again = await answered(counting.store, key, "asked twice")
        counting.begin()
        found = await counting.store.previous(again, "asked twice")
        assert found is not None
        assert found.ref == first
        assert await counting.store.previous(again, "never said") is None
        costs[length] = counting.reads()
    assert costs[LONG] <= costs[SHORT] < 20


async def test_a_registration_costs_the_same_in_a_long_session(counting: Counting) -> None:
    costs = {}
    for length in (SHORT, LONG):
        key = fresh_key()
        for number in range(length):
            await answered(counting.store, key, f"m{number}")
        counting.begin()
        await answered(counting.store, key, "last")
        costs[length] = counting.reads()
    assert costs[LONG] <= costs[SHORT] + 2


async def test_a_sessions_latest_streams_are_read_without_the_others(counting: Counting) -> None:
    key = fresh_key()
    refs = [await answered(counting.store, key, f"m{number}") for number in range(LONG)]
    counting.begin()
    assert [meta.ref for meta in await counting.store.session_streams(key, limit=1)] == [refs[-1]]
    assert counting.reads() < LONG / 4  # a slice of them, each read in three steps
    assert [meta.ref for meta in await counting.store.session_streams(key, limit=LONG)] == refs[::-1]


async def test_streams_that_expired_are_passed_over_in_slices(counting: Counting) -> None:
    """However many there are, no script looks at more than a slice of them, and none hides what lives."""
    key = fresh_key()
    first = await begin(counting.store, key)
    await end(counting.store, first)
    gone = [await answered(counting.store, key, f"m{number}") for number in range(100)]
    counting.client.delete(*(counting.store._redis.keys.stream(ref).meta for ref in gone))
    counting.begin()
    assert [meta.ref for meta in await counting.store.session_streams(key, limit=1)] == [first]
    stats = counting.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 7


async def test_streams_that_expired_leave_the_list_of_who_writes_a_message(counting: Counting) -> None:
    key = fresh_key()
    session = counting.store._redis.keys.session(key).session
    gone = [await answered(counting.store, key, f"m{number}") for number in range(10)]
    counting.client.delete(*(counting.store._redis.keys.stream(ref).meta for ref in gone))
    living = await answered(counting.store, key, "lives")
    fields = {field for field in counting.client.hkeys(session) if field[:2] in (b"m:", b"i:")}
    assert fields == {b"m:lives", b"i:" + living.stream_id.encode()}


async def test_a_message_that_is_continued_for_ever_keeps_a_bounded_list(counting: Counting) -> None:
    key = fresh_key()
    refs = [await answered(counting.store, key, "m") for _ in range(70)]
    found = await counting.store.previous(refs[-1], "m")
    assert found is not None
    assert found.ref == refs[-2]
    (entry,) = counting.client.hmget(counting.store._redis.keys.session(key).session, "m:m")
    assert entry is not None
    assert len(json.loads(entry)) == 64


@pytest.mark.parametrize("junk", [b"junk", b"1", b'{"a":1}', b"[1,2]", b'[["x",1]]', b"\xff"])
async def test_a_damaged_list_of_who_writes_a_message_is_no_list(counting: Counting, junk: bytes) -> None:
    key = fresh_key()
    first = await answered(counting.store, key, "m")
    counting.client.hset(counting.store._redis.keys.session(key).session, "m:m", junk)
    assert await counting.store.previous(first, "m") is None
    second = await answered(counting.store, key, "m")
    third = await answered(counting.store, key, "m")
    found = await counting.store.previous(third, "m")
    assert found is not None
    assert found.ref == second


async def test_a_session_begun_anew_finds_the_streams_it_did_not_list(counting: Counting) -> None:
    key = fresh_key()
    first = await answered(counting.store, key, "m")
    session = counting.store._redis.keys.session(key).session
    counting.client.delete(session)
    counting.client.set(session, b"junk", ex=60)
    second = await answered(counting.store, key, "m")
    found = await counting.store.previous(second, "m")
    assert found is not None
    assert found.ref == first


async def test_the_memory_store_forgets_who_wrote_what_expired() -> None:
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    new = new_stream()
    await store.register(new, lease_seconds=1.0, ttl_seconds=5.0, limit=None)
    session = store._tables.sessions[new.ref.key]
    assert list(session.writers) == [new.message_id]
    now = 10.0
    await store.session(new.ref.key)
    assert session.writers == {}


async def enqueued(store: RedisStore, *, due_seconds: float) -> StreamRef:
    """A closed stream that owes a save."""
    ref = await begin(store)
    await seal(store, ref)
    await store.enqueue(ref, due_seconds=due_seconds)
    await store.close(closing(ref, owed=b"{}"))
    return ref


async def test_a_dry_run_looks_at_no_more_of_the_outbox_than_it_tells_of(counting: Counting) -> None:
    due = [await enqueued(counting.store, due_seconds=-60.0 + number) for number in range(5)]
    for _ in range(300):
        await enqueued(counting.store, due_seconds=600.0)
    counting.begin()
    assert [owed.ref for owed in await counting.store.peek_due(limit=3)] == due[:3]
    assert counting.reads() <= 16 + 3
    assert [owed.ref for owed in await counting.store.peek_due(limit=100)] == due
    before = [owed.ref for owed in await counting.store.claim_due(limit=10, claim_seconds=60.0)]
    assert sorted(ref.stream_id for ref in before) == sorted(ref.stream_id for ref in due)
    assert await counting.store.peek_due(limit=100) == []
