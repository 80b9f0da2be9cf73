"""The Redis store against the contract, on a real Redis, and what only it promises: keys, TTLs, errors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Final

import anyio
import pytest

from streamguard.errors import (
    ConfigurationError,
    QuotaInvalidError,
    QuotaTimeoutError,
    QuotaUnavailableError,
)
from streamguard.quota import Admitted, QuotaStore, RedisQuotaStore, Refused, Reservation, ReservationState, Settlement
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

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async
from .clocks import ServerClock, TurnedClient

pytestmark = pytest.mark.anyio

DAY = 86_400


@pytest.fixture
def store(redis_client: RedisClient) -> RedisQuotaStore:
    return RedisQuotaStore(redis_client)


@pytest.fixture
def clock(redis_server: RedisServer, redis_database: int) -> ServerClock:
    return ServerClock(redis_server.client(redis_database))


@pytest.fixture
async def turned(redis_url: str, clock: ServerClock) -> AsyncIterator[TurnedClient]:
    """Goes by `clock`."""
    async with TurnedClient(redis_url, command_seconds=5) as client:
        yield client


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


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def fragile(proxy: FaultProxy, redis_database: int) -> AsyncIterator[RedisQuotaStore]:
    async with RedisClient(proxy.redis_url(redis_database), command_seconds=0.4) as client:
        store = RedisQuotaStore(client)
        assert await store.start() == []
        await store.commit(await reserved(store, tokens(100), 9))  # the server knows the scripts from now on
        yield store


@pytest.mark.parametrize("cut", [True, False], ids=["connection cut", "silence"])
async def test_steps_whose_replies_were_lost_are_repeated_without_harm(
    fragile: RedisQuotaStore, proxy: FaultProxy, cut: bool
) -> None:
    ref = StreamRef(SessionKey(fresh_owner(), "session"), "the-stream")
    error = QuotaUnavailableError if cut else QuotaTimeoutError

    def this_step(request: bytes) -> bool:
        return b"the-stream" in request  # not the index, which names streams in base64

    proxy.lose_reply(this_step, cut=cut)
    with pytest.raises(error) as caught:
        await asked(fragile, ref, 30, tokens(100))
    assert (caught.value.operation, caught.value.retryable) == ("reserve", True)
    assert isinstance(await asked(fragile, ref, 30, tokens(100)), Admitted)
    assert await counters(fragile, ref.key.owner, tokens(100)) == [(0, 30)]
    proxy.lose_reply(this_step, cut=cut)
    with pytest.raises(error):
        await fragile.commit(ref, {"tokens": 12})
    assert await fragile.commit(ref, {"tokens": 12}) == Settlement(ReservationState.COMMITTED, {"tokens": 12})
    assert await counters(fragile, ref.key.owner, tokens(100)) == [(12, 0)]


async def test_a_step_that_never_arrived_is_repeated(fragile: RedisQuotaStore, proxy: FaultProxy) -> None:
    ref = StreamRef(SessionKey(fresh_owner(), "session"), "the-stream")
    proxy.lose_request(b"the-stream")
    with pytest.raises(QuotaUnavailableError):
        await asked(fragile, ref, 30, tokens(100))
    assert await counters(fragile, ref.key.owner, tokens(100)) == [(0, 0)]
    assert isinstance(await asked(fragile, ref, 30, tokens(100)), Admitted)


async def test_what_is_settled_stays_settled_when_the_index_cannot_be_reached(
    fragile: RedisQuotaStore, proxy: FaultProxy
) -> None:
    ref = await reserved(fragile, tokens(100), 9)
    proxy.lose_request(b"{quota.")
    assert (await fragile.commit(ref)).changed


async def test_a_restart_that_loses_everything_has_explicit_outcomes(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with RedisClient(server.url, command_seconds=5) as client:
        store = RedisQuotaStore(client)
        quota = tokens(100)
        committing, releasing, renewing = [await reserved(store, quota, 30, owner="ann") for _ in range(3)]
        server.kill()
        for call in (lambda: store.commit(committing), lambda: store.renew([renewing])):
            with pytest.raises(QuotaUnavailableError):
                await call()
        server.restart(empty=True)
        unknown = Settlement(ReservationState.UNKNOWN)
        assert await store.commit(committing, {"tokens": 12}) == unknown
        assert await store.release(releasing) == unknown
        assert await store.expire(renewing) == unknown
        assert await store.renew([renewing]) == [ReservationState.UNKNOWN]
        assert await store.find(renewing) is None
        assert await store.due(limit=10, claim_seconds=1) == []
        assert await counters(store, "ann", quota) == [(0, 0)]
        await store.commit(await reserved(store, quota, 100, owner="ann"))
        assert await counters(store, "ann", quota) == [(100, 0)]


async def test_a_server_that_cannot_be_reached_is_a_warning_at_start_and_then_unavailable(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    server.kill()
    async with RedisClient(server.url) as client:
        store = RedisQuotaStore(client)
        (warning,) = await store.start()
        assert "nothing can be stored" in warning
        for call in (
            lambda: asked(store, fresh_ref(), 9, tokens(100)),
            lambda: store.due(limit=1, claim_seconds=1),
            lambda: store.status("ann", [tokens(1)]),
        ):
            with pytest.raises(QuotaUnavailableError):
                await call()
        server.start()
        await reserved(store, tokens(100), 9)


async def test_scripts_the_server_forgot_are_loaded_again(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with RedisClient(server.url, command_seconds=5) as client:
        store = RedisQuotaStore(client)
        ref = await reserved(store, tokens(100), 9)
        server.client().script_flush()
        assert (await store.commit(ref)).changed
        await reserved(store, tokens(100), 9, owner=ref.key.owner)


async def test_a_full_server_admits_nothing_and_still_settles(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(config={"maxmemory-policy": "noeviction"})
    async with RedisClient(server.url, command_seconds=5) as client:
        store = RedisQuotaStore(client)
        quota = tokens(100)
        committed, released, renewed = [await reserved(store, quota, 9, owner="ann") for _ in range(3)]
        server.client().config_set("maxmemory", "1")
        with pytest.raises(QuotaUnavailableError, match="OOM"):
            await asked(store, fresh_ref("ann"), 9, quota)
        assert (await store.commit(committed, {"tokens": 7})).changed
        assert (await store.release(released)).changed
        assert await store.renew([renewed]) == [ReservationState.RESERVED]
        assert await counters(store, "ann", quota) == [(7, 9)]
        server.client().config_set("maxmemory", "0")
        await reserved(store, quota, 9, owner="ann")


async def test_a_closed_client_is_unavailable(redis_url: str) -> None:
    async with RedisClient(redis_url, command_seconds=5) as client:
        store = RedisQuotaStore(client)
        ref = await reserved(store, tokens(100), 9)
        await store.aclose()
        assert (await store.commit(ref)).changed  # a store closes no client it did not make
    with pytest.raises(QuotaUnavailableError, match="closed"):
        await store.release(ref)


@pytest.mark.parametrize(
    "reply", [None, 7, b"\xff", [], [b"admitted"], [b"admitted", [], []], [b"committed", 1], [b"found", 1, [b"1"]]]
)
async def test_an_answer_that_is_none_of_ours_is_reported(reply: object) -> None:
    class Odd:
        async def start(self) -> list[str]:
            return []

        async def call(self, operation: str, script: str, keys: object, args: object = ()) -> object:
            return 1 if "KEYS: shard_key" in script else reply

    store = RedisQuotaStore(Odd())
    for call in (
        lambda: asked(store, fresh_ref(), 9, tokens(100)),
        lambda: store.commit(fresh_ref()),
        lambda: store.status("ann", [tokens(1)]),
        lambda: store.audit("ann", [tokens(1), requests(1)]),
    ):
        with pytest.raises(QuotaInvalidError, match="damaged"):
            await call()
    # The reservations of others are renewed in the same call: those of a damaged ledger are unknown, and that is all.
    refs = [fresh_ref(), fresh_ref("ann"), fresh_ref("ann")]
    assert await store.renew(refs) == [ReservationState.UNKNOWN] * 3


async def test_a_refusal_that_the_numbers_do_not_bear_out_is_not_believed() -> None:
    class Odd:
        async def start(self) -> list[str]:
            return []

        async def call(self, operation: str, script: str, keys: object, args: object = ()) -> object:
            return 1 if "KEYS: shard_key" in script else [b"refused", [0, 0, 1]]

    with pytest.raises(QuotaUnavailableError, match="unexpected"):
        await asked(RedisQuotaStore(Odd()), fresh_ref(), 9, tokens(100))


async def test_the_account_documented_for_streams_suffices(own_redis: Callable[..., RedisServer]) -> None:
    """The rule is the one in docs/reference/redis.md."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "redis.md"
    (rule,) = [line for line in page.read_text().splitlines() if line.startswith("ACL SETUSER")]
    server = own_redis()
    server.client().execute_command(*rule.replace("<password>", "secret").split())  # type: ignore[no-untyped-call] # redis-py
    async with RedisClient(f"redis://streamguard:secret@127.0.0.1:{server.port}", command_seconds=5) as client:
        store = RedisQuotaStore(client)
        hasty = RedisQuotaStore(client, hold_seconds=0.002, stale_seconds=0.001, remember_seconds=0.001)
        assert await store.start() == []
        committed, released = [await reserved(store, tokens(100), 9, owner="ann") for _ in range(2)]
        expired = await reserved(hasty, tokens(100), 9, owner="ann")
        await store.renew([committed, released])
        await store.commit(committed)
        await store.commit(committed, {"tokens": 1})
        await hasty.release(released)
        assert isinstance(await asked(store, fresh_ref("ann"), 100, tokens(100)), Refused)
        due: Callable[[], Awaitable[list[Reservation]] | list[Reservation]] = partial(
            all_due, store, "ann", claim_seconds=60.0
        )
        assert refs(await wait_until_async(due, description="the hasty one's hold is over")) == [expired]
        assert await store.find(released) is None
        await store.expire(expired)
        assert await store.held("ann") == []
        assert await counters(store, "ann", tokens(100)) == [(9, 0)]
        assert (await store.audit("ann", [tokens(100)], repair=True)).drift == 0


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
