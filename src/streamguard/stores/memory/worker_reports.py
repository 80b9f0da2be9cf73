"""What `MemoryStore` knows of the one process that uses it."""

from __future__ import annotations

from dataclasses import dataclass

from ..roles.worker_reports import MAX_WORKERS, Depths, ReportedWorker, WorkerReports
from .tables import MemoryTables

__all__ = ["MemoryWorkerReports"]


@dataclass(frozen=True, slots=True)
class _Note:
    report: bytes
    at: float
    until: float


class MemoryWorkerReports(WorkerReports):
    """The last report of each worker."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self._notes: dict[str, _Note] = {}

    async def report_worker(self, worker: str, report: bytes, *, keep_seconds: float) -> None:
        with self._tables.lock:
            now = self._tables.begin()
            self._notes = {name: note for name, note in self._notes.items() if note.until > now}
            known = self._notes.pop(worker, None) is not None
            if report and (known or len(self._notes) < MAX_WORKERS):
                self._notes[worker] = _Note(report, now, now + keep_seconds)

    async def worker_reports(self, *, limit: int) -> list[ReportedWorker]:
        with self._tables.lock:
            now = self._tables.begin()
            kept = sorted(
                (item for item in self._notes.items() if item[1].until > now),
                key=lambda item: item[1].until,
                reverse=True,
            )
            return [ReportedWorker(worker, note.report, now - note.at) for worker, note in kept[:limit]]

    async def depths(self) -> Depths:
        with self._tables.lock:
            now = self._tables.begin()
            leased, due = self._tables.leased, self._tables.due
            first = due.slice(0, 1)
            oldest = first[0][1] if first else now
            return Depths(
                active=len(leased),
                expired_leases=leased.count_until(now),
                outbox=len(due),
                outbox_oldest_seconds=now - oldest if oldest < now else None,
                dead_letters=len(self._tables.dead),
            )
