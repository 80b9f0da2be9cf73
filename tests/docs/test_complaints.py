"""The page *What others report*: each report is listed once, and each test that it names is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent.parent
PAGE: Final = TESTS.parent / "docs" / "explanation" / "complaints.md"
NOT_COVERED: Final = "*not covered*: "
_REPORT: Final = re.compile(r"[\w./-]+ \d+")
_TEST: Final = re.compile(r"`([\w./]+)::([^`]+)`")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("trouble", "---")]


@cache
def names_in(file: str) -> frozenset[str]:
    text = (TESTS / file).read_text()
    if file.endswith(".mjs"):
        return frozenset(title for _, title in re.findall(r"""^ *test\((["'`])(.*?)\1""", text, re.MULTILINE))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(text)) if isinstance(node, functions))


def test_each_row_has_reports_and_what_shows_it() -> None:
    assert rows()
    for row in rows():
        trouble, reported, _, shown = row
        assert all(_REPORT.fullmatch(report) for report in reported.split(", ")), trouble
        named = ", ".join(f"`{file}::{name}`" for file, name in _TEST.findall(shown))
        assert shown == named or shown.startswith(NOT_COVERED), trouble


def test_each_report_is_listed_once() -> None:
    reports = Counter(report for _, reported, *_ in rows() for report in reported.split(", "))
    assert [report for report, times in reports.items() if times > 1] == []


def test_each_test_that_is_named_is_there() -> None:
    missing = [
        f"{file}::{name}" for *_, shown in rows() for file, name in _TEST.findall(shown) if name not in names_in(file)
    ]
    assert missing == []
