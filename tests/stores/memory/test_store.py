"""The memory store against the contract, and what only it promises: memory stays bounded, nobody is called inline."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest

from streamguard.stores import memory
from streamguard.stores.appends import Append
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import RequestClaim
from streamguard.stores.store import StreamStore
from streamguard.testing import StreamStoreSuite
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import Hints, begin, closing, data, end, epoch_of, log, payloads, put, seal
from streamguard.values import EventKind, SessionKey, StreamRef

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestMemoryStore(StreamStoreSuite):
    clock: Clock

    @pytest.fixture
    def store(self) -> StreamStore:
        self.clock = Clock()
        return MemoryStore(clock=self.clock)

    async def advance(self, seconds: float) -> None:
        self.clock.now += seconds


class TestMemoryStoreOnRealTime(StreamStoreSuite):
    """The suite as users run it on a store without a clock to turn."""

    short_seconds = 0.05

    @pytest.fixture
    def store(self) -> StreamStore:
        return MemoryStore()


# -- what only a store in memory promises ----------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def finished(store: StreamStore, *, payload_bytes: int) -> StreamRef:
    ref = await begin(store)
    await put(store, ref, 1, b"x" * payload_bytes)
    await end(store, ref, 1)
    return ref


async def test_past_its_limit_the_streams_that_finished_first_are_forgotten() -> None:
    store = MemoryStore(max_bytes=100_000)
    running = await begin(store)
    await put(store, running, 1, b"x" * 20_000)
    refs = [await finished(store, payload_bytes=20_000) for _ in range(10)]
    kept = [ref for ref in refs if await store.meta(ref) is not None]
    assert kept == refs[-len(kept) :]
    assert 2 <= len(kept) <= 4
    assert len(await log(store, running)) == 1
    session = await store.session(refs[0].key)
    assert (session.last_id, session.last) == (refs[0].stream_id, None)


async def test_running_streams_are_kept_whatever_their_size() -> None:
    store = MemoryStore(max_bytes=1)
    ref = await begin(store)
    for seq in range(1, 11):
        await put(store, ref, seq, b"x" * 1000)
    assert len(await log(store, ref)) == 10


def _held() -> int:
    """Bytes that these tests and the store allocated and hold. The rest of the process, such as the measuring of its
    coverage, allocates meanwhile what is not the store's."""
    ours = [tracemalloc.Filter(True, __file__), tracemalloc.Filter(True, f"{Path(memory.__file__).parent}/*")]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)


@pytest.mark.parametrize("ended", ["expired", "erased", "crowded out"])
async def test_a_forgotten_log_is_freed(clock: Clock, ended: str) -> None:
    store = MemoryStore(clock=clock, max_bytes=1_000_000)
    refs = [await finished(store, payload_bytes=200_000) for _ in range(3)]
    if ended == "expired":
        clock.now += 3600
    for ref in refs:
        if ended == "erased":
            await store.erase(ref.key, mark_seconds=1)
    tracemalloc.start()
    try:
        before = _held()
        later = [await finished(store, payload_bytes=200_000) for _ in range(40)]
        clock.now += 3600
        await store.expired_leases(limit=1)
        gc.collect()
        growth = _held() - before
    finally:
        tracemalloc.stop()
    assert [await store.meta(ref) for ref in refs + later] == [None] * 43
    assert growth < 100_000


async def test_what_is_owed_is_kept_whatever_its_size_until_it_is_given_up() -> None:
    store = MemoryStore(max_bytes=100_000)
    refs = [await enqueued(store, payload=b"x" * 50_000) for _ in range(5)]
    assert {owed.ref for owed in await store.claim_due(limit=10, claim_seconds=60)} == set(refs)
    await store.dead_letter(refs[0], reason="r", ttl_seconds=60)
    await store.complete(refs[1], retention_seconds=60)
    await store.dead_letter(refs[2], reason="r", ttl_seconds=60)
    await store.requeue(refs[2])
    await enqueued(store, payload=b"x" * 50_000)
    assert [await store.meta(ref) is None for ref in refs] == [True, True, False, False, False]
    assert await store.outbox_entries(dead=True, limit=10) == []


@pytest.mark.long
async def test_claims_of_requests_are_forgotten_when_they_expire(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    claim = RequestClaim(StreamRef(SessionKey("o", "s"), "0" * 24), "f")
    tracemalloc.start()
    try:
        before = _held()
        for number in range(5_000):
            await store.claim_request("o", f"key {number} " + "x" * 100, claim, ttl_seconds=10)
            clock.now += 1
        gc.collect()
        growth = _held() - before
    finally:
        tracemalloc.stop()
    assert growth < 100_000


async def test_nobody_is_called_inside_a_step() -> None:
    store = MemoryStore()
    ref, hints = await begin(store), Hints()
    async with store.subscribe(ref, hints):
        await put(store, ref, 1, b"a")
        assert hints.seen == []
        await hints.until(bool, description="the append's hint")


async def test_a_hint_under_way_does_not_reach_a_subscriber_that_left() -> None:
    store = MemoryStore()
    ref, hints = await begin(store), Hints()
    async with store.subscribe(ref, hints):
        await put(store, ref, 1, b"a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert hints.seen == []


async def test_what_a_subscriber_is_told_does_not_change_afterwards() -> None:
    store = MemoryStore()
    ref, hints = await begin(store), Hints()
    batch = data(b"a")
    async with store.subscribe(ref, hints):
        await store.append([Append(ref, epoch_of(ref), 1, batch, False)])
        batch.append((EventKind.DATA, b"b"))
        await hints.until(bool, description="the append's hint")
    assert payloads(hints.seen[0].events) == [b"a"]
    assert payloads(await log(store, ref)) == [b"a"]


async def test_it_needs_nothing_and_warns_of_nothing() -> None:
    store = MemoryStore()
    assert await store.start() == []
    ref = await begin(store)
    await store.aclose()
    assert await store.meta(ref) is not None
    assert not store.shared


async def test_an_entry_that_is_entered_once_more_hides_no_other_of_its_time(clock: Clock) -> None:
    """Pages count the entries of one time. Its worker did not hear, say, that it had entered it."""
    store = MemoryStore(clock=clock)
    refs = [await begin(store) for _ in range(3)]
    for ref in refs:
        await seal(store, ref)
        await store.enqueue(ref, due_seconds=10.0)
        await store.close(closing(ref, owed=b"{}"))
    page = await store.outbox_page(dead=False, limit=1)
    await store.enqueue(refs[0], due_seconds=10.0)
    rest = await store.outbox_page(dead=False, limit=9, after=page.next)
    assert [owed.ref for owed in (*page.entries, *rest.entries)] == refs
