"""What one worker core and one Redis core carry, and what a million concurrent streams take, from measured costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from streamguard import Settings

from .cells import paced_name
from .metrics import (
    IDLE,
    IDLE_REDIS,
    LATENCY_P50,
    LATENCY_P99,
    LOG_BYTES,
    REDIS,
    REPLAY_CPU,
    SERVER,
    STREAM_REDIS,
    STREAM_SERVER,
    Metric,
)
from .plan import FULL, PHASES, Kind
from .recording import Record
from .report import doubts, number
from .rounds import CellResult

__all__ = ["Costs", "Line", "as_capacity", "costs_of", "line"]

_KIB: Final = 1024
_GIB: Final = 1024**3
_OURS: Final = "plain"
_IDLE: Final = "idle-1000"
_MANY = max(FULL.paced_events)
_WIRE_BYTES: Final = 60 + 52 + 8
"""Of an event on the wire: its text, the lines of its id and the SSE framing, and the framing of an HTTP chunk."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cost of `per_stream` for each stream and `per_event` for each event of it, in µs."""

    per_event: float
    per_stream: float

    def of(self, events: int) -> float:
        """The cost of an event, in µs, in streams of `events`."""
        return self.per_event + self.per_stream / events


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured."""

    server: Line
    redis: Line
    viewer_us: float
    """Server CPU for an event that one more viewer gets."""
    replay_ms: float
    """Server CPU for a replay of 1,000 events."""
    server_bytes: float
    """Memory of an open stream in its worker, all of it, not what it adds to a bare one's."""
    redis_bytes: float
    """Memory of an open stream in Redis, without its events."""
    event_bytes: float
    """Memory of an event in Redis."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a service has to carry."""

    streams: int
    """Concurrent ones."""
    events_per_second: float
    """Of each stream."""
    seconds: float
    """How long an answer takes."""
    share: float
    """How much of a core may be used: above, latency grows."""

    @property
    def events(self) -> int:
        """Of one answer."""
        return round(self.events_per_second * self.seconds)

    @property
    def openings(self) -> float:
        """Streams that are opened in a second."""
        return self.streams / self.seconds


_MILLION: Final = Load(1_000_000, events_per_second=20.0, seconds=30.0, share=0.6)


def line(per_stream: float, events: int, per_event_in_all: float) -> Line:
    """The costs of a stream and of an event of it.

    Args:
        per_stream: the cost of a stream of one event.
        events: of the streams in which an event costs `per_event_in_all`, the stream's own cost included.
    """
    per_event = (per_event_in_all * events - per_stream) / (events - 1)
    return Line(per_event, per_stream - per_event)


def costs_of(record: Record) -> Costs | None:
    """The costs, or None if the record lacks one of the cells that they are from."""
    rows = {(row.cell, row.metric): row.figures for row in record.rows}

    def figure(cell: str, metric: Metric) -> float:
        return rows[cell, metric.name][_OURS].median

    def fitted(metric: Metric, of_one: Metric) -> Line:
        long = fmean(figure(paced_name(_MANY, phase), metric) for phase in PHASES)
        return line(figure("short", of_one), _MANY, long)

    try:
        return Costs(
            server=fitted(SERVER, STREAM_SERVER),
            redis=fitted(REDIS, STREAM_REDIS),
            viewer_us=figure("viewers", SERVER),
            replay_ms=figure("replay", REPLAY_CPU),
            server_bytes=figure(_IDLE, IDLE) * _KIB,
            redis_bytes=figure(_IDLE, IDLE_REDIS) * _KIB,
            event_bytes=figure("burst-100", LOG_BYTES),
        )
    except KeyError:
        return None


def as_capacity(record: Record) -> str:
    """The tables of the page."""
    costs = costs_of(record)
    if costs is None:
        return "Not all of the cells that the arithmetic needs have been measured.\n"
    parts = [*doubts(record), _costs_table(costs), _browser(record), _checked(record, costs), _million(costs)]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _costs_table(costs: Costs) -> str:
    def of_both(name: str, server_us: float, redis_us: float | None) -> tuple[str, ...]:
        row = (name, f"{number(server_us, 1)} µs", number(1e6 / server_us, 0))
        return (*row, "", "") if redis_us is None else (*row, f"{number(redis_us, 1)} µs", number(1e6 / redis_us, 0))

    server, redis = costs.server, costs.redis
    memory = f"{costs.server_bytes / _KIB:.0f} KiB", "", f"{costs.redis_bytes / _KIB:.1f} KiB", ""
    rows = [
        of_both("an event", server.per_event, redis.per_event),
        of_both("opening and ending a stream", server.per_stream, redis.per_stream),
        of_both("an event for one more viewer", costs.viewer_us, None),
        of_both("a replay of 1,000 events", costs.replay_ms * 1000, None),
        ("memory of an open stream", *memory),
        ("memory of an event", "", "", f"{costs.event_bytes:.0f} bytes", ""),
    ]
    header = ("", "a worker", "per second and core", "Redis", "per second and core")
    return f"## Measured costs\n\n{_table(header, rows)}"


def _browser(record: Record) -> str:
    rows = {(row.cell, row.metric): row.figures for row in record.rows}
    p50, p99 = (rows.get(("browser", metric.name), {}) for metric in (LATENCY_P50, LATENCY_P99))
    if not p50:
        return "## To a real browser\n\nNot measured in this run: there was no Chromium.\n"
    table = _table(
        ("", "p50, ms", "p99, ms"),
        [(name, number(p50[name].median, 2), number(p99[name].median, 2)) for name in p50],
    )
    return (
        "## To a real browser\n\n"
        "From the making of an event to the moment when a page in headless Chromium, on the same machine, has its text "
        f"from `fetch`:\n\n{table}"
    )


def _checked(record: Record, costs: Costs) -> str:
    rows: list[Sequence[str]] = []
    for result in record.cells:
        cell = result.cell
        if cell.name.startswith("capacity-") or (cell.kind is Kind.PACED and cell.events == min(FULL.paced_events)):
            rows += _predictions(result, costs)
    memory = {row.cell: row.figures for row in record.rows if row.metric == IDLE.name}
    for name, figures in memory.items():
        if name != _IDLE and _OURS in figures:
            expected, measured = costs.server_bytes / _KIB, figures[_OURS].median
            rows.append((f"{name}: memory of a stream, KiB", *_against(expected, measured)))
    header = ("", "predicted", "measured", "measured / predicted")
    return (
        "## Predicted and measured\n\n"
        "The costs above are of 200 streams with 250 events, of streams with one, and of 1,000 idle ones. "
        "These sizes had no part in them:\n\n" + _table(header, rows)
    )


def _against(expected: float, measured: float) -> tuple[str, str, str]:
    return f"{expected:.1f}", f"{measured:.1f}", f"{measured / expected:.2f}"


def _predictions(result: CellResult, costs: Costs) -> list[tuple[str, str, str, str]]:
    cell, measured = result.cell, result.contenders.get(_OURS)
    if measured is None:
        return []
    if measured.problems or not measured.rounds:
        return [(cell.title, "", "invalid", "")]
    found = []
    for name, cost, values in (
        ("server", costs.server, [one.server_cpu_us for one in measured.rounds]),
        ("Redis", costs.redis, [one.redis_cpu_us or 0.0 for one in measured.rounds]),
    ):
        value = sorted(values)[len(values) // 2]
        gap = f"one per {cell.gap_seconds * 1000:g} ms"
        title = f"{cell.streams:,} streams × {cell.events} events, {gap}: {name} CPU, µs/event"
        found.append((title, *_against(cost.of(cell.events), value)))
    return found


def _million(costs: Costs) -> str:
    load = _MILLION
    events = load.streams * load.events_per_second
    kept = Settings().finished_ttl_seconds
    worker_cores = (events * costs.server.per_event + load.openings * costs.server.per_stream) / 1e6 / load.share
    redis_cores = (events * costs.redis.per_event + load.openings * costs.redis.per_stream) / 1e6 / load.share
    log_bytes = load.openings * (kept + load.seconds) * (costs.redis_bytes + load.events * costs.event_bytes)
    per_worker = load.streams / worker_cores
    rows = [
        ("events a second", f"{load.streams:,} × {load.events_per_second:g}", f"{events:,.0f}"),
        ("openings a second", f"{load.streams:,} / {load.seconds:g} s", f"{load.openings:,.0f}"),
        ("worker cores", f"CPU of both, at {load.share:.0%} of a core", f"{worker_cores:,.0f}"),
        ("Redis cores (a shard each)", "the same", f"{redis_cores:,.0f}"),
        ("streams and sockets of a worker", "streams / worker cores", f"{per_worker:,.0f}"),
        ("memory of a worker for them", "", f"{per_worker * costs.server_bytes / 1024**2:,.0f} MiB"),
        (
            "memory of all Redis",
            f"answers of {load.seconds:g} s and of the {kept / 60:g} minutes that they are kept for",
            f"{log_bytes / _GIB:,.0f} GiB",
        ),
        ("memory of a shard", "by Redis cores", f"{log_bytes / redis_cores / _GIB:,.0f} GiB"),
        ("network to clients", f"{_WIRE_BYTES} bytes an event", f"{events * _WIRE_BYTES * 8 / 1e9:,.0f} Gbit/s"),
    ]
    lead = (
        "## A million concurrent streams\n\n"
        f"Each is an answer of {load.seconds:g} seconds with {load.events_per_second:g} events a second, "
        "of 60 bytes each.\n\n"
    )
    return lead + _table(("", "how", "takes"), rows)
