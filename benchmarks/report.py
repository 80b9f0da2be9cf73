"""Turns rounds into a table, marks and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

from .cells import CellResult, TargetResult
from .machine import Facts
from .plan import Kind, Measured, Spread, Target

__all__ = ["Comparison", "Mark", "Row", "as_json", "as_markdown", "marks_of", "replaced", "rows_of"]

Value = Callable[[Measured], float | None]


class Comparison(StrEnum):
    """How a guarded figure is compared with the bare one of the same round."""

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
class Row:
    """One line of the table: medians over the rounds. A target without a valid figure has no entry."""

    cell: str
    metric: str
    comparison: Comparison
    digits: int
    figures: dict[Target, float]
    compared: dict[Target, float]
    """Medians of each round's ratios (or differences), not ratios of medians."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A promise about one row."""

    name: str
    value: float | None
    """None if the cell was not run or was invalid. Then the mark counts as missed."""
    bound: float
    at_least: bool
    asserted: bool
    """Whether `--assert-marks` requires this mark; the other marks are aims."""

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.bound if self.at_least else self.value <= self.bound


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
PASSING: Final = Metric("one request, µs", _server, Comparison.DIFFERENCE, digits=2)
EVENT: Final = Metric("one event, µs", _server, Comparison.DIFFERENCE, digits=2)
EVENT_RATIO: Final = Metric("one event, µs (ratio)", _server, digits=2)
STREAM: Final = Metric("one stream of one event, µs", lambda m: m.stream_cpu_us, Comparison.DIFFERENCE, digits=0)
BEGIN: Final = "<!-- benchmarks: begin -->"
END: Final = "<!-- benchmarks: end -->"
COMMANDS: Final = "commands sent/event"

_BURST: Final = (RATE, SERVER, REDIS, TOTAL, FIRST_P50, FIRST_P99, LOG_BYTES)
_METRICS: Final[dict[Kind, tuple[Metric, ...]]] = {
    Kind.ONE_BY_ONE: _BURST,
    Kind.TOGETHER: _BURST,
    Kind.PACED: (SERVER, REDIS, TOTAL, LATENCY_P50, LATENCY_P99, FIRST_P50, FIRST_P99),
    Kind.VIEWERS: (SERVER, REDIS, LATENCY_P50, LATENCY_P99),
    Kind.REPLAY: (WHOLE_P50, WHOLE_P99, SERVER, REDIS),
    Kind.IDLE: (IDLE, IDLE_REDIS),
    Kind.PASSING: (PASSING,),
    Kind.TELEMETRY: (EVENT, EVENT_RATIO, STREAM),
}
_SHORT: Final = (
    dataclasses.replace(SERVER, name="server CPU, µs/stream"),
    dataclasses.replace(REDIS, name="Redis CPU, µs/stream"),
    WHOLE_P50,
    WHOLE_P99,
)


def rows_of(results: Sequence[CellResult]) -> list[Row]:
    """The table's lines. A cell with one event per stream is reported per stream."""
    rows = []
    for result in results:
        cell = result.cell
        metrics = _SHORT if cell.kind is Kind.TOGETHER and cell.events == 1 else _METRICS[cell.kind]
        rows += [row for metric in metrics if (row := _row(result, metric)).figures]
        sent = {t: r.commands_per_event for t, r in result.targets.items() if r.commands_per_event is not None}
        if sent:
            rows.append(Row(cell.name, COMMANDS, Comparison.NONE, 3, sent, {}))
    return rows


def _row(result: CellResult, metric: Metric) -> Row:
    figures: dict[Target, float] = {}
    compared: dict[Target, float] = {}
    bare = result.targets.get(Target.BARE)
    for target, measured in result.targets.items():
        values = _values(measured, metric)
        if not values:
            continue
        figures[target] = median(values)
        against = [] if bare is None or target is Target.BARE else _values(bare, metric)
        if against and len(against) == len(values):
            pairs = zip(values, against, strict=True)
            if metric.comparison is Comparison.RATIO:
                compared[target] = median(value / base for value, base in pairs)
            elif metric.comparison is Comparison.DIFFERENCE:
                compared[target] = median(value - base for value, base in pairs)
    return Row(result.cell.name, metric.name, metric.comparison, metric.digits, figures, compared)


def _values(result: TargetResult, metric: Metric) -> list[float]:
    """One value per round. Empty if any round was invalid, because the other rounds could not be trusted either."""
    if result.problems:
        return []
    values = [metric.value(measured) for measured in result.rounds]
    return [value for value in values if value is not None]


def marks_of(rows: Sequence[Row]) -> list[Mark]:
    """The marks that a release must reach, followed by the aims."""
    redis = Target.REDIS

    def compared(cell: str, metric: Metric, target: Target = redis) -> float | None:
        return next((r.compared.get(target) for r in rows if r.cell == cell and r.metric == metric.name), None)

    def figure(cell: str, metric: str) -> float | None:
        return next((r.figures.get(redis) for r in rows if r.cell == cell and r.metric == metric), None)

    one, many = "burst-1", "burst-many"

    def mark(name: str, value: float | None, bound: float, *, at_least: bool = False) -> Mark:
        return Mark(name, value, bound, at_least, asserted=True)

    def aim(name: str, value: float | None, bound: float, *, at_least: bool = False) -> Mark:
        return Mark(name, value, bound, at_least, asserted=False)

    return [
        mark("burst of 1: events/s, × bare", compared(one, RATE), 1.2, at_least=True),
        mark("burst of many: events/s, × bare", compared(many, RATE), 1.2, at_least=True),
        mark("paced: server CPU, × bare", compared("paced", SERVER), 1.65),
        mark("paced: added latency p99, ms", compared("paced", LATENCY_P99), 15.0),
        mark("burst of 1: commands sent/event", figure(one, COMMANDS), 0.2),
        mark("burst of many: commands sent/event", figure(many, COMMANDS), 0.2),
        mark("passing: added to a request, µs", compared("passing", PASSING, Target.MEMORY), 2.0),
        mark("telemetry: added to an event, µs", compared("telemetry", EVENT, Target.MEMORY), 0.5),
        aim("burst of 1: events/s, × bare", compared(one, RATE), 1.5, at_least=True),
        aim("burst of many: events/s, × bare", compared(many, RATE), 1.5, at_least=True),
        aim("burst of many: commands sent/event", figure(many, COMMANDS), 0.1),
        aim("burst of many: Redis memory, bytes/event", figure(many, LOG_BYTES.name), 100.0),
        aim("paced: server CPU, × bare", compared("paced", SERVER), 1.3),
        aim("paced: server + Redis CPU, × bare", compared("paced", TOTAL), 1.6),
        aim("paced: Redis CPU, µs/event", figure("paced", REDIS.name), 6.0),
        aim("paced: added latency p50, ms", compared("paced", LATENCY_P50), 4.0),
        aim("paced: added latency p99, ms", compared("paced", LATENCY_P99), 12.0),
        aim("paced: added first event p99, ms", compared("paced", FIRST_P99), 10.0),
        aim("replay: whole response p50, ms", figure("replay", WHOLE_P50.name), 10.0),
        aim("idle: added memory, KiB/stream", compared("idle", IDLE), 20.0),
        aim("telemetry: added to an event alone, µs", compared("telemetry-alone", EVENT, Target.MEMORY), 3.0),
        aim("viewers: server CPU, × bare", compared("viewers", SERVER), 1.0),
    ]


# -- writing -----------------------------------------------------------------------------------------------------------


def as_markdown(facts: Facts, results: Sequence[CellResult], rows: Sequence[Row], marks: Sequence[Mark]) -> str:
    """The whole report as Markdown."""
    lines = ["| | bare | memory | Redis | memory against bare | Redis against bare |", "|---|--:|--:|--:|--:|--:|"]
    for result in results:
        lines.append(f"| **{result.cell.title}** | | | | | |")
        for row in rows:
            if row.cell == result.cell.name:
                cells = [_figure(row, result, target) for target in Target]
                cells += [_compared(row, target) for target in (Target.MEMORY, Target.REDIS)]
                lines.append(f"| {row.metric} | {' | '.join(cells)} |")
        if all(measured.problems for measured in result.targets.values()):
            lines.append("| invalid | | | | | |")
    problems = [
        f"- {result.cell.name} on {target}: {problem}"
        for result in results
        for target, measured in result.targets.items()
        for problem in list(dict.fromkeys(measured.problems))[:3]
    ]
    if problems:
        lines += ["", "Invalid cells, whose figures are left out:", "", *problems]
    lines += ["", "| mark | bound | this run | |", "|---|--:|--:|---|"]
    for mark in marks:
        name = mark.name if mark.asserted else f"*aim:* {mark.name}"
        value = "–" if mark.value is None else _number(mark.value, 2)
        sign = "≥" if mark.at_least else "≤"
        verdict = "no figure" if mark.value is None else "pass" if mark.passed else "**fail**"
        lines.append(f"| {name} | {sign} {mark.bound:g} | {value} | {verdict} |")
    lines += ["", *(f"- {name}: {value}" for name, value in facts.items())]
    return "\n".join(lines) + "\n"


def replaced(page: str, table: str) -> str:
    """`page` with the table of this run between its markers.

    Raises:
        ValueError: the page does not hold each marker exactly once, and in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ValueError(f"the page needs one {BEGIN} and one {END} after it")
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def as_json(facts: Facts, results: Sequence[CellResult], rows: Sequence[Row], marks: Sequence[Mark]) -> str:
    """The whole report, with each round, as JSON for tools."""
    report = {
        "format": 1,
        "machine": facts,
        "cells": [
            {
                **dataclasses.asdict(result.cell),
                "results": {target: dataclasses.asdict(measured) for target, measured in result.targets.items()},
            }
            for result in results
        ],
        "rows": [dataclasses.asdict(row) for row in rows],
        "marks": [{**dataclasses.asdict(mark), "passed": mark.passed} for mark in marks],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _figure(row: Row, result: CellResult, target: Target) -> str:
    if target in row.figures:
        return _number(row.figures[target], row.digits)
    measured = result.targets.get(target)
    return "invalid" if measured is not None and measured.problems else ""


def _compared(row: Row, target: Target) -> str:
    value = row.compared.get(target)
    if value is None:
        return ""
    return f"{value:.2f} ×" if row.comparison is Comparison.RATIO else f"{value:+.{max(row.digits, 1)}f}"


def _number(value: float, digits: int) -> str:
    if 0 < abs(value) < 1 and digits < 2:
        digits = 2
    return f"{value:,.{digits}f}"
