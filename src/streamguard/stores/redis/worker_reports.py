"""`RedisWorkerReports`: what workers say of themselves, and how much work waits."""

from __future__ import annotations

from ...decoding import decoding
from ...errors import StoreCorruptError
from ..roles.worker_reports import MAX_WORKERS, Depths, ReportedWorker, WorkerReports
from .driver import CommandError
from .errors import checked, concerns_record
from .namespace import RedisNamespace, milliseconds, read_answer
from .report_calls import Depth, DepthAnswer, ReadWorkerReports, ReportWorker

__all__ = ["RedisWorkerReports"]


class RedisWorkerReports(WorkerReports):
    """The reports are kept as a sorted set, worker by when its report expires, and a hash of the reports."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis

    async def report_worker(self, worker: str, report: bytes, *, keep_seconds: float) -> None:
        workers_key, reports_key = self._redis.keys.worker_reports()
        call = ReportWorker(
            workers_key=workers_key,
            reports_key=reports_key,
            worker=worker,
            report=report,
            keep_ms=milliseconds(keep_seconds),
            most=MAX_WORKERS,
        )
        await self._redis.call("report_worker", call)

    async def worker_reports(self, *, limit: int) -> list[ReportedWorker]:
        workers_key, reports_key = self._redis.keys.worker_reports()
        count = min(limit, MAX_WORKERS)
        call = ReadWorkerReports(workers_key=workers_key, reports_key=reports_key, count=count)
        at, *notes = await self._redis.call("worker_reports", call)
        with decoding(_unexpected):
            return [_worker(int(at), name, note) for name, note in zip(notes[::2], notes[1::2], strict=True)]

    async def depths(self) -> Depths:
        keys = self._redis.keys
        leases, outbox = keys.lease_shards(), keys.outbox_shards()
        calls = [Depth(index_key=shard) for shard in (*leases, *outbox, *keys.reservation_shards())]
        replies = await self._redis.connections.run("depths", [self._redis.command(call) for call in calls])
        damaged = [isinstance(reply, CommandError) and concerns_record(reply) for reply in replies]
        checked("depths", [reply for reply, one in zip(replies, damaged, strict=True) if not one])
        found = [
            DepthAnswer(0, 0, 0, 0) if one else read_answer("depths", call, reply)
            for call, reply, one in zip(calls, replies, damaged, strict=True)
        ]
        streams, others = found[: len(leases)], found[len(leases) :]
        owed, reserved = others[: len(outbox)], others[len(outbox) :]
        return Depths(
            active=sum(shard.all for shard in streams),
            expired_leases=sum(shard.due for shard in streams),
            outbox=sum(shard.all - shard.negative for shard in owed),
            outbox_oldest_seconds=_oldest(owed),
            dead_letters=sum(shard.negative for shard in owed),
            stale_reservations=sum(shard.due for shard in reserved),
            stale_reservations_oldest_seconds=_oldest(reserved),
            damaged=sum(damaged),
        )


def _worker(at: int, name: bytes, note: bytes) -> ReportedWorker:
    heard, _, report = note.partition(b":")
    seconds = (at - int(heard)) / 1000 if heard.isdigit() else 0.0
    return ReportedWorker(name.decode("utf-8", "replace"), report, max(0.0, seconds))


def _oldest(shards: list[DepthAnswer]) -> float | None:
    return max((shard.due_ms / 1000 for shard in shards if shard.due), default=None)


def _unexpected() -> StoreCorruptError:
    return StoreCorruptError("worker_reports: Redis gave an unexpected answer", operation="worker_reports")
