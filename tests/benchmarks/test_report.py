"""The table, the marks and the JSON of a benchmark run."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import pytest
from benchmarks.acceptance import Mark, marks_of, verdict
from benchmarks.capacity import line
from benchmarks.cells import Cell, cells_of
from benchmarks.checks import Outcome
from benchmarks.metrics import Middle, rows_of
from benchmarks.pages import DOCS, PAGES, RECORD, pages_of, replaced
from benchmarks.plan import FULL, Kind, Measured, Spread
from benchmarks.recording import Record, load, merged, save
from benchmarks.report import as_markdown
from benchmarks.rounds import CellResult, ContenderResult

CHECKED = {"bare": {"once, in order": Outcome(True, "yes"), "other worker": Outcome(None, "no resume")}}
BURST = Cell("burst-100", "Burst", Kind.TOGETHER, 2, 100)


def measured(*, seconds: float, cpu: float) -> Measured:
    return Measured(events=200, seconds=seconds, server_cpu_us=cpu, first=Spread(1.0, 2.0), redis_cpu_us=None)


def every_figure() -> Measured:
    some = Spread(1.0, 2.0)
    return Measured(
        events=200,
        responses=2,
        undisturbed=some,
        disturbed=some,
        seconds=1.0,
        server_cpu_us=1.0,
        redis_cpu_us=1.0,
        first=some,
        latency=some,
        whole=some,
        server_bytes=1.0,
        stream_cpu_us=1.0,
        redis_bytes=1.0,
    )


def result(*, bare: list[Measured], plain: list[Measured]) -> CellResult:
    counted = ContenderResult(plain, commands={"evalsha": 20}, commands_per_event=0.1)
    return CellResult(BURST, {"bare": ContenderResult(bare), "plain": counted})


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """A round in which the whole machine was slow has an ordinary ratio."""
    rows = rows_of(
        [
            result(
                bare=[measured(seconds=1.0, cpu=10), measured(seconds=10.0, cpu=100), measured(seconds=1.0, cpu=10)],
                plain=[measured(seconds=0.5, cpu=12), measured(seconds=5.0, cpu=120), measured(seconds=0.5, cpu=13)],
            )
        ]
    )

    rate = next(row for row in rows if row.metric == "events/s")
    server = next(row for row in rows if row.metric == "server CPU, µs/event")
    assert {name: figure.median for name, figure in rate.figures.items()} == {"bare": 200.0, "plain": 400.0}
    assert rate.compared == {"plain": Middle(2.0, 2.0, 2.0)}
    assert astuple(server.compared["plain"]) == pytest.approx((1.2, 1.2, 1.3))


def test_a_mark_is_its_aim_and_its_floor() -> None:
    rows = rows_of([result(bare=[measured(seconds=1.5, cpu=10)], plain=[measured(seconds=1.0, cpu=10)])])

    marks = {mark.name: mark for mark in marks_of(rows)}

    rate = marks["plain, 100 streams: events/s, × bare"]
    assert rate.reaches(1.5)
    assert verdict(rate) == "floor"
    assert verdict(marks["plain, 100 streams: server + Redis CPU, × bare"]) == "short of the aim"
    assert verdict(marks["burst of 100: commands sent/event"]) == "pass"
    assert verdict(marks["plain, 1 stream: events/s, × bare"]) == "no figure"
    assert verdict(Mark("", "", Middle(3.0, 3.0, 3.0), aim=1.0, floor=2.0)) == "fail"


def test_every_mark_has_a_cell() -> None:
    """A cell that is renamed does not leave a mark behind that never has a figure."""
    sent = 1.0
    results = [
        CellResult(cell, {name: ContenderResult([every_figure()], {}, sent, sent) for name in cell.contenders})
        for cell in cells_of(FULL)
    ]

    assert [mark for mark in marks_of(rows_of(results)) if mark.value is None] == []


def test_an_invalid_round_takes_the_cells_figures_and_marks_with_it() -> None:
    wrong = Measured(problems=["stream 3: 1 of 2 events"])
    results = [result(bare=[measured(seconds=1.0, cpu=1)] * 2, plain=[measured(seconds=0.1, cpu=1), wrong])]

    rows = rows_of(results)
    marks = marks_of(rows)
    table = as_markdown(Record({}, results, CHECKED))

    assert all("plain" not in row.figures for row in rows if row.metric != "commands sent/event")
    assert next(mark for mark in marks if mark.name == "plain, 100 streams: events/s, × bare").value is None
    assert "| plain | invalid |" in table
    assert "stream 3: 1 of 2 events" in table


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = Record({"python": "x"}, [result(bare=[every_figure()], plain=[every_figure()])], CHECKED)

    save(record, tmp_path / "record.json")

    assert load(tmp_path / "record.json") == record


def test_a_later_run_replaces_its_cells_and_keeps_the_others() -> None:
    other = CellResult(replace(BURST, name="other"), {})
    old = Record({"python": "x"}, [result(bare=[every_figure()], plain=[]), other], CHECKED)
    new = Record({"python": "y"}, [result(bare=[], plain=[])])

    both = merged(old, new)

    assert both == Record({"python": "y"}, [new.cells[0], other], CHECKED)


def test_the_pages_are_those_of_their_record() -> None:
    """`python -m benchmarks.pages` makes them anew."""
    record = load(DOCS / RECORD)
    pages = {name: (DOCS / name).read_text() for name in PAGES}

    made = pages_of(record, pages)

    assert {path: (DOCS / path).read_text() for path in made} == made
    charts = {path for path in made if path.suffix == ".svg"}
    assert charts == {path.relative_to(DOCS) for path in (DOCS / RECORD).parent.glob("*.svg")}


def test_costs_of_an_event_and_a_stream_come_from_short_and_long_streams() -> None:
    """50 µs a stream and 2 µs an event: 52 for a stream of one, and 3 an event in streams of fifty."""
    fitted = line(52.0, 50, 3.0)

    assert (fitted.per_event, fitted.per_stream) == pytest.approx((2.0, 50.0))
    assert fitted.of(25) == pytest.approx(4.0)


def test_a_page_gets_what_is_made_between_its_markers() -> None:
    page = "# Page\n<!-- benchmarks: begin -->\nold\n<!-- benchmarks: end -->\nmore\n"

    once = replaced(page, "| new |\n")

    assert once == "# Page\n<!-- benchmarks: begin -->\n\n| new |\n\n<!-- benchmarks: end -->\nmore\n"
    assert replaced(once, "| new |\n") == once
    with pytest.raises(ValueError, match="needs one"):
        replaced("# Page\n", "")
