"""A Redis that loses replies, scripts or everything, is full or away, or answers what is none of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from streamguard.errors import QuotaInvalidError, QuotaTimeoutError, QuotaUnavailableError
from streamguard.quota import Admitted, RedisQuotaStore, Refused, Reservation, ReservationState, Settlement
from streamguard.stores import RedisClient
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
from streamguard.values import SessionKey, StreamRef

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(redis_client: RedisClient) -> RedisQuotaStore:
    return RedisQuotaStore(redis_client)


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
