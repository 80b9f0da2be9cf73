"""Turns rows and marks into Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Final

from .acceptance import Mark, verdict
from .machine import Facts
from .metrics import Comparison, Row
from .rounds import CellResult

__all__ = ["as_json", "as_markdown", "replaced"]

BEGIN: Final = "<!-- benchmarks: begin -->"
END: Final = "<!-- benchmarks: end -->"


def as_markdown(facts: Facts, results: Sequence[CellResult], rows: Sequence[Row], marks: Sequence[Mark]) -> str:
    """The whole report as Markdown."""
    lines: list[str] = []
    for result in results:
        lines += _cell_table(result, [row for row in rows if row.cell == result.cell.name])
    problems = [
        f"- {result.cell.name} on {name}: {problem}"
        for result in results
        for name, measured in result.contenders.items()
        for problem in list(dict.fromkeys(measured.problems))[:3]
    ]
    if problems:
        lines += ["Invalid cells, whose figures are left out:", "", *problems, ""]
    lines += _marks_table(marks)
    lines += ["", *(f"- {name}: {value}" for name, value in facts.items())]
    return "\n".join(lines) + "\n"


def _cell_table(result: CellResult, rows: Sequence[Row]) -> list[str]:
    """One table: a line for each contender, a column for each metric."""
    lines = [f"### {result.cell.title}", "", f"| | {' | '.join(row.metric for row in rows)} |"]
    lines.append("|---" + "|--:" * len(rows) + "|")
    for name, measured in result.contenders.items():
        cells = ["invalid" if measured.problems else _cell(row, name) for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"| {name} | skipped: {reason} |" for name, reason in result.skipped.items()]
    return [*lines, ""]


def _cell(row: Row, name: str) -> str:
    figure, compared = row.figures.get(name), row.compared.get(name)
    if figure is None:
        return ""
    text = _number(figure.median, row.digits)
    if compared is None:
        return text
    if row.comparison is Comparison.RATIO:
        return f"{text} (**{compared.median:.2f} ×**, {compared.least:.2f}–{compared.greatest:.2f})"
    return f"{text} ({compared.median:+.{max(row.digits, 1)}f})"


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
            value = _number(mark.value.median, 2)
            spread = f"{_number(mark.value.least, 2)}–{_number(mark.value.greatest, 2)}"
        told = verdict(mark)
        told = f"**{told}**" if told == "fail" else told
        lines.append(f"| {mark.line}: {mark.name} | {sign} {mark.aim:g} | {floor} | {value} | {spread} | {told} |")
    return lines


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
        "format": 2,
        "machine": facts,
        "cells": [
            {
                **dataclasses.asdict(result.cell),
                "results": {name: dataclasses.asdict(measured) for name, measured in result.contenders.items()},
            }
            for result in results
        ],
        "rows": [dataclasses.asdict(row) for row in rows],
        "marks": [{**dataclasses.asdict(mark), "verdict": verdict(mark)} for mark in marks],
    }
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _number(value: float, digits: int) -> str:
    if 0 < abs(value) < 1 and digits < 2:
        digits = 2
    return f"{value:,.{digits}f}"
