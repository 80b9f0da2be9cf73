"""The outbox in Redis: what its keys hold and for how long, steps cut off half way, entries that cannot be read."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from streamguard.errors import StoreCorruptError, StoreFormatError, StoreUnavailableError
from streamguard.stores.damage import RecordKind, Unreadable
from streamguard.stores.records import OutboxEntry, Partition, RequestClaim, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys, encode_member
from streamguard.testing._stream_store.outbox import claimed, enqueued, listed
from streamguard.testing._stream_store.steps import begin, closing, end, epoch_of, meta, seal
from streamguard.values import Persisted, SessionKey, StreamRef

from ...harness.proxy import FaultProxy
from ...harness.redis import RedisServer
from ...harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

KEYS: Final = Keys("streamguard")
DAY: Final = 86_400
MONTH: Final = 30 * DAY


@pytest.fixture
async def store(proxy: FaultProxy, redis_database: int) -> AsyncIterator[RedisStore]:
    store = RedisStore(proxy.redis_url(redis_database), command_seconds=5)  # this machine may be busy
    assert await store.start() == []
    yield store
    await store.aclose()


class Index:
    """The outbox as Redis holds it."""

    def __init__(self, server: RedisServer, database: int) -> None:
        self.client = server.client(database)

    def score(self, ref: StreamRef) -> float | None:
        return self.client.zscore(KEYS.outbox_shard(ref), encode_member(ref))

    def size(self) -> int:
        return sum(self.client.zcard(shard) for shard in KEYS.outbox_shards())

    def lives_ms(self, ref: StreamRef) -> int:
        return self.client.pttl(KEYS.outbox_shard(ref))


@pytest.fixture
def index(redis_server: RedisServer, redis_database: int) -> Index:
    return Index(redis_server, redis_database)


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_every_key_has_a_ttl_after_each_step(store: RedisStore, check: Callable[[str], None]) -> None:
    ref = await enqueued(store)
    check("owe and close")
    await claimed(store, ref)
    check("claim_due")
    await store.retry_later(ref, due_seconds=1, reason="r", ttl_seconds=60)
    check("retry_later")
    await store.dead_letter(ref, reason="r", ttl_seconds=60)
    check("dead_letter")
    await store.outbox_entries(dead=True, limit=1)
    check("owed")
    await store.requeue(ref)
    check("requeue")
    await store.previous(ref, "m")
    await store.erasure(ref.key)
    check("previous and erased")
    claim = RequestClaim(ref, "f")
    await store.claim_request("owner", "key", claim, ttl_seconds=60)
    await store.claim_request("owner", "key", RequestClaim(ref, "g"), ttl_seconds=60, expected=claim)
    check("claim_request")
    assert await store.release_request("owner", "key", RequestClaim(ref, "g"))
    check("release_request")
    await store.complete(ref, retention_seconds=60)
    check("complete")


async def test_the_index_outlives_what_is_owed(store: RedisStore, index: Index) -> None:
    ref = await begin(store)
    await seal(store, ref)
    await store.enqueue(ref, due_seconds=0)
    assert 7 * DAY < index.lives_ms(ref) / 1000 < 9 * DAY
    await store.close(closing(ref, owed=b"{}", retention=MONTH))
    assert index.lives_ms(ref) / 1000 > MONTH
    for step in ("retry_later", "dead_letter"):
        index.client.pexpire(KEYS.outbox_shard(ref), 5000)
        if step == "retry_later":
            await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=MONTH)
        else:
            await store.dead_letter(ref, reason="r", ttl_seconds=MONTH)
        assert index.lives_ms(ref) / 1000 > MONTH, step


async def test_nothing_is_left_of_what_was_completed_or_erased(store: RedisStore, index: Index) -> None:
    completed, erased, dead = [await enqueued(store) for _ in range(3)]
    await store.dead_letter(dead, reason="r", ttl_seconds=60)
    assert index.size() == 3
    await store.retry_later(completed, due_seconds=0, reason="r", ttl_seconds=60)
    await store.complete(completed, persisted=Persisted.YES, retention_seconds=60)
    await store.erase(erased.key, mark_seconds=60)
    await store.erase(dead.key, mark_seconds=60)
    await store.ping()  # after what was posted
    assert index.size() == 0
    record = index.client.hgetall(KEYS.stream(completed).meta)
    assert not {b"j", b"ja", b"jr", b"jd"} & record.keys()
    assert 0 < index.client.pttl(KEYS.stream(completed).log) <= 60_000


async def test_dead_letters_leave_the_index_when_their_records_expire(store: RedisStore, index: Index) -> None:
    gone, kept = await enqueued(store), await enqueued(store)
    await store.dead_letter(gone, reason="r", ttl_seconds=0.05)
    await store.dead_letter(kept, reason="r", ttl_seconds=60)

    async def left() -> bool:
        assert await store.claim_due(limit=1, claim_seconds=60) == []
        return index.score(gone) is None

    has_left: Callable[[], Awaitable[bool] | bool] = left
    await wait_until_async(has_left, description="the dead letter is found to be gone")
    assert (index.score(kept) or 0) < 0


async def test_a_claim_reads_no_more_than_it_may_give(store: RedisStore, index: Index) -> None:
    refs = [await enqueued(store) for _ in range(5)]
    before = {ref: index.score(ref) for ref in refs}
    (owed,) = await store.claim_due(limit=1, claim_seconds=60)
    assert [ref for ref in refs if index.score(ref) != before[ref]] == [owed.ref]


async def test_an_account_limited_to_the_documented_commands_suffices(own_redis: Callable[..., RedisServer]) -> None:
    """The list is the one in docs/reference/redis.md."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "redis.md"
    (rule,) = [line for line in page.read_text().splitlines() if line.startswith("ACL SETUSER")]
    server = own_redis()
    server.client().execute_command(*rule.replace("<password>", "secret").split())  # type: ignore[no-untyped-call] # redis-py
    store = RedisStore(f"redis://streamguard:secret@127.0.0.1:{server.port}", command_seconds=5)
    try:
        ref = await enqueued(store)
        assert len(await claimed(store, ref)) == 1
        assert await store.retry_later(ref, due_seconds=60, reason="r", ttl_seconds=60) is Status.OK
        assert await listed(store, ref) is not None
        assert await store.dead_letter(ref, reason="r", ttl_seconds=60) is Status.OK
        assert await store.requeue(ref) is Status.OK
        assert await store.complete(ref, retention_seconds=60) is Status.OK
        assert await store.previous(ref, "unknown") is None
        claim = RequestClaim(ref, "f")
        assert await store.claim_request("o", "key", claim, ttl_seconds=60) == claim
        assert await store.release_request("o", "key", claim)
        await store.erase(ref.key, mark_seconds=60)
        assert await store.erasure(ref.key) is not None
    finally:
        await store.aclose()


# -- steps cut off half way -------------------------------------------------------------------------------------------


async def test_a_retry_cut_off_before_the_index_leaves_the_claim(
    store: RedisStore, proxy: FaultProxy, index: Index
) -> None:
    ref = await enqueued(store)
    await claimed(store, ref, seconds=60)
    until = index.score(ref)
    proxy.lose_request(b"\r\ndue\r\n")
    with pytest.raises(StoreUnavailableError):
        await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=60)
    assert index.score(ref) == until
    assert await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=60) is Status.OK
    (owed,) = await claimed(store, ref)
    assert (owed.attempts, owed.reason) == (2, "timeout")  # at least the failed ones


async def test_a_dead_letter_cut_off_before_the_index_is_completed_by_the_next_worker(
    store: RedisStore, proxy: FaultProxy, index: Index
) -> None:
    ref = await enqueued(store)
    proxy.lose_request(b"\r\ndead\r\n")
    with pytest.raises(StoreUnavailableError):
        await store.dead_letter(ref, reason="too_often", ttl_seconds=60)
    assert (index.score(ref) or 0) > 0
    assert await claimed(store, ref) == []
    assert (index.score(ref) or 0) < 0
    dead = await listed(store, ref, dead=True)
    assert dead is not None
    assert (dead.attempts, dead.reason) == (1, "too_often")


async def test_a_requeue_cut_off_before_the_index_can_be_repeated(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await enqueued(store)
    await store.dead_letter(ref, reason="too_often", ttl_seconds=60)
    proxy.lose_request(b"\r\ndue\r\n")
    with pytest.raises(StoreUnavailableError):
        await store.requeue(ref)
    still = await listed(store, ref, dead=True)
    assert still is not None
    assert still.dead
    assert await store.requeue(ref) is Status.OK
    assert await listed(store, ref, dead=True) is None
    assert len(await claimed(store, ref)) == 1


async def test_an_entry_that_a_completion_left_over_is_removed_by_the_next_worker(
    store: RedisStore, index: Index
) -> None:
    """In a cluster its removal is a step of its own, which can be lost."""
    ref = await enqueued(store)
    score = index.score(ref)
    assert score is not None
    assert await store.complete(ref, retention_seconds=60) is Status.OK
    index.client.zadd(KEYS.outbox_shard(ref), {encode_member(ref): score})
    assert await listed(store, ref) is None
    assert await claimed(store, ref) == []
    await store.ping()
    assert index.score(ref) is None


async def test_a_claim_whose_reply_was_lost_comes_up_again(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await enqueued(store)
    proxy.lose_reply(b"\r\n123\r\n")
    with pytest.raises(StoreUnavailableError):
        await store.claim_due(limit=10, claim_seconds=0.123)
    again: Callable[[], Awaitable[list[OutboxEntry]] | list[OutboxEntry]] = partial(claimed, store, ref)
    assert len(await wait_until_async(again, description="the claim has run out")) == 1


async def test_enqueueing_and_completing_are_repeated_without_harm(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await begin(store)
    await seal(store, ref)
    proxy.lose_reply(encode_member(ref))
    with pytest.raises(StoreUnavailableError):
        await store.enqueue(ref, due_seconds=0)
    await store.enqueue(ref, due_seconds=0)
    await store.close(closing(ref, owed=b"{}"))
    assert len(await claimed(store, ref)) == 1
    proxy.lose_reply(ref.stream_id.encode())
    with pytest.raises(StoreUnavailableError):
        await store.complete(ref, persisted=Persisted.YES, retention_seconds=60)
    assert await store.complete(ref, persisted=Persisted.YES, retention_seconds=60) is Status.OK
    assert (await meta(store, ref)).persisted is Persisted.YES
    assert await listed(store, ref) is None


async def test_a_request_claim_whose_reply_was_lost_is_the_callers(store: RedisStore, proxy: FaultProxy) -> None:
    claim = RequestClaim(StreamRef(SessionKey("o", "s"), "0" * 24), "f")
    other = RequestClaim(StreamRef(SessionKey("o", "s"), "1" * 24), "f")
    proxy.lose_reply(claim.ref.stream_id.encode())
    with pytest.raises(StoreUnavailableError):
        await store.claim_request("o", "key", claim, ttl_seconds=60)
    assert await store.claim_request("o", "key", claim, ttl_seconds=60) == claim
    assert await store.claim_request("o", "key", other, ttl_seconds=60) == claim


# -- what cannot be read ----------------------------------------------------------------------------------------------


async def test_an_entry_nobody_can_read_holds_up_no_other(store: RedisStore, index: Index) -> None:
    damaged, of_another_type, good = [await enqueued(store) for _ in range(3)]
    index.client.hset(KEYS.stream(damaged).meta, "ja", "many")
    index.client.delete(KEYS.stream(of_another_type).meta)
    index.client.set(KEYS.stream(of_another_type).meta, "text", ex=60)
    foreign = KEYS.outbox_shard(good)
    index.client.zadd(foreign, {"!": 1})
    told: list[Unreadable] = []
    store.on_unreadable = told.append
    found = [owed.ref for owed in await store.claim_due(limit=10, claim_seconds=60)]
    assert sorted(found, key=str) == sorted([damaged, good], key=str)  # a count that is none begins anew
    assert {one.action for one in told} == {"removed", "dead_letter"}
    assert index.client.zscore(foreign, "!") is None
    assert {owed.ref for owed in await store.outbox_entries(dead=False, limit=10)} == {damaged, good}
    (dead,) = await store.outbox_entries(dead=True, limit=10)
    assert (dead.ref, dead.reason, dead.dead) == (of_another_type, "record_unreadable", True)
    assert await store.claim_due(limit=10, claim_seconds=60) == []
    assert await store.complete(of_another_type, retention_seconds=60) is Status.OK
    await wait_until_async(lambda: index.score(of_another_type) is None, description="it is off the list")


async def test_an_attempt_at_a_count_that_is_none_counts_from_nothing(store: RedisStore, index: Index) -> None:
    ref = await enqueued(store)
    index.client.hset(KEYS.stream(ref).meta, "ja", "many")
    assert await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=60) is Status.OK
    (owed,) = await store.outbox_entries(dead=False, limit=10)
    assert owed.attempts == 1


async def test_an_index_of_another_type_is_begun_anew(store: RedisStore, index: Index) -> None:
    """Of the leases, the outbox and the workers: whoever comes upon it goes on, and everything else is as it was."""
    told: list[Unreadable] = []
    store.on_unreadable = told.append
    ref = await begin(store)
    for shard in (KEYS.lease_shard(ref), KEYS.outbox_shard(ref), KEYS.workers(), KEYS.owner(ref.key.owner)):
        index.client.delete(shard)
        index.client.set(shard, "text", ex=60)
    other = await begin(store, SessionKey(ref.key.owner, "another"))
    await store.enqueue(ref, due_seconds=0)
    assert await store.expired_leases(limit=10) == []
    assert await store.partition("w", lease_seconds=5) == Partition(0, 1)
    kinds = {one.record for one in told}
    assert kinds >= {RecordKind.OUTBOX, RecordKind.OWNER_SLOTS}
    assert (await meta(store, other)).lease_seconds > 0
    (answer,) = await store.heartbeat([(ref, epoch_of(ref))], lease_seconds=5, ttl_seconds=60)
    assert answer.status is Status.OK
    await wait_until_async(
        lambda: index.client.zscore(KEYS.lease_shard(ref), encode_member(ref)) is not None, description="entered again"
    )


async def test_work_of_a_later_version_is_left_to_it(store: RedisStore, index: Index) -> None:
    ref = await enqueued(store)
    before = index.score(ref)
    index.client.hset(KEYS.stream(ref).meta, "v", "2")
    record = index.client.hgetall(KEYS.stream(ref).meta)
    assert await claimed(store, ref) == []
    assert index.score(ref) == before
    assert await listed(store, ref) is None
    steps: list[Callable[[], Awaitable[Status]]] = [
        lambda: store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=60),
        lambda: store.dead_letter(ref, reason="r", ttl_seconds=60),
        lambda: store.requeue(ref),
        lambda: store.complete(ref, retention_seconds=60),
    ]
    for step in steps:
        with pytest.raises(StoreFormatError):
            await step()
    assert index.client.hgetall(KEYS.stream(ref).meta) == record
    assert index.score(ref) == before


async def test_a_previous_stream_of_a_later_version_is_reported(store: RedisStore, index: Index) -> None:
    first = await begin(store)
    await end(store, first)
    second = await begin(store, first.key)
    index.client.hset(KEYS.stream(first).meta, "v", "2")
    index.client.hset(KEYS.session(first.key).session, "v", "2")
    with pytest.raises(StoreFormatError):
        await store.previous(second, "any")


@pytest.mark.parametrize("stored", ["[2,1]", "{}", "[1]", "text", '[1,"o","s","t"]', '[1,"o","s","t","?"]'])
async def test_a_request_claim_that_cannot_be_read_is_reported(store: RedisStore, index: Index, stored: str) -> None:
    index.client.set(KEYS.request("o", "key"), stored, ex=60)
    claim = RequestClaim(StreamRef(SessionKey("o", "s"), "0" * 24), "f")
    expected = StoreFormatError if stored == "[2,1]" else StoreCorruptError
    with pytest.raises(expected):
        await store.claim_request("o", "key", claim, ttl_seconds=60)
    assert index.client.get(KEYS.request("o", "key")) == stored.encode()


async def test_an_erased_session_is_named_nowhere(store: RedisStore, index: Index) -> None:
    """Not in what outlives it either: the erasure mark, and the claims of its requests."""
    key = SessionKey("an owner's name", "a session's name")
    ref = await begin(store, key)
    await seal(store, ref)
    await store.enqueue(ref, due_seconds=60)
    await store.close(closing(ref, owed=b"payload"))
    claim = RequestClaim(ref, "f")
    assert await store.claim_request(key.owner, "the request's key", claim, ttl_seconds=60) == claim
    await store.erase(key, mark_seconds=60)
    left = {name: index.client.dump(name) for name in index.client.scan_iter("*")}
    assert len(left) >= 2
    for name, dumped in left.items():
        for said in (key.owner, key.session_id, "the request's key"):
            for form in (said.encode(), base64.b64encode(said.encode()).rstrip(b"=")):
                assert form not in name
                assert form not in (dumped or b"")
    assert await store.claim_request(key.owner, "the request's key", RequestClaim(ref, "g"), ttl_seconds=60) == claim


# -- many of them -----------------------------------------------------------------------------------------------------


async def test_a_long_listing_is_complete_and_in_order(store: RedisStore, index: Index) -> None:
    """Longer than one page, and all but one due at the same time."""
    ref = await enqueued(store)
    record = index.client.dump(KEYS.stream(ref).meta)
    assert record is not None
    shard = KEYS.outbox_shard(ref)
    others = [StreamRef(ref.key, f"{number:024x}") for number in range(1500)]
    with index.client.pipeline(transaction=False) as pipe:
        for other in others:
            pipe.restore(KEYS.stream(other).meta, 60_000, record)
        pipe.zadd(shard, {encode_member(other): 1_000 for other in others})
        pipe.execute()
    found = [owed.ref for owed in await store.outbox_entries(dead=False, limit=2_000)]
    assert found[-1] == ref
    assert found[:-1] == sorted(others, key=encode_member), "of one time, and so in the order of their names"
