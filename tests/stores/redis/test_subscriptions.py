"""Hints over Redis: confirmed before they are relied on, repaired after a lost connection, cheap to hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.records import Hint
from streamguard.stores.redis import RedisStore, subscriptions
from streamguard.stores.redis.keys import Keys
from streamguard.testing._stream_store.steps import Hints, begin, end, epoch_of, put
from streamguard.values import START, EventKind, StreamRef

from ...harness.proxy import FaultProxy
from ...harness.redis import RedisServer
from ...harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

EMPTY = Hint(0, (), False)


@pytest.fixture
async def remote(proxy: FaultProxy, redis_database: int) -> AsyncIterator[RedisStore]:
    """Another process, behind the proxy."""
    store = RedisStore(proxy.redis_url(redis_database), command_seconds=2)
    await store.start()
    yield store
    await store.aclose()


async def test_a_hint_carries_the_new_events_byte_for_byte(store: RedisStore, remote: RedisStore) -> None:
    ref, hints = await begin(store), Hints()
    hostile = [b"", b"\0\r\n\xff", b"x" * 100_000, "🌍".encode()]
    await put(store, ref, 1, b"before")
    async with remote.subscribe(ref, hints):
        await put(store, ref, 1, b"before", *hostile)
        await hints.until(bool, description="the append's hint")
    assert hints.seen == [Hint(2, tuple((EventKind.DATA, payload) for payload in hostile), False, epoch_of(ref))]


async def test_a_hint_of_large_events_says_only_that_there_are_some(store: RedisStore, remote: RedisStore) -> None:
    """What Redis holds for a subscriber that is slow is bounded, and one past it loses its connection."""
    ref, hints = await begin(store), Hints()
    async with remote.subscribe(ref, hints):
        await put(store, ref, 1, b"x" * 1_048_577)
        await hints.until(bool, description="the append's hint")
    assert hints.seen == [Hint(1, (), False, epoch_of(ref))]
    (event,) = await remote.read(ref, START, max_bytes=1)
    assert len(event.data) == 1_048_577


async def test_only_the_right_stream_and_kind_of_subscriber_is_told(store: RedisStore, remote: RedisStore) -> None:
    ref, other = await begin(store), await begin(store)
    everything, control, elsewhere = Hints(), Hints(), Hints()
    async with (
        remote.subscribe(ref, everything),
        remote.subscribe(ref, control, data=False),
        remote.subscribe(other, elsewhere),
    ):
        await put(store, ref, 1, b"a")
        await store.request_stop(ref)
        await everything.until(lambda seen: len(seen) == 2, description="append and stop")
        await control.until(bool, description="stop")
    assert control.seen == [Hint(0, (), True)]
    assert elsewhere.seen == []


async def test_a_lost_connection_is_repaired_by_an_empty_hint(
    store: RedisStore, remote: RedisStore, proxy: FaultProxy
) -> None:
    refs = [await begin(store) for _ in range(3)]
    hints = [Hints() for _ in refs]
    async with remote.subscribe(refs[0], hints[0]), remote.subscribe(refs[1], hints[1], data=False):
        proxy.refuse()
        await put(store, refs[0], 1, b"missed")
        proxy.forward()
        for some in hints[:2]:
            await some.until(lambda seen: EMPTY in seen, description="the repair hint")
        async with remote.subscribe(refs[2], hints[2]):
            await put(store, refs[0], 2, b"seen")
            await put(store, refs[2], 1, b"too")
            await hints[0].until(lambda seen: hint_of(refs[0], 2, b"seen") in seen, description="hints flow again")
            await hints[2].until(bool, description="a later subscriber's hint")
        assert EMPTY not in hints[2].seen


async def test_after_a_long_outage_old_and_new_subscribers_are_served(
    store: RedisStore, remote: RedisStore, proxy: FaultProxy
) -> None:
    ref, old, new = await begin(store), Hints(), Hints()
    async with remote.subscribe(ref, old):
        proxy.refuse()
        for _ in range(3):  # each waits for an attempt of the reader's that fails
            with pytest.raises(StoreUnavailableError):
                async with remote.subscribe(ref, new):
                    pytest.fail("entered")
        proxy.forward()
        await old.until(lambda seen: EMPTY in seen, description="the repair hint")
        async with remote.subscribe(ref, new):
            await put(store, ref, 1, b"a")
            for some in (old, new):
                await some.until(lambda seen: seen[-1:] == [hint_of(ref, 1, b"a")], description="hints flow again")


def hint_of(ref: StreamRef, seq: int, payload: bytes) -> Hint:
    return Hint(seq, ((EventKind.DATA, payload),), False, epoch_of(ref))


async def test_a_connection_that_died_silently_is_found(
    store: RedisStore, remote: RedisStore, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "_IDLE_SECONDS", 0.1)
    ref, hints = await begin(store), Hints()
    async with remote.subscribe(ref, hints):
        connections = proxy.connections
        # Only the hint connection is used meanwhile, so it is the one that falls silent.
        proxy.lose_reply(b"PING", cut=False)
        await wait_until_async(lambda: proxy.connections > connections, description="a new connection")
        await hints.until(lambda seen: EMPTY in seen, description="the repair hint")


async def test_a_stream_stays_marked_while_it_is_watched(
    store: RedisStore,
    remote: RedisStore,
    redis_server: RedisServer,
    redis_database: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscriptions, "_IDLE_SECONDS", 0.02)
    monkeypatch.setattr(subscriptions, "_RENEW_SECONDS", 0.02)
    ref, hints = await begin(store), Hints()
    meta = Keys("streamguard").stream(ref).meta
    client = redis_server.client(redis_database)
    async with remote.subscribe(ref, hints):
        client.hset(meta, "w", "1")
        await wait_until_async(lambda: client.hget(meta, "w") != b"1", description="the mark is renewed")
        await put(store, ref, 1, b"a")
        await hints.until(bool, description="the append's hint")


async def test_leaving_and_entering_again_at_once_misses_nothing(store: RedisStore, remote: RedisStore) -> None:
    ref = await begin(store)
    for seq in range(1, 51):
        hints = Hints()
        async with remote.subscribe(ref, hints):
            await put(store, ref, seq, b"a")
            await hints.until(bool, description=f"hint {seq}")


async def test_channels_are_given_back(store: RedisStore, redis_server: RedisServer, redis_database: int) -> None:
    client = redis_server.client(redis_database)

    def channels(ref: StreamRef) -> int:
        return len(client.pubsub_channels(Keys("streamguard").stream(ref).meta + b"*"))

    ref = await begin(store)
    async with store.subscribe(ref, Hints()):
        async with store.subscribe(ref, Hints(), data=False):
            assert channels(ref) == 2
        assert channels(ref) == 2
    await wait_until_async(lambda: channels(ref) == 0, description="no channel is left")


async def test_a_cancelled_entry_leaves_nothing_behind(
    remote: RedisStore, store: RedisStore, proxy: FaultProxy
) -> None:
    ref = await begin(store)
    proxy.hang()
    hints = Hints()

    async def enter() -> None:
        async with remote.subscribe(ref, hints):
            pytest.fail("entered")

    before = proxy.connections
    task = asyncio.create_task(enter())
    await wait_until_async(lambda: proxy.connections > before, description="it waits for its connection")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proxy.forward()
    async with remote.subscribe(ref, Hints()) as entered:
        assert entered is None
        await end(store, ref)
    assert hints.seen == []


async def test_a_subscriber_that_raises_costs_the_others_nothing(store: RedisStore) -> None:
    ref, hints = await begin(store), Hints()
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def raising(hint: Hint) -> None:
        raise RuntimeError("mistake")

    async with store.subscribe(ref, raising), store.subscribe(ref, hints):
        await put(store, ref, 1, b"a")
        await hints.until(bool, description="the append's hint")
    assert [str(context["exception"]) for context in reported] == ["mistake"]
