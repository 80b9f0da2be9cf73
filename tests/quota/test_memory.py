"""The memory store against the contract, and what only it promises: bounded memory, nothing kept for ever."""

from __future__ import annotations

import pytest

from streamguard.errors import ConfigurationError, QuotaUnavailableError
from streamguard.quota import Admitted, MemoryQuotaStore, QuotaStore, ReservationState
from streamguard.testing import QuotaStoreSuite
from streamguard.testing._quota_store.steps import asked, counters, fresh_owner, fresh_ref, reserved, tokens

from .clocks import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestMemoryQuotaStore(QuotaStoreSuite):
    clock: Clock

    @pytest.fixture
    def store(self) -> QuotaStore:
        self.clock = Clock()
        return MemoryQuotaStore(clock=self.clock)

    async def advance(self, seconds: float) -> None:
        self.clock.turn(seconds)


# -- what only a store in memory promises ----------------------------------------------------------------------------


async def test_a_full_store_refuses_what_is_new_and_keeps_what_it_has() -> None:
    store = MemoryQuotaStore(max_reservations=2)
    owner = fresh_owner()
    first, second = [await reserved(store, tokens(100), 10, owner=owner) for _ in range(2)]
    for ref in (fresh_ref(owner), fresh_ref()):
        with pytest.raises(QuotaUnavailableError) as caught:
            await asked(store, ref, 10, tokens(100))
        assert caught.value.retryable
    assert isinstance(await asked(store, first, 10, tokens(100)), Admitted)
    assert (await store.commit(second)).changed
    assert await counters(store, owner, tokens(100)) == [(10, 10)]


async def test_forgetting_makes_room(clock: Clock) -> None:
    store = MemoryQuotaStore(max_reservations=1, remember_seconds=60, late_seconds=60, clock=clock)
    for settles in (True, False, True):
        ref = await reserved(store, tokens(100), 10)
        if settles:
            await store.commit(ref)
        clock.turn(store.hold_seconds + 60)


async def test_owners_who_are_gone_are_forgotten(clock: Clock) -> None:
    store = MemoryQuotaStore(remember_seconds=60, late_seconds=60, clock=clock)
    for number in range(300):
        await reserved(store, tokens(100), 10, owner=f"owner-{number}")
    clock.turn(367 * 86_400)
    for _ in range(5):
        await reserved(store, tokens(100), 10, owner="somebody")
        clock.turn(60)
    assert list(store._ledgers) == ["somebody"]
    assert store._count <= 2
    assert len(store._visits.sorted()) == 1


async def test_what_is_forgotten_is_unknown_and_still_counted(clock: Clock) -> None:
    store = MemoryQuotaStore(remember_seconds=60, clock=clock)
    ref = await reserved(store, tokens(100), 30)
    await store.commit(ref, {"tokens": 12})
    clock.turn(61)
    assert (await store.commit(ref, {"tokens": 12})).state is ReservationState.UNKNOWN
    assert await counters(store, ref.key.owner, tokens(100)) == [(12, 0)]
    assert (await store.audit(ref.key.owner, [tokens(100)])).drift == 0


async def test_renewing_for_long_takes_no_more_memory(clock: Clock) -> None:
    store = MemoryQuotaStore(hold_seconds=3_600, clock=clock)
    ref = await reserved(store, tokens(100), 30)
    for _ in range(1_000):
        clock.turn(5)
        await store.renew([ref])
    assert len(store._ledgers[ref.key.owner]._open._heap) < 100


async def test_an_audit_finds_and_repairs_what_is_wrong() -> None:
    store = MemoryQuotaStore()
    owner, quota = fresh_owner(), tokens(100)
    await store.commit(await reserved(store, quota, 30, owner=owner), {"tokens": 12})
    await reserved(store, quota, 40, owner=owner)
    window = store._ledgers[owner]._window(quota.unit, quota.period_ms)
    window.used, window.held = 20, 35
    (counted,) = (await store.audit(owner, [quota])).windows
    assert (counted.used, counted.used_expected, counted.reserved, counted.reserved_expected) == (20, 12, 35, 40)
    assert (await store.audit(owner, [quota], repair=True)).drift == 13
    assert (await store.audit(owner, [quota])).drift == 0
    assert await counters(store, owner, quota) == [(12, 40)]


@pytest.mark.parametrize(
    "times",
    [
        {"hold_seconds": 0},
        {"hold_seconds": float("nan")},
        {"hold_seconds": 1e9},
        {"stale_seconds": 60},
        {"stale_seconds": -1},
        {"remember_seconds": 0},
        {"late_seconds": float("inf")},
    ],
)
def test_times_are_positive_and_stale_comes_before_expired(times: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        MemoryQuotaStore(**times)  # type: ignore[arg-type] # only times are given


@pytest.mark.parametrize(("limit", "claim_seconds"), [(0, 1), (-1, 1), (1, -1), (1, float("nan"))])
async def test_a_claim_is_of_something_and_for_some_time(limit: int, claim_seconds: float) -> None:
    with pytest.raises(ValueError, match="claim_seconds"):
        await MemoryQuotaStore().due(limit=limit, claim_seconds=claim_seconds)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_size_it_does_not_have_is_the_callers_mistake(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        await MemoryQuotaStore().held("ann", limit=limit)


async def test_it_needs_nothing_and_warns_of_nothing() -> None:
    store = MemoryQuotaStore()
    assert await store.start() == []
    ref = await reserved(store, tokens(100), 30)
    await store.aclose()
    assert (await store.release(ref)).changed
