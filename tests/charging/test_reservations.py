"""Reservations: made before a reply is registered, renewed while it runs, ended where nobody settles them (I8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamguard.errors import FaultError, QuotaInvalidError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.quota import MemoryQuotaStore, Quota, ReservationState
from streamguard.reconcile.reservations import ReservationSweep
from streamguard.reconcile.results import Result
from streamguard.runtime import QuotaRefusedError
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import QuotaState, StreamRef, new_stream_id

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.counting import TOKENS, QuotaLine, asking, counting, state_of, used
from ..runtime.lines import Line
from ..runtime.savers import eventually
from ..runtime.stage import KEY, Model, closed, read, saying

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

# -- before the stream ---------------------------------------------------------------------------------------------


async def test_a_completed_reply_costs_what_it_consumed(stores: Stores, look: StreamStore) -> None:
    """Promise I8."""
    quota = QuotaLine()
    async with counting(stores(), quota) as worker:
        model = Model("a")
        stream = await worker.start(model, asking(worker))
        assert await used(quota) == (0, 40)
        stream.usage(input_tokens=7, output_tokens=5)
        model.end()
        reading = await worker.watch(stream)
        assert reading.named("streamguard.end")[0]["quota"] == "settled"
        assert await used(quota) == (12, 0)
        meta = await closed(look, stream.ref)
        assert meta.quota is QuotaState.SETTLED
        assert quota.calls["commit"] == 1


async def test_a_reply_that_says_nothing_of_its_usage_costs_its_estimate(memory: MemoryStore) -> None:
    quota = QuotaLine()
    async with counting(memory, quota) as worker:
        await worker.tell(saying("a"), asking(worker))
    assert await used(quota) == (40, 0)


async def test_what_does_not_fit_is_refused_before_anything_is_registered(memory: MemoryStore) -> None:
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota) as worker:
        model = Model("a")
        first = await worker.start(model, asking(worker, 70))
        with pytest.raises(QuotaRefusedError) as held:
            await worker.open(replace(asking(worker, 40), key=replace(KEY, session_id="chat-2")))
        fault = held.value.fault
        assert (fault.code, fault.reason, fault.status) == (FaultCode.QUOTA_EXCEEDED, "held", 429)
        assert fault.retryable
        assert fault.retry_after_seconds == 5
        assert [standing.remaining for standing in held.value.standings] == [30]
        with pytest.raises(QuotaRefusedError) as large:
            await worker.open(replace(asking(worker, 101), key=replace(KEY, session_id="chat-2")))
        assert (large.value.fault.reason, large.value.fault.retryable) == ("too_large", False)
        assert large.value.fault.retry_after_seconds is None
        assert line.calls["register"] == 1
        assert worker.faults() == [FaultCode.QUOTA_EXCEEDED] * 2
        model.end()
        await worker.watch(first)


@pytest.mark.parametrize("how", ["down", "late", "lost"])
async def test_a_quota_that_does_not_answer_fails_closed(memory: MemoryStore, how: str) -> None:
    """What may have been reserved is released."""
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota) as worker:
        if how == "down":
            quota.down.add("reserve")
        elif how == "late":
            quota.hold("reserve")
        else:
            quota.lost["reserve"] = 1
        with pytest.raises(FaultError) as refused:
            await worker.open(asking(worker))
        assert (refused.value.fault.code, refused.value.fault.status) == (FaultCode.QUOTA_UNAVAILABLE, 503)
        assert "quota_unreachable" in worker.runtime.health().reasons or quota.calls["release"]
        await wait_until_async(lambda: quota.calls["release"], description="it is released")
        await worker.runtime.idle()
        assert await used(quota) == (0, 0)
        assert line.calls["register"] == 0
        quota.down.clear()
        if how == "late":
            quota.let_go("reserve")
        await worker.tell(saying("a"), asking(worker))
        assert await used(quota) == (40, 0)
        assert "quota_unreachable" not in worker.runtime.health().reasons


async def test_a_quota_that_does_not_answer_may_be_ignored(memory: MemoryStore) -> None:
    """Whether it was reserved shows when it is settled: charged once if it was."""
    quota = QuotaLine()
    async with counting(memory, quota) as worker:
        quota.lost["reserve"] = 1
        reading = await worker.tell(saying("a"), asking(worker, on_failure="continue"))
        assert reading.named("streamguard.end")[0]["quota"] == "settled"
        quota.down.add("reserve")
        reading = await worker.tell(saying("a"), asking(worker, on_failure="continue"))
        assert reading.named("streamguard.end")[0]["quota"] == "none"
    assert await used(quota) == (40, 0)


async def test_amounts_no_quota_takes_are_an_internal_failure(memory: MemoryStore) -> None:
    quota = QuotaLine()
    quota.errors["reserve"] = QuotaInvalidError("no", operation="reserve")
    async with counting(memory, quota) as worker:
        with pytest.raises(FaultError) as refused:
            await worker.open(asking(worker))
        assert (refused.value.fault.code, refused.value.fault.status) == (FaultCode.INTERNAL, 500)


async def test_a_conflict_releases(memory: MemoryStore) -> None:
    quota = QuotaLine()
    async with counting(memory, quota) as worker:
        model = Model("a")
        stream = await worker.start(model, asking(worker))
        with pytest.raises(FaultError) as refused:
            await worker.open(asking(worker))
        assert refused.value.fault.code is FaultCode.CONFLICT_ACTIVE
        await wait_until_async(lambda: quota.calls["release"], description="the second one's is released")
        assert await used(quota) == (0, 40)
        model.end()
        await worker.watch(stream)
    assert await used(quota) == (40, 0)


async def test_a_request_that_joins_is_counted_once(memory: MemoryStore) -> None:
    """Even where there is no room for another."""
    quota = QuotaLine()
    async with counting(memory, quota) as worker:
        model = Model("a")
        request = replace(asking(worker, 80), on_conflict="join", fingerprint="same")
        stream = await worker.start(model, request)
        joined = await worker.runtime.open(request)
        assert joined.ref == stream.ref
        assert quota.calls["reserve"] == 1
        model.end()
        await worker.watch(stream)
    assert await used(quota) == (80, 0)


async def test_a_store_that_refuses_registration_releases(memory: MemoryStore) -> None:
    quota, line = QuotaLine(), Line(memory)
    async with counting(line, quota) as worker:
        line.broken.add("register")
        with pytest.raises(FaultError) as refused:
            await worker.open(replace(asking(worker), on_store_failure="fail"))
        assert refused.value.fault.code is FaultCode.STORE_UNAVAILABLE
        await wait_until_async(lambda: quota.calls["release"], description="it is released")
        line.broken.clear()
    assert await used(quota) == (0, 0)


# -- reservations that nobody settles ------------------------------------------------------------------------------


@pytest.mark.long
async def test_live_reservations_are_renewed_and_never_ended(memory: MemoryStore) -> None:
    quota = QuotaLine(MemoryQuotaStore(hold_seconds=0.3, stale_seconds=0.2))
    async with counting(memory, quota) as worker:
        model = Model("a")
        stream = await worker.start(model, asking(worker))
        await wait_until_async(lambda: quota.calls["renew"] >= 6, description="it was renewed for twice its time")
        assert await ReservationSweep(worker.runtime).run_once() == []
        assert await used(quota) == (0, 40)
        quota.down.add("renew")

        async def over() -> bool:
            return await state_of(quota, stream.ref) is not ReservationState.RESERVED

        await eventually(over, "nobody renewed it")
        (left,) = await ReservationSweep(worker.runtime).run_once()
        assert (left.result, left.reason) == (Result.LEFT, "live")
        model.end()
        await worker.watch(stream)
    assert await used(quota) == (40, 0)


async def test_a_reservation_without_a_stream_expires(memory: MemoryStore) -> None:
    """Its worker died between reserving and registering."""
    quota = QuotaLine(MemoryQuotaStore(hold_seconds=0.2, stale_seconds=0.1))
    ref = StreamRef(KEY, new_stream_id())
    await quota.reserve(ref, {"tokens": 40}, (TOKENS,))
    async with counting(memory, quota) as worker:
        sweep = ReservationSweep(worker.runtime)

        async def ended() -> bool:
            return [one.result for one in await sweep.run_once()] == [Result.DONE]

        await eventually(ended, "it is ended")
        assert [seen.ref for seen in worker.signals(Signal.RESERVATION_EXPIRED)] == [ref]
        assert await sweep.run_once() == []
    assert await used(quota) == (0, 0)


async def test_the_quota_s_outage_shows_in_health_and_passes(memory: MemoryStore) -> None:
    quota = QuotaLine()
    async with counting(memory, quota) as worker:
        stream = await worker.start(model := Model("a"), asking(worker, quota=Quota(limit=100, per="day")))
        quota.down.add("*")
        await worker.runtime.reservations.renew()
        assert "quota_unreachable" in worker.runtime.health().reasons
        assert worker.runtime.health().ready
        assert await ReservationSweep(worker.runtime).attempt() == []
        quota.down.clear()
        await worker.runtime.reservations.renew()
        assert worker.runtime.health().reasons == ()
        model.end()
        assert (await read(worker.view(stream))).outcome == "completed"
