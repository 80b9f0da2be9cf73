"""No step takes long: what is more than a step's work is done by the next ones, in memory and in Redis alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streamguard.quota import Admitted, MemoryQuotaStore, QuotaStore, RedisQuotaStore, Reservation, ReservationState
from streamguard.quota.ledger import SWEEP
from streamguard.testing._quota_store.steps import counters, tokens
from streamguard.values import SessionKey, StreamRef

from ..harness.redis import RedisServer
from .clocks import ServerClock, TurnedClient

pytestmark = pytest.mark.anyio

MANY = SWEEP + 100
REFS = [StreamRef(SessionKey("ann", "s"), f"{number:05}") for number in range(MANY)]
QUOTA = tokens(2 * MANY)


@pytest.fixture
async def twins(
    redis_url: str, redis_server: RedisServer, redis_database: int
) -> AsyncIterator[tuple[ServerClock, tuple[QuotaStore, ...]]]:
    clock = ServerClock(redis_server.client(redis_database))
    async with TurnedClient(redis_url, command_seconds=30) as client:
        yield (
            clock,
            (
                MemoryQuotaStore(late_seconds=100, clock=clock),
                RedisQuotaStore(client, late_seconds=100),
            ),
        )


async def test_many_that_expire_at_once_do_so_in_a_few_steps(
    twins: tuple[ServerClock, tuple[QuotaStore, ...]],
) -> None:
    clock, stores = twins
    for store in stores:
        answers = await asyncio.gather(*(store.reserve(ref, {"tokens": 1}, [QUOTA]) for ref in REFS))
        assert all(isinstance(answer, Admitted) for answer in answers)
    clock.turn(60)
    for store in stores:
        assert await counters(store, "ann", QUOTA) == [(0, MANY - SWEEP)]
        assert await counters(store, "ann", QUOTA) == [(0, 0)]
    clock.turn(100)
    for store in stores:
        assert (await store.commit(REFS[-1])).state is ReservationState.COMMITTED
        assert (await store.commit(REFS[0])).state is ReservationState.UNKNOWN
        assert await counters(store, "ann", QUOTA) == [(1, 0)]
        assert (await store.audit("ann", [QUOTA])).drift == 0


async def test_one_that_a_step_did_not_come_to_is_expired_all_the_same(
    twins: tuple[ServerClock, tuple[QuotaStore, ...]],
) -> None:
    clock, stores = twins
    for store in stores:
        await asyncio.gather(*(store.reserve(ref, {"tokens": 1}, [QUOTA]) for ref in REFS))
    clock.turn(60)
    for store in stores:
        (answer,) = await store.renew(REFS[-1:])
        assert answer is ReservationState.EXPIRED
        assert await counters(store, "ann", QUOTA) == [(0, 0)]


async def test_many_that_are_due_are_listed_a_few_at_a_time(
    twins: tuple[ServerClock, tuple[QuotaStore, ...]],
) -> None:
    clock, stores = twins
    refs = REFS[:50]
    for store in stores:
        await asyncio.gather(*(store.reserve(ref, {"tokens": 1}, [QUOTA]) for ref in refs))
    clock.turn(60)
    for store in stores:
        lists: list[list[Reservation]] = [await store.due(limit=20, claim_seconds=10) for _ in range(4)]
        assert [len(found) for found in lists] == [20, 20, 10, 0]
        assert {one.ref for found in lists for one in found} == set(refs)
