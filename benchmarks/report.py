"""Turns a record into Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .acceptance import Mark, verdict
from .checks import CHECKS, Outcome
from .metrics import Comparison, Row
from .recording import Record
from .rounds import CellResult

__all__ = ["as_markdown", "doubts", "number"]


def as_markdown(record: Record, chart_of: Callable[[str], str | None] = lambda cell: None) -> str:
    """The whole report.

    Args:
        chart_of: the address of the chart of a cell, by the cell's name, if it has one.
    """
    rows = record.rows
    lines = doubts(record)
    for result in record.cells:
        lines += _cell_table(result, [row for row in rows if row.cell == result.cell.name], chart_of(result.cell.name))
    problems = [
        f"- {result.cell.name} on {name}: {problem}"
        for result in record.cells
        for name, measured in result.contenders.items()
        for problem in list(dict.fromkeys(measured.problems))[:3]
    ]
    if problems:
        lines += ["### Invalid cells", "", "Their figures are left out.", "", *problems, ""]
    if record.checks:
        lines += ["### Who passes what", "", *_checks_table(record.checks), ""]
    lines += ["### Marks", "", *_marks_table(record.marks), "", "### The machine", ""]
    commits = ", ".join(sorted({result.commit for result in record.cells}))
    lines += [f"- {name}: {commits if name == 'commit' else value}" for name, value in record.machine.items()]
    return "\n".join(lines) + "\n"


def doubts(record: Record) -> list[str]:
    """A warning, if some of the figures are not to be believed."""
    doubtful = [result.cell.name for result in record.cells if result.doubts]
    if not doubtful:
        return []
    return [
        f"**Provisional:** {len(doubtful)} of {len(record.cells)} cells wait for a quiet machine and all rounds.",
        "",
    ]


def _cell_table(result: CellResult, rows: Sequence[Row], chart: str | None) -> list[str]:
    """One table: a line for each contender, a column for each metric."""
    lines = [f"### {result.cell.title}", ""]
    if chart is not None:
        lines += [f"![{result.cell.title}]({chart})", ""]
    if result.doubts:
        lines += [f"*Provisional: {result.doubts}.*", ""]
    if result.cell.turns > 1:
        lines += [f"*A round is {result.cell.turns} turns of each contender, taken together.*", ""]
    lines += [f"| | {' | '.join(row.metric for row in rows)} |", "|---" + "|--:" * len(rows) + "|"]
    for name, measured in result.contenders.items():
        cells = ["invalid" if measured.problems else _cell(row, name) for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"| {name} | skipped: {reason} |" for name, reason in result.skipped.items()]
    return [*lines, ""]


def _cell(row: Row, name: str) -> str:
    figure, compared = row.figures.get(name), row.compared.get(name)
    if figure is None:
        return ""
    text = number(figure.median, row.digits)
    if compared is None:
        return text
    if row.comparison is Comparison.RATIO:
        return f"{text} (**{compared.median:.2f} ×**, {compared.least:.2f}–{compared.greatest:.2f})"
    return f"{text} ({compared.median:+.{max(row.digits, 1)}f})"


def _checks_table(checks: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    lines = [f"| | {' | '.join(CHECKS)} |", "|---" * (len(CHECKS) + 1) + "|"]
    for name, outcomes in checks.items():
        cells = [_outcome(outcomes.get(check)) for check in CHECKS]
        lines.append(f"| {name} | {' | '.join(cells if outcomes else ['not installable'])} |")
    return lines


def _outcome(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    if outcome.passed is None:
        return f"– ({outcome.text})"
    return outcome.text if outcome.passed else f"**no**: {outcome.text}"


def _marks_table(marks: Sequence[Mark]) -> list[str]:
    some = any(mark.value is not None for mark in marks)  # a run of a few cells shows their marks only
    lines = ["| mark | aim | floor | this run | spread | |", "|---|--:|--:|--:|--:|---|"]
    for mark in marks:
        if mark.value is None and some:
            continue
        sign = "≥" if mark.at_least else "≤"
        floor = "" if mark.floor is None else f"{sign} {mark.floor:g}"
        value, spread = "–", ""
        if mark.value is not None:
            value = number(mark.value.median, 2)
            spread = f"{number(mark.value.least, 2)}–{number(mark.value.greatest, 2)}"
        told = verdict(mark)
        told = f"**{told}**" if told == "fail" else told
        lines.append(f"| {mark.line}: {mark.name} | {sign} {mark.aim:g} | {floor} | {value} | {spread} | {told} |")
    return lines


def number(value: float, digits: int) -> str:
    """A figure for a table: with thousands separated, and two digits where one would say nothing."""
    if 0 < abs(value) < 1 and digits < 2:
        digits = 2
    return f"{value:,.{digits}f}"
