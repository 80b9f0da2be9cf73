"""What quota stores tell operators: how many reservations there are, how many are left over, and whether counters are
right."""

from __future__ import annotations

from typing import TypeAlias

import pytest

from streamguard.quota import MemoryQuotaStore, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.testing._quota_store.steps import fresh_owner, reserved, tokens

from ..harness.redis import RedisServer
from ..runtime.savers import eventually

pytestmark = pytest.mark.anyio

HOLD_SECONDS = 0.05

MeasuredQuotaStore: TypeAlias = MemoryQuotaStore | RedisQuotaStore


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> MeasuredQuotaStore:
    """Its reservations expire at once, unless they are renewed."""
    if request.param == "memory":
        return MemoryQuotaStore(hold_seconds=HOLD_SECONDS, stale_seconds=0.01)
    client: RedisClient = request.getfixturevalue("redis_client")
    return RedisQuotaStore(client, hold_seconds=HOLD_SECONDS, stale_seconds=0.01)


async def test_what_nobody_settles_becomes_due_and_older(store: MeasuredQuotaStore) -> None:
    settled, left = [await reserved(store, tokens(100), 9) for _ in range(2)]
    depths = await store.depths()
    assert depths.reserved == 2
    await store.release(settled)

    async def is_old() -> bool:
        depths = await store.depths()
        return (depths.due_oldest_seconds or 0.0) > HOLD_SECONDS

    await eventually(is_old, "the reservation is due, and has been for a while")
    depths = await store.depths()
    assert (depths.reserved, depths.due) == (1, 1)
    await store.expire(left)
    depths = await store.depths()
    assert (depths.reserved, depths.due, depths.due_oldest_seconds) == (0, 0, None)


async def test_an_owners_counters_are_right_or_too_many_to_look_at(store: MeasuredQuotaStore) -> None:
    owner = fresh_owner()
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
