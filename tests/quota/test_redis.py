"""The Redis store against the contract, on a real Redis, and what only it promises: keys, TTLs, what it cannot read."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

import anyio
import pytest

from streamguard.errors import ConfigurationError, QuotaInvalidError, QuotaUnavailableError
from streamguard.quota import QuotaStore, RedisQuotaStore, ReservationState
from streamguard.stores import RedisClient
from streamguard.testing import QuotaStoreSuite
from streamguard.testing._quota_store.steps import (
    all_due,
    asked,
    counters,
    fresh_owner,
    fresh_ref,
    refs,
    requests,
    reserved,
    tokens,
)
from streamguard.values import FORMAT_VERSION, SessionKey, StreamRef

from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async
from .clocks import ServerClock, TurnedClient

pytestmark = pytest.mark.anyio


DAY = 86_400


@pytest.fixture
def store(redis_client: RedisClient) -> RedisQuotaStore:
    return RedisQuotaStore(redis_client)


class TestRedisQuotaStore(QuotaStoreSuite):
    clock: ServerClock

    @pytest.fixture
    def store(self, turned: TurnedClient, clock: ServerClock) -> QuotaStore:
        self.clock = clock
        return RedisQuotaStore(turned)

    async def advance(self, seconds: float) -> None:
        await anyio.to_thread.run_sync(self.clock.turn, seconds)


async def test_a_reservation_expires_on_the_servers_clock(redis_client: RedisClient) -> None:
    store = RedisQuotaStore(redis_client, hold_seconds=0.05, stale_seconds=0.01)
    ref = await reserved(store, tokens(100), 90)

    async def expired() -> bool:
        found = await store.find(ref)
        return found is not None and found.state is ReservationState.EXPIRED

    has_expired: Callable[[], Awaitable[bool] | bool] = expired
    await wait_until_async(has_expired, description="the hold is over")
    assert await store.renew([ref]) == [ReservationState.EXPIRED]
    assert refs(await all_due(store, ref.key.owner)) == [ref]
    assert (await store.commit(ref, {"tokens": 12})).late


async def test_nothing_is_left_when_everything_is_forgotten(
    turned: TurnedClient, clock: ServerClock, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    store = RedisQuotaStore(turned, remember_seconds=60, late_seconds=60)
    owner = fresh_owner()
    await store.commit(await reserved(store, tokens(100), 12, owner=owner))
    expired = await reserved(store, tokens(100), 30, owner=owner)
    clock.turn(61)
    assert refs(await all_due(store, owner)) == [expired]
    clock.turn(60)
    assert await counters(store, owner, tokens(100)) == [(12, 0)]
    assert (await store.audit(owner, [tokens(100)])).drift == 0
    clock.turn(3_600)
    assert await all_due(store, owner) == []
    (left,) = [name for name in redis.scan_iter() if name != b"clock"]
    assert left.endswith(b":l")


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_every_write_renews_every_key_of_the_owner(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    longest = 366 * DAY

    def check(step: str) -> None:
        keys = [name for name in redis.scan_iter() if b"{q." in name]
        assert keys, f"after {step}"
        for key in keys:
            assert redis.ttl(key) > longest, f"{key!r} after {step}"
            redis.pexpire(key, 1_000_000)

    ref, other = await reserved(store, tokens(100), 9), fresh_ref()
    check("reserving")
    await reserved(store, requests(9), 1, owner=ref.key.owner, ref=StreamRef(ref.key, other.stream_id))
    check("reserving another")
    await store.renew([ref])
    check("renewing")
    await store.commit(ref)
    check("committing")
    await store.commit(ref, {"tokens": 1})
    check("a conflict")
    await store.release(StreamRef(ref.key, other.stream_id))
    check("releasing")


async def test_no_id_from_outside_reaches_a_key(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    for hostile in ("a:b", "{}", "}{", "*", "a\0b", "a\r\nb", "é", "🌍" * 64, "x" * 256):
        ref = StreamRef(SessionKey(hostile, hostile), hostile)
        await reserved(store, tokens(100), 9, ref=ref)
        assert refs(await store.held(hostile)) == [ref]
        await store.commit(ref)
    for name in redis_server.client(redis_database).scan_iter():
        assert re.fullmatch(rb"streamguard:(\{q\.[0-9a-f]{32}\}:[lrod]|\{quota\.[0-9]{1,2}\})", name)


NAMED_KEYS: Final = {"ledger_key", "records_key", "open_key", "done_key", "shard_key", "key"}


async def test_an_owners_keys_share_a_cluster_slot_and_scripts_name_them_all(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    ref = await reserved(store, tokens(100), 9)
    await store.commit(await reserved(store, tokens(100), 9, owner=ref.key.owner))
    redis = redis_server.client(redis_database)
    names = {name for name in redis.scan_iter() if b"{q." in name}
    assert names == set(store._keys(ref.key.owner))
    assert len({name.partition(b"}")[0] for name in names}) == 1
    directory = resources.files("streamguard.quota.redis") / "lua"
    for file in [*directory.iterdir(), *(directory / "include").iterdir()]:
        if file.is_file():
            called = re.findall(r"redis\.call\('(\w+)'(?:, (\w+))?", file.read_text())
            assert {key for command, key in called if command != "TIME"} <= NAMED_KEYS


async def test_namespaces_are_separate(redis_client: RedisClient) -> None:
    one, other = (RedisQuotaStore(redis_client, namespace=name) for name in ("one", "other"))
    ref = await reserved(one, tokens(100), 90)
    assert await counters(other, ref.key.owner, tokens(100)) == [(0, 0)]
    assert (await other.commit(ref)).state is ReservationState.UNKNOWN


async def test_a_key_that_expired_takes_nothing_of_importance_along(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    ref = await reserved(store, tokens(100), 90)
    ledger, records, held, _ = store._keys(ref.key.owner)
    redis.delete(ledger)
    assert (await store.commit(ref, {"tokens": 12})).changed
    other = await reserved(store, tokens(100), 50, owner=ref.key.owner)
    redis.delete(held)
    assert (await store.release(other)).changed
    third = await reserved(store, tokens(100), 50, owner=ref.key.owner)
    redis.delete(records)
    assert (await store.commit(third)).state is ReservationState.UNKNOWN
    await reserved(store, tokens(100), 1, owner=fresh_owner())


# -- what this version cannot read ------------------------------------------------------------------------------------


async def test_what_a_later_version_wrote_is_left_as_it_is(
    turned: TurnedClient, clock: ServerClock, redis_server: RedisServer, redis_database: int
) -> None:
    store = RedisQuotaStore(turned)
    redis = redis_server.client(redis_database)
    ref = await reserved(store, tokens(100), 9)
    clock.turn(store.hold_seconds + 1)
    name = store._keys(ref.key.owner)[0]
    redis.hset(name, "v", FORMAT_VERSION + 1)
    before = redis.hgetall(name)
    for call in (
        lambda: asked(store, ref, 9, tokens(100)),
        lambda: store.commit(ref),
        lambda: store.release(ref),
        lambda: store.renew([ref]),
        lambda: store.expire(ref),
        lambda: store.find(ref),
        lambda: store.held(ref.key.owner),
        lambda: store.status(ref.key.owner, [tokens(1)]),
        lambda: store.audit(ref.key.owner, [tokens(1)], repair=True),
    ):
        with pytest.raises(QuotaUnavailableError, match="later version"):
            await call()
    assert redis.hgetall(name) == before
    assert await store.due(limit=10, claim_seconds=60) == []
    redis.hset(name, "v", FORMAT_VERSION)
    clock.turn(61)
    assert refs(await all_due(store, ref.key.owner)) == [ref]


async def test_an_entry_of_a_later_version_does_not_hide_others(
    turned: TurnedClient, clock: ServerClock, redis_server: RedisServer, redis_database: int
) -> None:
    store = RedisQuotaStore(turned)
    redis = redis_server.client(redis_database)
    ref = await reserved(store, tokens(100), 9)
    (shard,) = [name for name in redis.scan_iter() if b"{quota." in name]
    redis.zadd(shard, {b"what is this": 0, b"WzFd": 1})
    clock.turn(store.hold_seconds + 1)
    assert refs(await all_due(store, ref.key.owner)) == [ref]
    assert redis.zscore(shard, b"what is this") is not None


async def test_a_key_that_something_else_wrote_is_reported(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    ref = await reserved(store, tokens(100), 9)
    records = store._keys(ref.key.owner)[1]
    redis.delete(records)
    redis.set(records, "something else", ex=60)
    with pytest.raises(QuotaInvalidError, match="something else"):
        await store.commit(ref)


async def test_an_audit_finds_and_repairs_what_is_wrong(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    redis = redis_server.client(redis_database)
    owner, quota = fresh_owner(), tokens(100)
    await store.commit(await reserved(store, quota, 30, owner=owner), {"tokens": 12})
    await reserved(store, quota, 40, owner=owner)
    ledger = store._keys(owner)[0]
    name = f"w:{quota.unit}:{quota.period_ms}"
    before = redis.hget(ledger, name)
    assert isinstance(before, bytes)
    redis.hset(ledger, name, before.replace(b'"12","40"', b'"20","35"'))
    (counted,) = (await store.audit(owner, [quota])).windows
    assert (counted.used, counted.used_expected, counted.reserved, counted.reserved_expected) == (20, 12, 35, 40)
    assert (await store.audit(owner, [quota], repair=True)).drift == 13
    assert (await store.audit(owner, [quota])).drift == 0
    assert await counters(store, owner, quota) == [(12, 40)]
    assert redis.hget(ledger, name) == before


# -- construction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold_seconds", [0, -1, 0.0001, 1e12, float("nan"), float("inf"), 15])
async def test_times_that_cannot_be_are_refused(redis_url: str, hold_seconds: float) -> None:
    with pytest.raises(ConfigurationError):
        RedisQuotaStore(RedisClient(redis_url), hold_seconds=hold_seconds)


async def test_what_is_refused_never_reaches_redis(
    store: RedisQuotaStore, redis_server: RedisServer, redis_database: int
) -> None:
    with pytest.raises(QuotaInvalidError):
        await asked(store, StreamRef(SessionKey("owner", "x" * 257), "stream"), 9, tokens(100))
    with pytest.raises(QuotaInvalidError):
        await asked(store, fresh_ref(), -1, tokens(100))
    assert redis_server.client(redis_database).dbsize() == 0
