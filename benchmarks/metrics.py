"""The figures of a cell: medians over its rounds, and of each round's ratio to the baseline of the same round."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

from .contenders import contenders
from .plan import Kind, Measured, Spread
from .rounds import CellResult, ContenderResult

__all__ = ["Comparison", "Middle", "Row", "rows_of"]

Value = Callable[[Measured], float | None]


class Comparison(StrEnum):
    """How a figure is compared with the baseline's of the same round."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    value: Value
    comparison: Comparison = Comparison.RATIO
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Middle:
    """The median of a few values, with the least and the greatest of them."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of a cell. A contender without a valid figure has no entry."""

    cell: str
    metric: str
    comparison: Comparison
    digits: int
    figures: dict[str, Middle]
    compared: dict[str, Middle]
    """Of each round's ratio (or difference), not a ratio of medians."""


def _server(m: Measured) -> float:
    return m.server_cpu_us


def _total(m: Measured) -> float:
    return m.server_cpu_us + (m.redis_cpu_us or 0.0)


def _p50(spread: Callable[[Measured], Spread | None]) -> Value:
    return lambda m: None if (found := spread(m)) is None else found.p50


def _p99(spread: Callable[[Measured], Spread | None]) -> Value:
    return lambda m: None if (found := spread(m)) is None else found.p99


def _kib(size: Callable[[Measured], float | None]) -> Value:
    return lambda m: None if (found := size(m)) is None else found / 1024


def _replay_cpu(m: Measured) -> float | None:
    return m.server_cpu_us * m.events / m.responses / 1000 if m.responses else None


def _disturbance(m: Measured) -> float | None:
    return None if m.undisturbed is None or m.disturbed is None else m.disturbed.p99 / m.undisturbed.p99


SERVER: Final = Metric("server CPU, µs/event", _server)
REDIS: Final = Metric("Redis CPU, µs/event", lambda m: m.redis_cpu_us, Comparison.NONE)
TOTAL: Final = Metric("server + Redis CPU, µs/event", _total)
RATE: Final = Metric("events/s", lambda m: m.events / m.seconds, digits=0)
FIRST_P50: Final = Metric("first event p50, ms", _p50(lambda m: m.first), Comparison.DIFFERENCE)
FIRST_P99: Final = Metric("first event p99, ms", _p99(lambda m: m.first), Comparison.DIFFERENCE)
LATENCY_P50: Final = Metric("latency p50, ms", _p50(lambda m: m.latency), Comparison.DIFFERENCE)
LATENCY_P99: Final = Metric("latency p99, ms", _p99(lambda m: m.latency), Comparison.DIFFERENCE)
WHOLE_P50: Final = Metric("whole response p50, ms", _p50(lambda m: m.whole), Comparison.DIFFERENCE)
WHOLE_P99: Final = Metric("whole response p99, ms", _p99(lambda m: m.whole), Comparison.DIFFERENCE)
LOG_BYTES: Final = Metric("Redis memory, bytes/event", lambda m: m.redis_bytes, Comparison.NONE, digits=0)
IDLE: Final = Metric("server memory, KiB/stream", _kib(lambda m: m.server_bytes), Comparison.DIFFERENCE)
IDLE_REDIS: Final = Metric("Redis memory, KiB/stream", _kib(lambda m: m.redis_bytes), Comparison.NONE)
REPLAY_CPU: Final = Metric("server CPU, ms/replay", _replay_cpu)
PASSING: Final = Metric("one request, µs", _server, Comparison.DIFFERENCE, digits=2)
EVENT: Final = Metric("one event, µs", _server, Comparison.DIFFERENCE, digits=2)
EVENT_RATIO: Final = Metric("one event, µs (ratio)", _server, digits=2)
STREAM: Final = Metric("one stream of one event, µs", lambda m: m.stream_cpu_us, Comparison.DIFFERENCE, digits=0)
STREAM_SERVER: Final = dataclasses.replace(SERVER, name="server CPU, µs/stream")
STREAM_REDIS: Final = dataclasses.replace(REDIS, name="Redis CPU, µs/stream")
STREAM_TOTAL: Final = dataclasses.replace(TOTAL, name="server + Redis CPU, µs/stream")
UNDISTURBED_P99: Final = Metric("neighbours' p99 before, ms", _p99(lambda m: m.undisturbed), Comparison.NONE)
DISTURBED_P99: Final = Metric("neighbours' p99 meanwhile, ms", _p99(lambda m: m.disturbed), Comparison.NONE)
DISTURBED_RATIO: Final = Metric("meanwhile / before", _disturbance, Comparison.NONE, digits=2)
GROWN: Final = Metric("server memory grown, KiB/reconnect", _kib(lambda m: m.server_bytes), Comparison.NONE)
COMMANDS: Final = "commands sent/event"
KEYS: Final = "keys left/stream"

_BURST: Final = (RATE, SERVER, REDIS, TOTAL, FIRST_P50, FIRST_P99, LOG_BYTES)
_METRICS: Final[dict[Kind, tuple[Metric, ...]]] = {
    Kind.ONE_BY_ONE: _BURST,
    Kind.TOGETHER: _BURST,
    Kind.PACED: (SERVER, REDIS, TOTAL, LATENCY_P50, LATENCY_P99, FIRST_P50, FIRST_P99),
    Kind.VIEWERS: (SERVER, REDIS, LATENCY_P50, LATENCY_P99),
    Kind.REPLAY: (WHOLE_P50, WHOLE_P99, SERVER, REPLAY_CPU, REDIS),
    Kind.STORM: (FIRST_P50, FIRST_P99, UNDISTURBED_P99, DISTURBED_P99, GROWN),
    Kind.LONG_REPLAY: (WHOLE_P50, WHOLE_P99, UNDISTURBED_P99, DISTURBED_P99, DISTURBED_RATIO),
    Kind.IDLE: (IDLE, IDLE_REDIS),
    Kind.BROWSER: (LATENCY_P50, LATENCY_P99, FIRST_P50, FIRST_P99),
    Kind.COUNTS: (),
    Kind.PASSING: (PASSING,),
    Kind.TELEMETRY: (EVENT, EVENT_RATIO, STREAM),
}
_SHORT: Final = (STREAM_SERVER, STREAM_REDIS, STREAM_TOTAL, WHOLE_P50, WHOLE_P99)


def rows_of(results: Sequence[CellResult]) -> list[Row]:
    """The metrics of all cells. A cell with one event per stream is reported per stream."""
    rows = []
    for result in results:
        cell = result.cell
        metrics = _SHORT if cell.kind is Kind.PACED and cell.events == 1 else _METRICS[cell.kind]
        rows += [row for metric in metrics if (row := _row(result, metric)).figures]
        rows += _counts(result)
    return rows


def _counts(result: CellResult) -> list[Row]:
    counted = result.contenders.items()
    commands = {name: _middle([n]) for name, found in counted if (n := found.commands_per_event) is not None}
    keys = {name: _middle([n]) for name, found in counted if (n := found.keys_per_stream) is not None}
    return [
        Row(result.cell.name, metric, Comparison.NONE, digits, figures, {})
        for metric, digits, figures in ((COMMANDS, 3, commands), (KEYS, 2, keys))
        if figures
    ]


def _row(result: CellResult, metric: Metric) -> Row:
    figures: dict[str, Middle] = {}
    compared: dict[str, Middle] = {}
    for name, measured in result.contenders.items():
        values = _values(measured, metric)
        if not values:
            continue
        figures[name] = _middle(values)
        baseline = contenders()[name].baseline
        base = result.contenders.get(baseline)
        against = [] if base is None or name == baseline else _values(base, metric)
        if against and len(against) == len(values):
            pairs = zip(values, against, strict=True)
            if metric.comparison is Comparison.RATIO:
                compared[name] = _middle([value / other for value, other in pairs])
            elif metric.comparison is Comparison.DIFFERENCE:
                compared[name] = _middle([value - other for value, other in pairs])
    return Row(result.cell.name, metric.name, metric.comparison, metric.digits, figures, compared)


def _middle(values: Sequence[float]) -> Middle:
    return Middle(median(values), min(values), max(values))


def _values(result: ContenderResult, metric: Metric) -> list[float]:
    """One value per round. Empty if any round was invalid, because the other rounds could not be trusted either."""
    if result.problems:
        return []
    values = [metric.value(measured) for measured in result.rounds]
    return [value for value in values if value is not None]
