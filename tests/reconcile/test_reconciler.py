"""The reconciler: batches, shares, poison, what a round says of itself, and what health says of the background."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard import Anonymous, StreamGuard
from streamguard.errors import StoreCorruptError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.reconcile import orphans
from streamguard.reconcile.orphans import PARTITIONED_ROUNDS, OrphanSweep
from streamguard.reconcile.reconciler import Reconciler
from streamguard.reconcile.results import Duty, Report, Result, Step, Treated
from streamguard.runtime import Bindings
from streamguard.stores.appends import Append
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import NewStream, Partition, Seal
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import epoch_of, registered, try_register
from streamguard.values import EventKind, Outcome, SessionKey, StreamRef, new_message_id, new_stream_id

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.lines import Line
from ..runtime.savers import Messages, eventually, meta_of, saving_to
from ..runtime.stage import KEY, Model, closed, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]


async def leave(store: StreamStore, number: int, *, protocol: str = "plain", binding: str = "chat") -> list[StreamRef]:
    """Streams whose writer is gone."""
    refs = [StreamRef(SessionKey("ana", new_message_id()), new_stream_id()) for _ in range(number)]
    for ref in refs:
        new = NewStream(ref, new_message_id(), protocol, binding, "")
        epoch = registered(await try_register(store, new, lease=0.001)).epoch
        await store.append([Append(ref, epoch, 1, [(EventKind.DATA, b"a")], refresh=False)])
    await eventually(lambda: all_due(store, refs), "their leases ran out")
    return refs


async def all_due(store: StreamStore, refs: list[StreamRef]) -> bool:
    return set(refs) <= set(await store.expired_leases(limit=10_000))


async def test_more_orphans_than_one_batch(stores: Stores, look: StreamStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among them some that stay due, first: they hide nothing (fails without: the rest of the last batch is left)."""
    monkeypatch.setattr(orphans, "BATCH", 4)
    unknown = await leave(look, 6, protocol="of-tomorrow")
    refs = await leave(look, 15)
    async with working(stores()) as worker:
        treated = await OrphanSweep(worker.runtime).run_once()
        assert {one.ref: (one.result, one.reason) for one in treated} == {
            **dict.fromkeys(refs, (Result.DONE, "interrupted")),
            **dict.fromkeys(unknown, (Result.LEFT, "unknown_protocol")),
        }
        for ref in refs:
            await closed(look, ref)
        assert set(await look.expired_leases(limit=100)) == set(unknown)


async def test_one_that_cannot_be_read_or_fails_holds_up_no_other(memory: MemoryStore) -> None:
    line = Line(memory)
    refs = await leave(memory, 8)
    async with working(line) as worker:
        line.errors["meta"] = [StoreCorruptError("no", operation="meta")]
        line.errors["take_over"] = [RuntimeError("an accident")]
        treated = await OrphanSweep(worker.runtime).run_once()
        assert sorted(one.reason for one in treated) == ["failed", *["interrupted"] * 6, "unreadable"]
        assert worker.faults() == [FaultCode.INTERNAL]
        assert len(await OrphanSweep(worker.runtime).run_once()) == 2
        for ref in refs:
            await closed(memory, ref)


async def test_when_the_store_fails_nothing_more_is_begun(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "CONCURRENCY", 1)
    line = Line(memory)
    await leave(memory, 5)
    async with working(line) as worker:
        sweep = OrphanSweep(worker.runtime)
        line.errors["take_over"] = [StoreUnavailableError("no", operation="take_over")]
        with pytest.raises(StoreUnavailableError):
            await sweep.run_once()
        assert (line.calls["take_over"], sweep.last_success) == (1, None)
        assert await sweep.sweep() == 5
        assert sweep.last_success is not None


async def test_a_stream_that_was_lost_to_another_worker_meanwhile(memory: MemoryStore) -> None:
    line = Line(memory)
    (ref,) = await leave(memory, 1)
    async with working(line) as worker:

        async def taken() -> None:
            await memory.take_over(ref, lease_seconds=60.0, force=True)

        for step in ("take_over", "seal"):
            line.before[step] = taken
            (treated,) = await OrphanSweep(worker.runtime).run_once()
            assert treated == Treated(ref, Duty.ORPHANS, Result.LEFT, "taken_by_another")
            entry = memory._tables.streams[(ref.key.owner, ref.key.session_id, ref.stream_id)]
            memory._tables.lease(entry, 0.0)
        assert await OrphanSweep(worker.runtime).sweep() == 1


async def test_workers_look_at_their_share_and_now_and_then_at_everything(memory: MemoryStore) -> None:
    one, two = Line(memory), Line(memory)
    settings = quick(lease_seconds=60.0, heartbeat_seconds=20.0, sweep_seconds=1.0, live_ttl_seconds=300.0)
    async with working(one, settings) as first, working(two, settings) as second:
        shares: dict[str, list[Partition | None]] = {"one": [], "two": []}
        sweeps = {"one": OrphanSweep(first.runtime), "two": OrphanSweep(second.runtime)}
        for _ in range(PARTITIONED_ROUNDS + 1):
            for name, sweep in sweeps.items():
                shares[name].append(await sweep._partition())
        for told in shares.values():
            assert told.count(None) == 1
            assert told[-2] is not None
            assert told[-2].of == 2
        assert shares["one"][-2] != shares["two"][-2]
        ended = asyncio.Event()

        async def sweeping() -> None:
            await sweeps["two"].run()
            ended.set()

        second.runtime.supervise("sweep", sweeping)
        await second.runtime.drain()
        await asyncio.wait_for(ended.wait(), 10)
        assert (await memory.partition("somebody", lease_seconds=1.0)).of == 2  # and the first


async def test_one_worker_goes_through_the_records_for_lost_entries(memory: MemoryStore) -> None:
    one, two = Line(memory), Line(memory)
    settings = quick(lease_seconds=120.0, heartbeat_seconds=20.0, sweep_seconds=40.0, live_ttl_seconds=600.0)
    async with working(one, settings) as first, working(two, settings) as second:
        sweeps = [OrphanSweep(first.runtime), OrphanSweep(second.runtime)]
        for sweep in sweeps:
            await sweep._partition()  # both are known
        rounds = PARTITIONED_ROUNDS + 2
        for _ in range(rounds):
            for sweep in sweeps:
                await sweep._round()
    assert sorted([one.calls["repair_indexes"], two.calls["repair_indexes"]]) == [0, rounds]


async def test_an_orphan_in_nobodys_share_is_found(memory: MemoryStore) -> None:
    """The worker whose share it is has died, and counts for long."""
    refs = await leave(memory, 8)
    for n in range(7):
        await memory.partition(f"dead-{n}", lease_seconds=60.0)
    settings = quick(lease_seconds=0.05, heartbeat_seconds=0.02, sweep_seconds=0.02)
    async with working(memory, settings) as worker:
        worker.runtime.supervise("orphans", OrphanSweep(worker.runtime).run)
        for ref in refs:
            await closed(memory, ref)


async def test_what_a_round_says(memory: MemoryStore) -> None:
    messages = Messages()
    messages.down = True
    owed_soon = quick(save_total_seconds=0.05, save_visible_seconds=0.2, outbox_retry_seconds=0.001)
    async with working(memory, owed_soon, bindings=saving_to(messages)) as worker:
        owed = (await worker.start(saying("a"))).ref
        await worker.idle()
        orphans_left = await leave(memory, 2, binding="unknown")
        reconciler = Reconciler(worker.runtime)
        await eventually(lambda: is_planned(reconciler, 3), "the save is due")
        rehearsed = await reconciler.rehearse(limit=100)
        assert rehearsed.dry_run
        assert {(one.ref, one.step) for one in rehearsed.planned} == {
            *((ref, Step.INTERRUPT) for ref in orphans_left),
            (owed, Step.SAVE),
        }
        assert all(one.waiting_seconds is not None and one.waiting_seconds > 0 for one in rehearsed.planned)
        assert (rehearsed.found, rehearsed.done, rehearsed.left) == (3, 0, 0)
        assert len(await memory.expired_leases(limit=10)) == 2, "a dry run changes nothing"
        report = await reconciler.once(patience=False)
        assert (report.dry_run, report.planned) == (False, ())
        assert report.reasons(Duty.ORPHANS) == {"interrupted": 2}
        assert report.found == report.done + report.left
        left = {one.reason for one in report.treated if one.ref == owed}
        assert left <= {"unavailable", "paused"}
        messages.down = False

        async def saved() -> bool:
            again = await reconciler.once(patience=False)
            return Treated(owed, Duty.OUTBOX, Result.DONE, "saved") in again.treated

        await eventually(saved, "it is saved")
        # Of a binding nobody here knows: closed, and its save left to whoever does.
        assert {(await meta_of(memory, ref)).state for ref in orphans_left} == {"closed"}
        assert {one.reason for one in (await reconciler.once(patience=False)).treated} <= {"unknown_binding"}


async def is_planned(reconciler: Reconciler, number: int) -> bool:
    return (await reconciler.rehearse(limit=100)).found == number


async def test_what_a_dry_run_says_of_each(memory: MemoryStore) -> None:
    interrupted, stopped, decided = await leave(memory, 3)
    (foreign,) = await leave(memory, 1, protocol="of-tomorrow")
    await memory.request_stop(stopped)
    await memory.seal(decided, epoch_of(decided), Seal(Outcome.COMPLETED, 1))
    strange, unsaved = [await enqueued(memory, payload=b'{"v":1,"user_messages":[]}') for _ in range(2)]
    for ref, binding in ((strange, "elsewhere"), (unsaved, "chat")):
        entry = memory._tables.streams[(ref.key.owner, ref.key.session_id, ref.stream_id)]
        entry.new = replace(entry.new, binding=binding)
    bindings = Bindings()
    bindings.register("chat", False)
    async with working(memory, bindings=bindings) as worker:
        reconciler = Reconciler(worker.runtime)
        report = await reconciler.rehearse(limit=100)
        assert {one.ref: one.step for one in report.planned} == {
            interrupted: Step.INTERRUPT,
            stopped: Step.STOP,
            decided: Step.FINISH,
            foreign: Step.LEAVE_PROTOCOL,
            strange: Step.LEAVE_BINDING,
            unsaved: Step.DROP,
        }
        assert len((await reconciler.rehearse(limit=1)).planned) == 2
        done = await reconciler.once(patience=False)
        assert {one.ref: one.reason for one in done.treated} == {
            interrupted: "interrupted",
            stopped: "stopped",
            decided: "completed",
            foreign: "unknown_protocol",
            strange: "unknown_binding",
            unsaved: "nothing",
        }


async def test_a_guard_reconciles_on_demand(redis_url: str) -> None:
    guard = StreamGuard(redis_url, authenticate=Anonymous("a secret of some length"), settings=quick())
    report = await guard.reconcile(dry_run=True)
    assert report == Report(dry_run=True, seconds=report.seconds)
    async with guard:
        report = await guard.reconcile()
        assert report == Report(dry_run=False, seconds=report.seconds)
        assert (await guard.reconcile(dry_run=True, limit=1)).found == 0
    assert (await guard.reconcile(patience=False)).found == 0


async def test_a_running_guards_round_does_not_wait_for_its_streams(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await asyncio.wait_for(Reconciler(worker.runtime).once(patience=False, alone=False), 20)
        model.end()
        assert (await worker.watch(stream)).outcome == Outcome.COMPLETED


async def test_health_says_when_reconciling_is_late(memory: MemoryStore) -> None:
    line = Line(memory)
    settings = quick(lease_seconds=0.05, heartbeat_seconds=0.02, sweep_seconds=0.01, outbox_seconds=0.01)
    async with working(line, settings, bindings=Bindings()) as worker:
        reconciler = Reconciler(worker.runtime)
        assert list(reconciler.concerns()) == []
        reconciler.supervise()
        await wait_until_async(
            lambda: line.calls["expired_leases"] and line.calls["claim_due"], description="both have begun"
        )
        line.hold("expired_leases")
        await wait_until_async(
            lambda: worker.runtime.health().reasons == ("reconciling_late:orphans",), description="one hangs"
        )
        assert worker.runtime.health().ready
        line.let_go("expired_leases")
        await wait_until_async(lambda: worker.runtime.health().reasons == (), description="it goes on")


async def test_a_duty_that_crashes_runs_again(memory: MemoryStore) -> None:
    line = Line(memory)
    settings = quick(lease_seconds=0.05, heartbeat_seconds=0.02, sweep_seconds=0.01, outbox_seconds=0.01)
    async with working(line, settings) as worker:
        line.errors["expired_leases"] = [RuntimeError("an accident")]
        Reconciler(worker.runtime).supervise()
        (ref,) = await leave(memory, 1)
        await closed(memory, ref)
        (told,) = worker.signals(Signal.TASK_RESTARTED)
        assert told.fields == {"task": "orphans", "crashes": 1}
        assert "task_restarted:orphans" in worker.runtime.health().reasons


def test_a_report_counts() -> None:
    ref = StreamRef(KEY, new_stream_id())
    done = Treated(ref, Duty.OUTBOX, Result.DONE, "saved")
    report = Report(dry_run=False, treated=(done, replace(done, result=Result.LEFT, reason="paused"), done))
    assert (report.found, report.done, report.left) == (3, 2, 1)
    assert report.reasons(Duty.OUTBOX) == {"saved": 2, "paused": 1}
    assert report.reasons(Duty.ORPHANS) == {}
