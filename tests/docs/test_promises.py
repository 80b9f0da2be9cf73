"""The promises and the tests that show them: each promise names its tests, and each test its promises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..harness.sources import python_files

TESTS: Final = Path(__file__).parent.parent
PAGE: Final = TESTS.parent / "docs" / "explanation" / "promises.md"
NUMBERS: Final = [f"I{number}" for number in range(1, 13)]


def marked() -> Iterator[tuple[str, str]]:
    """A promise and the name of a test that carries `pytest.mark.promise` for it."""
    for file in python_files(TESTS):
        if not file.name.startswith("test_") or "mark.promise" not in (text := file.read_text()):
            continue
        for function in ast.walk(ast.parse(text)):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.promise":
                    for name in decorator.args:
                        assert isinstance(name, ast.Constant)
                        yield str(name.value), function.name


def test_the_page_states_the_promises_by_their_numbers() -> None:
    assert re.findall(r"^- \*\*(I\d+)\*\*", PAGE.read_text(), re.MULTILINE) == NUMBERS


def test_each_promise_names_the_tests_that_show_it() -> None:
    section = PAGE.read_text().partition("## The tests behind them")[2]
    listed = {
        (promise, test)
        for promise, tests in re.findall(r"^\| (I\d+) \| (.*) \|$", section, re.MULTILINE)
        for test in re.findall(r"`(test_\w+)`", tests)
    }

    assert listed == set(marked())
    assert {promise for promise, _ in listed} == set(NUMBERS)
