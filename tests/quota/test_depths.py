"""What quota stores tell operators: how many reservations there are, how many are left over, and whether counters are
right."""

from __future__ import annotations

from typing import TypeAlias

import anyio
import pytest

from streamguard.quota import MemoryQuotaStore, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.testing._quota_store.steps import fresh_owner, reserved, tokens

from ..harness.redis import RedisServer
from .clocks import Clock, TurnedClient

pytestmark = pytest.mark.anyio

MeasuredQuotaStore: TypeAlias = MemoryQuotaStore | RedisQuotaStore


@pytest.fixture(params=["memory", "redis"])
def turning(request: pytest.FixtureRequest) -> tuple[MeasuredQuotaStore, Clock]:
    """A store, and the clock that it goes by."""
    if request.param == "memory":
        clock = Clock()
        return MemoryQuotaStore(clock=clock), clock
    turned: TurnedClient = request.getfixturevalue("turned")
    return RedisQuotaStore(turned), request.getfixturevalue("clock")


async def test_what_nobody_settles_becomes_due_and_older(turning: tuple[MeasuredQuotaStore, Clock]) -> None:
    store, clock = turning
    settled, left = [await reserved(store, tokens(100), 9) for _ in range(2)]
    depths = await store.depths()
    assert (depths.reserved, depths.due) == (2, 0)
    await store.release(settled)
    await anyio.to_thread.run_sync(clock.turn, store.hold_seconds + 2)
    depths = await store.depths()
    assert (depths.reserved, depths.due) == (1, 1)
    assert depths.due_oldest_seconds == pytest.approx(2)
    await store.expire(left)
    depths = await store.depths()
    assert (depths.reserved, depths.due, depths.due_oldest_seconds) == (0, 0, None)


async def test_an_owners_counters_are_right_or_too_many_to_look_at(turning: tuple[MeasuredQuotaStore, Clock]) -> None:
    store, owner = turning[0], fresh_owner()
    assert await store.drift(owner, [tokens(100)], most=2) == 0
    for _ in range(3):
        await store.release(await reserved(store, tokens(100), 9, owner=owner))
    assert await store.drift(owner, [tokens(100)], most=3) == 0
    assert await store.drift(owner, [tokens(100)], most=2) is None


async def test_counters_that_are_off_show_how_far(
    redis_client: RedisClient, redis_server: RedisServer, redis_database: int
) -> None:
    store, quota, owner = RedisQuotaStore(redis_client), tokens(100), fresh_owner()
    await reserved(store, quota, 40, owner=owner)
    redis = redis_server.client(redis_database)
    ledger, name = store._keys(owner)[0], f"w:{quota.unit}:{quota.period_ms}"
    counted = redis.hget(ledger, name)
    assert isinstance(counted, bytes)
    redis.hset(ledger, name, counted.replace(b'"40"', b'"35"'))
    assert await store.drift(owner, [quota], most=10) == 5
