"""Logs in Redis: evicted, trimmed, with a hole, read in pieces, and published to whoever listens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamguard.errors import LogBrokenError
from streamguard.stores.appends import AppendReply
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.roles.stream_log import READ_EVENTS
from streamguard.testing._stream_store.steps import (
    beat,
    begin,
    closing,
    epoch_of,
    log,
    meta,
    payloads,
    place,
    put,
    seal,
)
from streamguard.testing._stream_store.stream_log import whole
from streamguard.values import START, Position, StreamState

from ...harness.redis import RedisServer
from ..leases import SHORT_SECONDS, overdue

pytestmark = pytest.mark.anyio


async def test_an_evicted_log_is_never_recreated(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client, keys = redis_server.client(redis_database), Keys("streamguard")
    ref = await begin(store, lease=SHORT_SECONDS)
    await put(store, ref, 1, b"a")
    client.delete(keys.stream(ref).log)
    assert await put(store, ref, 2, b"b") == AppendReply(Status.GONE, 0, False)
    assert await put(store, ref, 1, b"a") == AppendReply(Status.GONE, 0, False)
    assert (await beat(store, ref, lease=SHORT_SECONDS)).status is Status.GONE
    found = await meta(store, ref)
    assert (found.first_seq, found.last_seq) == (2, 1)
    assert await overdue(store) == []
    assert client.zcard(keys.lease_shard(ref)) == 0
    assert not client.exists(keys.stream(ref).log)
    await seal(store, ref, 1)
    assert (await store.close(closing(ref))).status is Status.GONE
    assert (await meta(store, ref)).state is StreamState.SEALED


@pytest.mark.parametrize("evicted", ["record", "log"])
async def test_a_pointer_to_what_was_evicted_is_cleared(
    evicted: str, store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client, keys = redis_server.client(redis_database), Keys("streamguard")
    ref, other = await begin(store, lease=SHORT_SECONDS), await begin(store, lease=SHORT_SECONDS)
    for one in (ref, other):
        await put(store, one, 1, b"a")
    client.delete(keys.stream(ref).meta if evicted == "record" else keys.stream(ref).log)
    assert (await store.session(ref.key)).active_id == ref.stream_id
    assert await overdue(store) == [other]
    assert (await store.session(ref.key)).active_id is None
    assert (await store.session(ref.key)).last_id == ref.stream_id
    assert (await store.session(other.key)).active_id == other.stream_id


async def test_a_pointer_to_a_newer_stream_stays(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    client, keys = redis_server.client(redis_database), Keys("streamguard")
    gone = await begin(store, lease=SHORT_SECONDS)
    client.delete(keys.stream(gone).meta)
    newer = await begin(store, key=gone.key)
    assert await overdue(store) == []
    assert (await store.session(gone.key)).active_id == newer.stream_id


async def test_a_long_log_is_read_in_pieces_that_fit(store: RedisStore) -> None:
    ref = await begin(store)
    sent = [b"%d" % number * (number % 7 + 1) for number in range(3000)]
    for start in range(0, 3000, 500):
        await put(store, ref, start + 1, *sent[start : start + 500])
    assert payloads(await whole(store, ref)) == sent
    found = await store.read(ref, Position(epoch_of(ref), 1000), max_bytes=3_000)
    assert payloads(found) == sent[1000 : 1000 + len(found)]
    assert 3_000 - 28 < sum(map(len, payloads(found))) <= 3_000


async def test_a_read_is_bounded_in_events_and_the_next_one_asks_once(
    store: RedisStore, redis_server: RedisServer
) -> None:
    """However small they are: whoever reads them holds up the event loop for so long."""
    ref = await begin(store)
    for start in range(0, 2000, 500):
        await put(store, ref, start + 1, *[b"x"] * 500)
    client = redis_server.client()

    def ranges() -> int:
        return int(client.info("commandstats")["cmdstat_xrange"]["calls"])

    at, read = START, 0
    while page := await store.read(ref, at, max_bytes=1_000_000):
        read += len(page)
        assert len(page) == READ_EVENTS or read == 2000
        at = place(page[-1])
        if at.seq == READ_EVENTS:
            before = ranges()
    assert read == 2000
    assert ranges() - before == 4  # the rest in three, and nothing after it


async def test_a_log_of_growing_events_is_read_in_pieces_that_fit(store: RedisStore) -> None:
    ref = await begin(store)
    sent = [b"x"] * 600 + [b"y" * 2_000] * 20
    await put(store, ref, 1, *sent)
    at, found = START, []
    while page := await store.read(ref, at, max_bytes=8_000):
        assert sum(map(len, payloads(page))) <= 8_000
        found += payloads(page)
        at = place(page[-1])
    assert found == sent


async def test_a_log_trimmed_by_hand_says_where_it_begins(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await begin(store)
    await put(store, ref, 1, *(b"%d" % number for number in range(10)))
    redis_server.client(redis_database).xtrim(Keys("streamguard").stream(ref).log, maxlen=4, approximate=False)
    assert (await meta(store, ref)).first_seq == 7
    held = [Position(epoch_of(ref), seq) for seq in range(7, 11)]
    for at in held:
        found = await store.read(ref, at, max_bytes=1000)
        assert [event.seq for event in found] == list(range(at.seq + 1, 11))
        assert (await store.check_position(ref, at))[1]
    for at in (START, Position(epoch_of(ref), 6)):
        with pytest.raises(LogBrokenError):
            await store.read(ref, at, max_bytes=1000)
    assert not (await store.check_position(ref, Position(epoch_of(ref), 6)))[1]


async def test_a_log_with_a_hole_is_read_up_to_it_and_no_further(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    """Also where the numbers after it go on as if nothing were missing, under another epoch's id."""
    client, holed, again = redis_server.client(redis_database), await begin(store), await begin(store)
    for ref in (holed, again):
        await put(store, ref, 1, b"a", b"b", b"c", b"d")
    client.xdel(Keys("streamguard").stream(holed).log, f"{epoch_of(holed)}-3")
    client.xadd(Keys("streamguard").stream(again).log, {"d": "x"}, id=f"{epoch_of(again) + 1}-2")
    for ref, last in ((holed, 2), (again, 4)):
        assert [event.seq for event in await log(store, ref)] == list(range(1, last + 1))
        with pytest.raises(LogBrokenError):
            await store.read(ref, Position(epoch_of(ref), last), max_bytes=1000)


async def test_nothing_is_published_without_subscribers(own_redis: Callable[[], RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url)

    def published() -> int:
        stats = server.client().info("commandstats").get("cmdstat_publish", {"calls": 0})
        calls: int = stats["calls"]
        return calls

    try:
        ref = await begin(store)
        async with store.subscribe(ref, lambda hint: None, data=False):
            await put(store, ref, 1, b"a")
            assert published() == 0
        async with store.subscribe(ref, lambda hint: None):
            await put(store, ref, 2, b"b")
            assert published() == 1
    finally:
        await store.aclose()
