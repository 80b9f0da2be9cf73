"""The table, the marks and the JSON of a benchmark run."""

from __future__ import annotations

import json

import pytest
from benchmarks.cells import Cell, CellResult, TargetResult
from benchmarks.plan import Kind, Measured, Spread, Target
from benchmarks.report import as_json, as_markdown, marks_of, replaced, rows_of

BURST = Cell("burst-many", "Burst", Kind.TOGETHER, 2, 100)


def measured(*, seconds: float, cpu: float) -> Measured:
    return Measured(events=200, seconds=seconds, server_cpu_us=cpu, first=Spread(1.0, 2.0), redis_cpu_us=None)


def result(*, bare: list[Measured], redis: list[Measured]) -> CellResult:
    counted = TargetResult(redis, commands={"evalsha": 20}, commands_per_event=0.1)
    return CellResult(BURST, {Target.BARE: TargetResult(bare), Target.REDIS: counted})


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """A round in which the whole machine was slow has an ordinary ratio."""
    rows = rows_of(
        [
            result(
                bare=[measured(seconds=1.0, cpu=10), measured(seconds=10.0, cpu=100), measured(seconds=1.0, cpu=10)],
                redis=[measured(seconds=0.5, cpu=12), measured(seconds=5.0, cpu=120), measured(seconds=0.5, cpu=13)],
            )
        ]
    )

    rate = next(row for row in rows if row.metric == "events/s")
    server = next(row for row in rows if row.metric == "server CPU, µs/event")
    assert rate.figures == {Target.BARE: 200.0, Target.REDIS: 400.0}
    assert rate.compared == {Target.REDIS: 2.0}
    assert server.compared == {Target.REDIS: pytest.approx(1.2)}


def test_marks_compare_figures_with_bounds() -> None:
    rows = rows_of([result(bare=[measured(seconds=1.0, cpu=10)], redis=[measured(seconds=0.8, cpu=10)])])

    marks = {(mark.name, mark.asserted): mark for mark in marks_of(rows)}

    assert marks["burst of many: events/s, × bare", True].passed
    assert not marks["burst of many: events/s, × bare", False].passed
    assert marks["burst of many: commands sent/event", True].passed


def test_an_invalid_round_takes_the_cells_figures_and_marks_with_it() -> None:
    wrong = Measured(problems=["stream 3: 1 of 2 events"])
    results = [result(bare=[measured(seconds=1.0, cpu=1)] * 2, redis=[measured(seconds=0.1, cpu=1), wrong])]

    rows = rows_of(results)
    marks = marks_of(rows)
    table = as_markdown({}, results, rows, marks)

    assert all(Target.REDIS not in row.figures for row in rows if row.metric != "commands sent/event")
    assert not next(mark for mark in marks if mark.name == "burst of many: events/s, × bare").passed
    assert "| invalid |" in table
    assert "stream 3: 1 of 2 events" in table


def test_the_json_report_has_every_round() -> None:
    results = [result(bare=[measured(seconds=1.0, cpu=10)], redis=[measured(seconds=0.8, cpu=10)])]
    rows = rows_of(results)

    report = json.loads(as_json({"python": "x"}, results, rows, marks_of(rows)))

    assert report["format"] == 1
    cell = report["cells"][0]
    assert cell["name"] == "burst-many"
    assert cell["results"]["redis"]["commands"] == {"evalsha": 20}
    assert cell["results"]["bare"]["rounds"][0]["seconds"] == 1.0
    assert {mark["name"] for mark in report["marks"]} >= {"paced: server CPU, × bare"}


def test_a_page_gets_the_table_between_its_markers() -> None:
    page = "# Page\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nmore\n"

    once = replaced(page, "| new |\n")

    assert once == "# Page\n<!-- benchmarks: begin -->\n\n| new |\n\n<!-- benchmarks: end -->\nmore\n"
    assert replaced(once, "| new |\n") == once
    with pytest.raises(ValueError, match="needs one"):
        replaced("# Page\n", "")
