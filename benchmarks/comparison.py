"""The comparison of the home page: what people use now beside streamguard, from the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .metrics import RATE, TOTAL, Row
from .recording import Record
from .report import number

__all__ = ["as_comparison"]

_CELL: Final = "burst-100"
_COLUMNS: Final = {
    "plain": "**streamguard**",
    "bare": "bare Starlette",
    "sse-starlette": "sse-starlette",
    "npm-resumable-stream": "Vercel's resumable-stream",
    "assistant-stream": "assistant-stream",
}
"""The contenders that the home page compares, and what it calls them."""
_CHECKED: Final = {
    "reload in mid-answer": "a reload in mid-answer shows the whole answer",
    "other worker": "the same on another worker",
    "resume by cursor": "a client resumes from where it was, without repeats",
    "client away": "an answer whose reader left is finished, and can be read later",
    "worker killed": "when a worker is killed, its readers are told",
    "Redis killed": "when Redis is killed, its readers are not left with half an answer",
}
"""The checks that the home page shows, in words."""


@dataclass(frozen=True, slots=True)
class _Figure:
    metric: str
    words: str
    ratio: bool


_FIGURES: Final = (
    _Figure(RATE.name, "burst of 100 answers: events a second, × bare Starlette", ratio=True),
    _Figure(TOTAL.name, "the same: CPU of server and Redis, µs an event", ratio=False),
)


def as_comparison(record: Record) -> str:
    """A table in Markdown: a column for each library, a line for each check and figure."""
    rows = {row.metric: row for row in record.rows if row.cell == _CELL}
    lines = [f"| | {' | '.join(_COLUMNS.values())} |", "|---" + "|:-:" * len(_COLUMNS) + "|"]
    for check, words in _CHECKED.items():
        cells = [_checked(record, name, check) for name in _COLUMNS]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    for figure in _FIGURES:
        row = rows.get(figure.metric)
        if row is not None:
            cells = [_measured(row, name, ratio=figure.ratio) for name in _COLUMNS]
            lines.append(f"| {figure.words} | {' | '.join(cells)} |")
    doubts = next((result.doubts for result in record.cells if result.cell.name == _CELL), "")
    if doubts:
        lines += ["", f"*The two figures are provisional: {doubts}.*"]
    return "\n".join(lines) + "\n"


def _checked(record: Record, contender: str, check: str) -> str:
    outcome = record.checks.get(contender, {}).get(check)
    if outcome is None:
        return "not measured"
    if outcome.passed is None:
        return f"– ({outcome.text})"
    if outcome.passed:
        return outcome.text if outcome.text == "yes" else f"yes: {outcome.text}"
    return f"**no**: {outcome.text}"


def _measured(row: Row, contender: str, *, ratio: bool) -> str:
    if ratio and contender != "bare":
        compared = row.compared.get(contender)
        if compared is not None:
            return f"{compared.median:.2f} ×"
    figure = row.figures.get(contender)
    if figure is None:
        return "not measured"
    if ratio:
        return "1 ×" if contender == "bare" else "on Node"
    return number(figure.median, row.digits)
