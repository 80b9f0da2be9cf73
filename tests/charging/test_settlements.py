"""A reply's quota: settled once, whoever ends it (I8)."""

from __future__ import annotations

import asyncio

import pytest
from starlette.exceptions import HTTPException

from streamguard.errors import FaultError
from streamguard.faults import Fault, FaultCode
from streamguard.observations import Signal
from streamguard.quota import ReservationState
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.runtime import PartialCharge, QuotaTerms
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, QuotaState, StreamRef, Usage

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.counting import TOKENS, QuotaLine, asking, counting, state_of, used
from ..runtime.lines import Line
from ..runtime.savers import Messages, eventually, stored_in
from ..runtime.stage import KEY, Model, closed, dying, expired, log_of, quick, saying, terminals

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

OWING: dict[str, object] = {
    "settle_visible_seconds": 0.1,
    "quota_seconds": 0.3,
    "save_visible_seconds": 0.1,
    "save_total_seconds": 0.2,
    "outbox_seconds": 60.0,
    "outbox_retry_seconds": 0.01,
}


async def due(store: StreamStore, ref: StreamRef) -> None:
    """Wait until an entry may be looked at."""

    async def is_due() -> bool:
        return any(one.ref == ref and one.due_seconds <= 0 for one in await store.outbox_entries(dead=False, limit=10))

    await eventually(is_due, "its entry is due")


# -- in its end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no"), HTTPException(402), FaultError(Fault.of(FaultCode.PROVIDER_RATE_LIMITED))],
    ids=["error", "http", "fault"],
)
async def test_a_reply_that_fails_before_its_first_item_costs_nothing(memory: MemoryStore, error: Exception) -> None:
    quota = QuotaLine()
    async with counting(memory, quota) as worker:
        stream = await worker.open(asking(worker))
        stream.usage(tokens=9)
        model = Model()
        model.fail(error)
        worker.runtime.launch(stream, model)
        await stream.ended()
        meta = await closed(memory, stream.ref)
        assert (meta.quota, await state_of(quota, stream.ref)) == (QuotaState.SETTLED, ReservationState.RELEASED)
    assert await used(quota) == (0, 0)


@pytest.mark.parametrize(("partial", "charged"), [("consumed", 3), ("reserved", 40), ("nothing", 0)])
@pytest.mark.parametrize("how", ["stopped", "failed"])
async def test_what_a_partial_reply_costs(memory: MemoryStore, partial: PartialCharge, charged: int, how: str) -> None:
    quota = QuotaLine()
    async with counting(memory, quota, terms=QuotaTerms((TOKENS,), partial)) as worker:
        model = Model("a")
        stream = await worker.start(model, asking(worker))
        stream.usage(tokens=3)
        await wait_until_async(lambda: stream.acked, description="it said something")
        if how == "failed":
            model.fail(RuntimeError("no"))
        else:
            await worker.runtime.sessions.stop(KEY)
        reading = await worker.watch(stream)
        assert (reading.outcome, reading.named("streamguard.end")[0]["quota"]) == (how, "settled")
    assert await used(quota) == (charged, 0)


async def test_a_save_that_fails_refunds_nothing(memory: MemoryStore) -> None:
    quota, messages = QuotaLine(), Messages()
    messages.down = True
    async with counting(memory, quota, quick(**OWING), messages=messages) as worker:
        reading = await worker.tell(saying("a"), asking(worker))
        end = reading.named("streamguard.end")[0]
        assert (end["persisted"], end["quota"]) == ("pending", "settled")
    assert await used(quota) == (40, 0)


@pytest.mark.promise("I8")
async def test_a_commit_whose_reply_is_lost_charges_once(memory: MemoryStore) -> None:
    quota = QuotaLine()
    quota.lost["commit"] = 1
    async with counting(memory, quota) as worker:
        reading = await worker.tell(saying("a"), asking(worker))
        assert reading.named("streamguard.end")[0]["quota"] == "settled"
    assert (quota.calls["commit"], await used(quota)) == (2, (40, 0))


# -- owed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
async def test_what_cannot_be_settled_is_owed(stores: Stores, look: StreamStore, saved: bool) -> None:
    quota, messages = QuotaLine(), Messages() if saved else None
    quota.down.add("commit")
    async with counting(stores(), quota, quick(**OWING), messages=messages) as worker:
        stream = await worker.start(saying("a"), asking(worker))
        reading = await worker.watch(stream)
        assert reading.notices == [("quota_release_failed", "None")]
        (notice,) = reading.named("streamguard.notice")
        assert (notice["phase"], notice["severity"]) == ("quota", "warning")
        end = reading.named("streamguard.end")[0]
        assert (end["persisted"], end["quota"]) == ("yes" if saved else "not_asked", "pending")
        await due(look, stream.ref)
        await OutboxWorker(worker.runtime).sweep()
        assert (await closed(look, stream.ref)).quota is QuotaState.PENDING
        quota.down.clear()
        await due(look, stream.ref)
        await OutboxWorker(worker.runtime).sweep()
        meta = await closed(look, stream.ref)
        assert (meta.quota, await used(quota)) == (QuotaState.SETTLED, (40, 0))
        assert await look.outbox_entries(dead=False, limit=10) == []
        assert len(worker.signals(Signal.SETTLEMENT_RECOVERED)) == 1
        assert terminals(await log_of(look, stream.ref))[0].quota is QuotaState.PENDING
        if messages is not None:
            assert messages.calls["append"] == 1


@pytest.mark.parametrize("first", ["quota", "messages"])
async def test_a_stream_that_owes_both_is_discharged_when_both_are_done(
    stores: Stores, look: StreamStore, first: str
) -> None:
    quota, messages = QuotaLine(), Messages()
    quota.down.add("commit")
    messages.down = True
    async with counting(stores(), quota, quick(**OWING), messages=messages) as worker:
        stream = await worker.start(saying("a"), asking(worker))
        reading = await worker.watch(stream)
        end = reading.named("streamguard.end")[0]
        assert (end["persisted"], end["quota"]) == ("pending", "pending")
        await worker.runtime.idle()
        if first == "quota":
            quota.down.clear()
        else:
            messages.down = False
        outbox = OutboxWorker(worker.runtime)

        async def half_done() -> bool:
            await outbox.sweep()
            meta = await look.meta(stream.ref)
            assert meta is not None
            return (meta.persisted, meta.quota) == (("pending", "settled") if first == "quota" else ("yes", "pending"))

        await eventually(half_done, "the one is done")
        assert len(await look.outbox_entries(dead=False, limit=10)) == 1
        quota.down.clear()
        messages.down = False

        async def done() -> bool:
            await outbox.sweep()
            return not await look.outbox_entries(dead=False, limit=10)

        await eventually(done, "both are done")
        meta = await closed(look, stream.ref)
        assert (meta.persisted, meta.quota) == ("yes", "settled")
        assert (len(await stored_in(messages)), await used(quota)) == (1, (40, 0))


async def test_a_settlement_that_always_fails_becomes_a_dead_letter(memory: MemoryStore) -> None:
    quota = QuotaLine()
    quota.down.add("commit")
    async with counting(memory, quota, quick(**OWING, max_outbox_attempts=2)) as worker:
        stream = await worker.start(saying("a"), asking(worker))
        await worker.watch(stream)
        outbox = OutboxWorker(worker.runtime)

        async def buried() -> bool:
            await outbox.sweep()
            return bool(await memory.outbox_entries(dead=True, limit=10))

        await eventually(buried, "it is given up")
        (told,) = worker.signals(Signal.SAVE_BURIED)
        assert told.fault is not None
        assert told.fault.code is FaultCode.QUOTA_RELEASE_FAILED
        quota.down.clear()
        await memory.requeue(stream.ref)
        await outbox.sweep()
        assert (await closed(memory, stream.ref)).quota is QuotaState.SETTLED
    assert await used(quota) == (40, 0)


async def test_the_next_request_of_the_session_is_told(memory: MemoryStore) -> None:
    quota = QuotaLine()
    async with counting(memory, quota, quick(**OWING)) as worker:
        quota.down.add("commit")
        await worker.tell(saying("a"), asking(worker))
        quota.down.clear()
        stream = await worker.start(saying("b"), asking(worker))
        held = worker.runtime.reservations.held(stream.ref)
        assert held is not None
        assert held.owing
        reading = await worker.watch(stream)
        assert reading.notices == [("quota_release_failed", "earlier_reply")]
        assert (await worker.tell(saying("c"), asking(worker, 1))).notices == []


# -- without a log -------------------------------------------------------------------------------------------------


async def test_a_degraded_reply_is_settled(memory: MemoryStore) -> None:
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota) as worker:
        line.down = True
        stream = await worker.start(saying("a"), asking(worker))
        reading = await worker.watch(stream)
        assert reading.named("streamguard.end")[0]["quota"] == "settled"
        line.down = False
    assert await used(quota) == (40, 0)


@pytest.mark.long
async def test_a_degraded_reply_that_cannot_be_settled_is_settled_from_memory(memory: MemoryStore) -> None:
    """Its reservation is renewed meanwhile; once it is settled, its record says so."""
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota, quick(**OWING, drain_seconds=5.0)) as worker:
        model = Model("a")
        stream = await worker.start(model, asking(worker))
        await wait_until_async(lambda: stream.acked, description="it is logged")
        stream.degrade("test")
        quota.down.add("commit")
        model.end()
        reading = await worker.watch(stream)
        assert reading.named("streamguard.end")[0]["quota"] == "pending"
        await worker.idle()
        await worker.runtime.reservations.renew()
        assert quota.calls["renew"] == 1
        quota.down.clear()
        await worker.runtime.idle()
        assert (await closed(memory, stream.ref)).quota is QuotaState.SETTLED
    assert await used(quota) == (40, 0)


async def test_an_unlogged_end_written_late_is_settled_once(memory: MemoryStore) -> None:
    """The store goes away between the last append and the seal, and comes back."""
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota) as worker:
        line.broken |= {"seal", "seal_and_close", "close"}
        stream = await worker.start(saying("a"), asking(worker))
        reading = await worker.watch(stream)
        assert reading.named("streamguard.end")[0]["quota"] == "settled"
        line.broken.clear()
        await worker.idle()
        assert (await closed(memory, stream.ref)).quota is QuotaState.SETTLED
        assert (quota.calls["commit"], await used(quota)) == (1, (40, 0))


@pytest.mark.parametrize("charged", [False, True])
async def test_a_late_end_of_a_stream_that_is_lost_meanwhile_is_left_to_its_new_owner(
    memory: MemoryStore, charged: bool
) -> None:
    """A heartbeat tells its first writer of that while it saves the reply: its viewers follow the new owner."""
    quota, line, mine = QuotaLine(), Line(memory), Messages()
    settings = quick(save_visible_seconds=30.0, save_total_seconds=30.0)
    async with (
        counting(line, quota, settings, messages=mine) as one,
        counting(memory, quota, messages=Messages()) as two,
    ):
        line.broken |= {"seal", "ping"}
        mine.hold("append")
        stream = await one.start(saying("a"), asking(one) if charged else one.request())
        reading = asyncio.create_task(one.watch(stream))
        await wait_until_async(lambda: mine.waiting["append"], description="it cannot be sealed, and is being saved")
        reply = await memory.take_over(stream.ref, lease_seconds=5.0, force=True)
        assert reply.meta is not None
        line.broken.clear()
        await wait_until_async(lambda: stream.superseded, description="a heartbeat told")
        mine.let_go("append")
        await one.idle()
        assert (quota.calls["commit"], one.faults()) == (0, [])
        two.runtime.takeover.end_soon(reply.meta, Outcome.INTERRUPTED)
        assert (await reading).outcome == "interrupted"
        await closed(memory, stream.ref)
        assert await used(quota) == (40 * charged, 0)


# -- of dead workers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "charged"), [(True, 40), (False, 0)], ids=["spoken", "silent"])
async def test_an_orphan_is_settled_for_its_estimate(
    stores: Stores, look: StreamStore, said: bool, charged: int
) -> None:
    quota = QuotaLine()
    line = Line(look)
    async with counting(line, quota, dying(), clean=False) as dead, counting(stores(), quota) as other:
        model = Model(*["a"] if said else [])
        stream = await dead.start(model, asking(dead))
        if said:
            await wait_until_async(lambda: stream.acked, description="it said something")
        line.down = True
        await expired(look, stream.ref)
        await OrphanSweep(other.runtime).sweep()
        meta = await closed(look, stream.ref)
        assert (meta.seal and meta.seal.outcome, meta.quota) == (Outcome.INTERRUPTED, QuotaState.SETTLED)
        assert await used(quota) == (charged, 0)
        await OrphanSweep(other.runtime).sweep()
        line.down = False
        model.end()
        await dead.idle()
        assert await used(quota) == (charged, 0)


async def test_a_dead_worker_s_reply_costs_what_it_had_said_it_consumed(stores: Stores, look: StreamStore) -> None:
    """By its last heartbeat; what came after that nobody knows."""
    quota, line = QuotaLine(), Line(look)
    async with counting(line, quota, dying(), clean=False) as dead, counting(stores(), quota) as other:
        model = Model("a")
        stream = await dead.start(model, asking(dead))
        stream.usage(tokens=9)

        async def is_told() -> bool:
            meta = await look.meta(stream.ref)
            return meta is not None and meta.usage == Usage({"tokens": 9})

        await eventually(is_told, "a heartbeat told it")
        line.down = True
        stream.usage(tokens=3)
        await expired(look, stream.ref)
        await OrphanSweep(other.runtime).sweep()
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.usage, meta.quota) == (Usage({"tokens": 9}), QuotaState.SETTLED)
        assert await used(quota) == (9, 0)
        line.down = False
        model.end()
        await dead.idle()
        assert await used(quota) == (9, 0)


async def test_an_orphan_of_an_unknown_endpoint_is_left_pending(memory: MemoryStore) -> None:
    """To a worker that knows what it costs."""
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota, dying(), clean=False) as dead:
        stream = await dead.start(Model("a"), asking(dead))
        await wait_until_async(lambda: stream.acked, description="it said something")
        line.down = True
        await expired(memory, stream.ref)
        async with counting(memory, quota, quick(**OWING), binding="another") as other:
            await OrphanSweep(other.runtime).sweep()
            assert (await closed(memory, stream.ref)).quota is QuotaState.PENDING
            assert await used(quota) == (0, 40)
            await OutboxWorker(other.runtime).sweep()
            assert len(await memory.outbox_entries(dead=False, limit=10)) == 1
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        async with counting(memory, quota, quick(**OWING)) as knowing:
            await memory.retry_later(stream.ref, due_seconds=0.0, reason="test", ttl_seconds=60.0, count=False)
            await OutboxWorker(knowing.runtime).sweep()
            assert entry.quota is QuotaState.SETTLED
            assert await used(quota) == (40, 0)
        line.down = False
