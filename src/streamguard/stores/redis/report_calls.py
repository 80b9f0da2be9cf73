"""The scripts on workers' reports, and on how much work waits; see `streamguard.lua`."""

from __future__ import annotations

from typing import Final, NamedTuple

from ...lua import Call, Key

__all__ = ["CALLS", "Depth", "DepthAnswer", "ReadWorkerReports", "ReportWorker"]


class ReportWorker(Call[int], script="report_worker"):
    """Keep what a worker says of itself."""

    workers_key: Key
    reports_key: Key
    worker: str
    report: bytes
    keep_ms: int
    most: int


class ReadWorkerReports(Call[list[bytes]], script="worker_reports"):
    """Read what workers said of themselves: the time, then worker and note in turn."""

    workers_key: Key
    reports_key: Key
    count: int


class DepthAnswer(NamedTuple):
    """See `Depth`."""

    all: int
    negative: int
    due: int
    due_ms: int


class Depth(Call[DepthAnswer], script="depth"):
    """Count one shard of an index. It is no `ShardCall`: a damaged shard is left as it is."""

    index_key: Key


CALLS: Final = (ReportWorker, ReadWorkerReports, Depth)
"""One for each script."""
