"""Clauses of the store contract about what workers say of themselves, and about how much work waits."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.records import Close, Status, Terminal
from ...stores.roles.worker_reports import MAX_WORKERS
from ...stores.store import StreamStore
from ...values import Outcome, Persisted, QuotaState, new_message_id
from .clauses import Clauses
from .steps import LONG_SECONDS, begin, meta, new_stream, seal

__all__ = ["WorkerReportClauses"]


class WorkerReportClauses(Clauses):
    """What workers tell operators."""

    async def test_a_workers_last_report_is_kept_as_it_was_given(self, store: StreamStore) -> None:
        one, two = new_message_id(), new_message_id()
        await store.report_worker(one, b"first", keep_seconds=LONG_SECONDS)
        await store.report_worker(one, b"\xffsecond:2", keep_seconds=LONG_SECONDS)
        await store.report_worker(two, b"{}", keep_seconds=LONG_SECONDS)
        assert await _reports(store, one, two) == {one: b"\xffsecond:2", two: b"{}"}
        await store.report_worker(one, b"", keep_seconds=LONG_SECONDS)
        assert await _reports(store, one, two) == {two: b"{}"}
        await store.report_worker(two, b"", keep_seconds=LONG_SECONDS)

    async def test_a_worker_that_says_no_more_grows_old_and_is_forgotten(self, store: StreamStore) -> None:
        lasting, short = new_message_id(), new_message_id()
        await store.report_worker(lasting, b"1", keep_seconds=LONG_SECONDS)
        await store.report_worker(short, b"1", keep_seconds=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        found = {one.worker: one.age_seconds for one in await store.worker_reports(limit=MAX_WORKERS)}
        assert short not in found
        assert self.short_seconds <= found[lasting] < LONG_SECONDS
        await store.report_worker(lasting, b"", keep_seconds=LONG_SECONDS)

    async def test_no_more_reports_than_asked_for(self, store: StreamStore) -> None:
        workers = [new_message_id() for _ in range(3)]
        for worker in workers:
            await store.report_worker(worker, b"1", keep_seconds=LONG_SECONDS)
        assert len(await store.worker_reports(limit=2)) == 2
        for worker in workers:
            await store.report_worker(worker, b"", keep_seconds=LONG_SECONDS)

    async def test_what_waits_is_counted(self, store: StreamStore) -> None:
        before = await store.depths()
        await begin(store)
        ref = await begin(store)
        running = await store.depths()
        assert running.active == before.active + 2
        await store.enqueue(ref, due_seconds=0.0)
        await seal(store, ref)
        terminal = Terminal(Outcome.COMPLETED, Persisted.PENDING, QuotaState.NONE, "m")
        close = Close(ref, (await meta(store, ref)).epoch, [], terminal, LONG_SECONDS, b"{}")
        assert (await store.close(close)).status is Status.OK
        await self.advance(self.short_seconds)
        owing = await store.depths()
        assert (owing.active, owing.outbox) == (before.active + 1, before.outbox + 1)
        assert owing.outbox_oldest_seconds is not None
        assert owing.outbox_oldest_seconds > 0
        assert await store.dead_letter(ref, reason="r", ttl_seconds=LONG_SECONDS) is Status.OK
        dead = await store.depths()
        assert (dead.outbox, dead.dead_letters) == (before.outbox, before.dead_letters + 1)

    async def test_a_lease_that_ran_out_is_counted(self, store: StreamStore) -> None:
        before = await store.depths()
        new = new_stream()
        await store.register(new, lease_seconds=self.short_seconds, ttl_seconds=LONG_SECONDS, limit=None)
        assert (await store.depths()).active == before.active + 1
        await self.advance(self.short_seconds * 1.5)
        assert (await store.depths()).expired_leases > 0
        await store.take_over(new.ref, lease_seconds=LONG_SECONDS)


async def _reports(store: StreamStore, *workers: str) -> dict[str, bytes]:
    found = {one.worker: one.report for one in await store.worker_reports(limit=MAX_WORKERS)}
    return {worker: found[worker] for worker in workers if worker in found}
