"""How a reservation ends where the usual way is barred: a degraded stream's record never says `pending` for ever, and a
reply that said nothing costs nothing, whoever ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from streamguard.faults import Fault, FaultCode
from streamguard.quota import MemoryQuotaStore
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.reconcile.reservations import ReservationSweep
from streamguard.runtime import FirstItem, LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, QuotaState, StreamRef

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.counting import QuotaLine, asking, counting, used
from ..runtime.lines import Line
from ..runtime.savers import eventually
from ..runtime.stage import KEY, Model, Worker, closed, dying, expired, quick

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

OWING: dict[str, object] = {"settle_visible_seconds": 0.1, "quota_seconds": 0.3}


async def degraded_and_pending(worker: Worker, quota: QuotaLine, before_end: Callable[[], None]) -> LiveStream:
    """A stream that lost its log, was said, and could not be settled in time."""
    model = Model("a")
    stream = await worker.start(model, asking(worker))
    await wait_until_async(lambda: stream.acked, description="it is logged")
    stream.degrade("test")
    quota.down.add("commit")
    before_end()
    model.end()
    reading = await worker.watch(stream)
    assert reading.named("streamguard.end")[0]["quota"] == "pending"
    return stream


async def says(store: StreamStore, ref: StreamRef, state: QuotaState) -> None:
    async def is_said() -> bool:
        meta = await store.meta(ref)
        return meta is not None and meta.quota is state

    await eventually(is_said, f"its record says {state}")


@pytest.mark.long
async def test_settled_while_the_store_is_away(memory: MemoryStore) -> None:
    """The record is written after the settlement: with what is true by then."""
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota, quick(**OWING, drain_seconds=5.0)) as worker:

        def store_goes() -> None:
            line.down = True

        stream = await degraded_and_pending(worker, quota, store_goes)
        quota.down.clear()

        async def is_settled() -> bool:
            return await used(quota) == (40, 0)

        await eventually(is_settled, "it is settled")
        line.down = False
        await worker.runtime.idle()
        assert (await closed(memory, stream.ref)).quota is QuotaState.SETTLED


@pytest.mark.long
async def test_settled_but_the_mark_does_not_get_through_at_once(memory: MemoryStore) -> None:
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota, quick(**OWING, drain_seconds=5.0)) as worker:
        stream = await degraded_and_pending(worker, quota, lambda: None)
        assert (await closed(memory, stream.ref)).quota is QuotaState.PENDING
        line.broken.add("update_meta")
        quota.down.clear()
        await wait_until_async(lambda: line.calls["update_meta"] >= 2, description="it was tried in vain")
        line.broken.clear()
        await worker.runtime.idle()
        assert (await closed(memory, stream.ref)).quota is QuotaState.SETTLED


@pytest.mark.long
async def test_settled_while_its_record_is_on_its_way(memory: MemoryStore) -> None:
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota, quick(**OWING, drain_seconds=5.0)) as worker:

        def hold() -> None:
            line.hold("declare_lost", after=True)

        stream = await degraded_and_pending(worker, quota, hold)
        quota.down.clear()

        async def is_settled() -> bool:
            return await used(quota) == (40, 0)

        await eventually(is_settled, "it is settled")
        line.let_go("declare_lost")
        await worker.runtime.idle()
        assert (await closed(memory, stream.ref)).quota is QuotaState.SETTLED


@pytest.mark.long
async def test_its_worker_dies_before_it_could_settle(memory: MemoryStore) -> None:
    """Its reservation expires; whoever sees to that says so in the record."""
    quota, mine = QuotaLine(MemoryQuotaStore(hold_seconds=0.2, stale_seconds=0.1)), Line(memory)
    dead_quota = QuotaLine(quota.inner)
    async with (
        counting(mine, dead_quota, quick(**OWING), clean=False) as dead,
        counting(memory, quota, quick(**OWING)) as other,
    ):
        stream = await degraded_and_pending(dead, dead_quota, lambda: None)
        await closed(memory, stream.ref)
        dead_quota.down.add("*")  # from here on it is dead
        mine.down = True

        async def is_expired() -> bool:
            await ReservationSweep(other.runtime).attempt()
            meta = await memory.meta(stream.ref)
            return meta is not None and meta.quota is QuotaState.NONE

        await eventually(is_expired, "its record says that nothing is reserved")
        assert await used(quota) == (0, 0)
        dead_quota.down.clear()


@pytest.mark.parametrize("how", ["status", "next request"])
@pytest.mark.long
async def test_its_worker_dies_between_settling_and_saying_so(memory: MemoryStore, how: str) -> None:
    """Nothing is left that expires: the next look at the session puts it right."""
    quota, mine = QuotaLine(), Line(memory)
    dead_quota = QuotaLine(quota.inner)
    async with (
        counting(mine, dead_quota, quick(**OWING), clean=False) as dead,
        counting(memory, quota, quick(**OWING)) as other,
    ):
        stream = await degraded_and_pending(dead, dead_quota, lambda: None)
        assert (await closed(memory, stream.ref)).quota is QuotaState.PENDING
        mine.broken.add("update_meta")
        await quota.inner.commit(stream.ref)
        if how == "status":
            await other.runtime.sessions.status(KEY)
        else:
            model = Model("b")
            later = await other.start(model, asking(other, 1))
            model.end()
            await other.watch(later)
        await says(memory, stream.ref, QuotaState.SETTLED)


# -- a reply that said nothing -----------------------------------------------------------------------------------------


async def silent(worker: Worker, *, protocol: str = "ui-message", notice: bool = False) -> tuple[LiveStream, Model]:
    """A stream that is late: what comes before its first item is logged, and nothing else."""
    model = Model()
    request = replace(asking(worker), protocol=worker.request(protocol=protocol).protocol)
    stream = await worker.start(model, request)
    assert await stream.first(0.01) is FirstItem.LATE
    if notice:
        stream.notices.tell(Fault.of(FaultCode.QUOTA_RELEASE_FAILED))
    if protocol == "ui-message" or notice:
        await wait_until_async(lambda: stream.acked > 0, description="that is logged")
    return stream, model


@pytest.mark.parametrize("notice", [False, True], ids=["plainly", "with a notice"])
@pytest.mark.parametrize("protocol", ["ui-message", "plain"])
async def test_killed_it_costs_nothing(stores: Stores, look: StreamStore, protocol: str, notice: bool) -> None:
    quota, line = QuotaLine(), Line(look)
    async with counting(line, quota, dying(), clean=False) as dead, counting(stores(), quota) as other:
        stream, model = await silent(dead, protocol=protocol, notice=notice)
        line.down = True
        await expired(look, stream.ref)
        await OrphanSweep(other.runtime).sweep()
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.silent) == (Outcome.INTERRUPTED, True)
        assert meta.quota is QuotaState.SETTLED
        assert await used(quota) == (0, 0)
        line.down = False
        model.end()
        await dead.idle()
        assert await used(quota) == (0, 0)


async def test_killed_after_its_first_word_it_costs_its_estimate(stores: Stores, look: StreamStore) -> None:
    quota, line = QuotaLine(), Line(look)
    async with counting(line, quota, dying(), clean=False) as dead, counting(stores(), quota) as other:
        stream, model = await silent(dead)
        model.say("a")
        await wait_until_async(lambda: stream.acked >= 3, description="it said something")
        line.down = True
        await expired(look, stream.ref)
        await OrphanSweep(other.runtime).sweep()
        await closed(look, stream.ref)
        assert await used(quota) == (40, 0)
        line.down = False
        model.end()
        await dead.idle()


@pytest.mark.parametrize("how", ["failed", "stopped", "drained", "degraded"])
async def test_alive_it_costs_nothing_either(memory: MemoryStore, how: str) -> None:
    quota = QuotaLine()
    async with counting(memory, quota, quick(drain_seconds=0.1)) as worker:
        stream, model = await silent(worker)
        if how == "degraded":
            stream.degrade("test")
        if how in ("failed", "degraded"):
            model.fail(ConnectionResetError())
        elif how == "stopped":
            await worker.runtime.sessions.stop(KEY)
        else:
            await worker.runtime.drain()
        await stream.ended()
        await worker.idle()
        meta = await closed(memory, stream.ref)
        assert meta.quota is QuotaState.SETTLED
        assert await used(quota) == (0, 0)


async def test_taken_over_to_be_replaced_it_costs_nothing(stores: Stores, look: StreamStore) -> None:
    quota, line = QuotaLine(), Line(look)
    settings = quick(replace_wait_seconds=0.1)
    async with counting(line, quota, dying(), clean=False) as dead, counting(stores(), quota, settings) as other:
        stream, model = await silent(dead)
        line.down = True
        following = Model("b")
        later = await other.start(following, replace(asking(other, 1), on_conflict="replace"))
        following.end()
        await other.watch(later)
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.silent) == (Outcome.STOPPED, True)
        await other.idle()
        assert await used(quota) == (1, 0)
        line.down = False
        model.end()
        await dead.idle()
