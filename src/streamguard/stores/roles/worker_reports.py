"""What each worker says of itself, for whoever is on call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_REPORT_BYTES", "MAX_WORKERS", "Depths", "ReportedWorker", "WorkerReports"]

MAX_WORKERS: Final = 1_000
"""A store keeps the reports of so many workers; of a further one it keeps none."""

MAX_REPORT_BYTES: Final = 8_192
"""What one report may take, in bytes. Workers send less."""


@dataclass(frozen=True, slots=True)
class ReportedWorker:
    """A worker's last report."""

    worker: str
    """Its id: a new one for each process and start."""
    report: bytes
    """What it said, as it was given."""
    age_seconds: float
    """How long ago, on the store's clock."""


@dataclass(frozen=True, slots=True)
class Depths:
    """How much work waits in a store."""

    active: int
    """Streams that are not closed."""
    expired_leases: int
    """Those of them whose writer is gone: a worker has to end them."""
    outbox: int
    """Saves and settlements that are owed."""
    outbox_oldest_seconds: float | None
    """For how long the oldest of them has been due; None if none is due."""
    dead_letters: int
    """Saves and settlements that were given up."""
    stale_reservations: int | None = None
    """Reservations of a quota that are due to be looked at, because nobody settled them; None where the store keeps
    none."""
    stale_reservations_oldest_seconds: float | None = None
    """For how long the oldest of them has been due; None if none is due."""
    damaged: int = 0
    """Parts of an index that could not be read: the numbers are too small by what those hold."""


class WorkerReports(ABC):
    """What workers tell operators of themselves. No worker acts on it."""

    @abstractmethod
    async def report_worker(self, worker: str, report: bytes, *, keep_seconds: float) -> None:
        """Keep what a worker says of itself, in place of its last report, for `keep_seconds`.

        An empty report takes the last one away: the worker left. A report of a new worker is dropped while the store
        keeps `MAX_WORKERS`.
        """

    @abstractmethod
    async def worker_reports(self, *, limit: int) -> list[ReportedWorker]:
        """At most `limit` reports (`MAX_WORKERS` at most), those that are kept longest first. It changes nothing."""

    @abstractmethod
    async def depths(self) -> Depths:
        """How much work waits. The cost does not depend on how much that is. It changes nothing."""
