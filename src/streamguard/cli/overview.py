"""What `streamguard ps` says of a whole store: its workers, what they do, and what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..decoding import DAMAGE, read_json
from ..stores.records import StreamMeta
from ..stores.roles.worker_reports import MAX_WORKERS, Depths, ReportedWorker, WorkerReports
from .output import duration

__all__ = [
    "WORKER_COLUMNS",
    "WORKER_RIGHT",
    "WORKER_SPARE",
    "Overview",
    "Overviews",
    "overview_lines",
    "states_of",
    "worker_rows",
]

WORKER_COLUMNS: Final = (
    "WORKER", "HOST", "PID", "VERSION", "UP", "HEARD", "LAG", "STREAMS", "VIEWERS", "EVENTS/S", "BREAKER", "STATE",
)  # fmt: skip
WORKER_RIGHT: Final = ("PID", "UP", "HEARD", "LAG", "STREAMS", "VIEWERS", "EVENTS/S")
WORKER_SPARE: Final = ("VERSION", "UP", "PID", "BREAKER", "VIEWERS", "HOST", "HEARD", "STREAMS", "EVENTS/S")
"""What a narrow terminal does without, the first first."""

LATE_INTERVALS: Final = 1.6
GONE_INTERVALS: Final = 3.0
"""A worker that has said nothing for the time of so many reports counts as late, or as gone."""
_NUMBERS: Final = ("up_seconds", "loop_lag_seconds", "streams", "viewers", "degraded", "events", "pid", "faults")


@dataclass(frozen=True, slots=True)
class Overview:
    """One look, as `--json` has it."""

    workers: Sequence[Mapping[str, object]] | None
    """None where the store keeps no reports."""
    totals: Mapping[str, object]
    depths: Mapping[str, object] | None


@dataclass(slots=True)
class Overviews:
    """Looks again and again: three commands' worth for the reports, the indexes and nothing else, however much there
    is. Rates are from one look to the next, and at first since each worker began."""

    store: WorkerReports | None
    before: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By worker: how long it had run, and how many events it had written, when it reported last."""
    rates: dict[str, float] = field(default_factory=dict)
    """By worker: its events per second between its last two reports, or since it began. A look that comes before its
    next report shows this one again."""

    async def look(self) -> Overview:
        """Look once.

        Raises:
            StoreError: the store failed.
        """
        if self.store is None:
            return Overview(None, {}, None)
        reported = await self.store.worker_reports(limit=MAX_WORKERS)
        workers = [self._worker(one) for one in reported]
        readable = [one for one in workers if one["state"] != "unreadable"]
        self.before = {str(one["worker"]): (_number(one["up_seconds"]), _number(one["events"])) for one in readable}
        self.rates = {name: rate for name, rate in self.rates.items() if name in self.before}
        return Overview(workers, _totals(workers), _depths(await self.store.depths()))

    def _worker(self, reported: ReportedWorker) -> dict[str, object]:
        said = _read(reported.report)
        age = round(reported.age_seconds, 1)
        if said is None:
            return {"worker": reported.worker, "state": "unreadable", "heard_seconds": age}
        numbers = {name: _number(said.get(name)) for name in _NUMBERS}
        up, events = numbers["up_seconds"], numbers["events"]
        before_up, before_events = self.before.get(reported.worker, (0.0, 0.0))
        if up > before_up:
            self.rates[reported.worker] = (events - before_events) / (up - before_up)
        state = _state(said, reported.age_seconds)
        rate = 0.0 if state == "gone" else self.rates.get(reported.worker, 0.0)
        return {
            "worker": reported.worker,
            "state": state,
            "heard_seconds": age,
            "host": _text(said.get("host")),
            "version": _text(said.get("version")),
            **numbers,
            "pid": int(numbers["pid"]),
            "ready": said.get("ready") is True,
            "draining": said.get("draining") is True,
            "breaker": _text(said.get("breaker")),
            "reasons": [_text(one) for one in _list(said.get("reasons"))],
            "events_per_second": round(max(0.0, rate), 1),
            "ends": _counts(said.get("ends")),
            "resumes": _counts(said.get("resumes")),
        }


def _state(said: Mapping[str, object], age: float) -> str:
    interval = _number(said.get("interval_seconds")) or 5.0
    if age > interval * GONE_INTERVALS:
        return "gone"
    if age > interval * LATE_INTERVALS:
        return "late"
    if said.get("draining") is True:
        return "draining"
    return "ready" if said.get("ready") is True else "not ready"


def _totals(workers: Sequence[Mapping[str, object]]) -> dict[str, object]:
    known = [one for one in workers if one["state"] != "unreadable"]
    alive = [one for one in known if one["state"] != "gone"]
    ends: Counter[str] = Counter()
    resumes: Counter[str] = Counter()
    for one in known:
        ends.update(_counts(one["ends"]))
        resumes.update(_counts(one["resumes"]))
    return {
        "workers": len(alive),
        "events_per_second": round(sum(_number(one["events_per_second"]) for one in alive), 1),
        "streams": int(sum(_number(one["streams"]) for one in alive)),
        "viewers": int(sum(_number(one["viewers"]) for one in alive)),
        "degraded": int(sum(_number(one["degraded"]) for one in alive)),
        "ends": dict(ends),
        "resumes": dict(resumes),
    }


def _depths(depths: Depths) -> dict[str, object]:
    return {
        "active_streams": depths.active,
        "expired_leases": depths.expired_leases,
        "outbox": depths.outbox,
        "outbox_oldest_seconds": _rounded(depths.outbox_oldest_seconds),
        "dead_letters": depths.dead_letters,
        "stale_reservations": depths.stale_reservations,
        "stale_reservations_oldest_seconds": _rounded(depths.stale_reservations_oldest_seconds),
        "damaged_indexes": depths.damaged,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def states_of(shown: Sequence[StreamMeta]) -> dict[str, int]:
    """How many of the streams that were looked at are in each state."""
    found: Counter[str] = Counter()
    for meta in shown:
        found["log_lost" if meta.lost else "unwritten" if meta.lease_seconds < 0 else str(meta.state)] += 1
    return dict(found)


def worker_rows(overview: Overview) -> list[Sequence[str]]:
    """The workers as rows of a table, those in trouble first."""
    order = {"gone": 0, "late": 1, "unreadable": 2, "not ready": 3, "draining": 4, "ready": 5}
    workers = sorted(overview.workers or (), key=lambda one: (order[str(one["state"])], str(one["worker"])))
    return [
        (
            str(one["worker"])[:8],
            str(one.get("host", "-")),
            str(one.get("pid", "-")),
            str(one.get("version", "-")),
            duration(_number(one.get("up_seconds"))),
            duration(_number(one["heard_seconds"])),
            duration(_number(one.get("loop_lag_seconds"))),
            str(int(_number(one.get("streams")))),
            str(int(_number(one.get("viewers")))),
            str(one.get("events_per_second", "-")),
            str(one.get("breaker", "-")),
            str(one["state"]),
        )
        for one in workers
    ]


def overview_lines(overview: Overview, states: Mapping[str, int]) -> list[str]:
    """The rest as lines. `states` are those of the streams that are shown."""
    if overview.workers is None or overview.depths is None:
        return ["workers, rates and what waits are unknown: this store has no role WorkerReports"]
    totals, depths = overview.totals, overview.depths
    oldest = depths["outbox_oldest_seconds"]
    overdue = "" if oldest is None else f", the oldest due for {duration(_number(oldest))}"
    damaged = f"; {depths['damaged_indexes']} index parts are damaged (doctor)" if depths["damaged_indexes"] else ""
    dead, stale = f"{depths['dead_letters']} dead letters", f"{depths['stale_reservations'] or 0} stale reservations"
    return [
        f"streams  {depths['active_streams']} active, {depths['expired_leases']} without a writer; {_listed(states)}",
        f"events   {totals['events_per_second']}/s; ended: {_listed(_counts(totals['ends']))}",
        f"resumes  {_listed(_counts(totals['resumes']))}",
        f"owed     {depths['outbox']} in the outbox{overdue}; {dead}; {stale}{damaged}",
    ]


def _listed(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"


def _read(report: bytes) -> Mapping[str, object] | None:
    """A report; None for one that this version cannot read."""
    try:
        said = read_json(report)
    except DAMAGE:
        return None
    return said if isinstance(said, dict) and said.get("v") == 1 else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _text(value: object) -> str:
    return value[:64] if isinstance(value, str) else "-"


def _list(value: object) -> Sequence[object]:
    return value[:8] if isinstance(value, list) else ()


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {str(name)[:64]: int(count) for name, count in list(value.items())[:64] if type(count) is int}
