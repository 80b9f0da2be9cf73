"""The chaos page is made from its record, and the record from a history that was checked."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from benchmarks.pages import DOCS
from benchmarks.soak.chaos import CHART, PAGE, RECORD, chaos_pages, load_chaos, record_of
from benchmarks.soak.facts import Violation
from benchmarks.soak.history import Injected

from .good import good_history


def test_the_page_is_that_of_its_record() -> None:
    """`scripts/soak --record` makes both anew."""
    record = load_chaos(DOCS / RECORD)
    page = (DOCS / PAGE).read_text()

    made = chaos_pages(record, page)

    assert {path: (DOCS / path).read_text() for path in made} == made
    assert f"scripts/soak --seconds {record.seconds:.0f} --seed {record.seed}\n" in page


def test_nothing_was_lost_in_the_run_on_record() -> None:
    record = load_chaos(DOCS / RECORD)

    assert record.violations == {}
    assert len(record.injected) >= 10
    assert record.events >= 10_000


def test_a_violation_is_shown_where_it_belongs() -> None:
    history = replace(good_history(), injected=(Injected(2.0, "cut Redis", ""), Injected(1.0, "kill worker", "")))
    violation = Violation("I3", "lost/asker", "an event is missing", None)

    record = record_of(history, [violation], {"python": "CPython", "commit": "1234567"})
    made = chaos_pages(record, "<!-- benchmarks: begin -->\n<!-- benchmarks: end -->\n")

    assert "without the client being told** | **1** |" in made[PAGE]
    assert "any [promise](promises.md)** | **1** |" in made[PAGE]
    assert [one.kind for one in record.injected] == ["kill worker", "cut Redis"]
    assert sum(second.whole + second.broken + second.refused for second in record.per_second) > 0
    chart = ElementTree.fromstring(made[CHART])
    assert len(chart.findall(".//{*}circle")) == 2
