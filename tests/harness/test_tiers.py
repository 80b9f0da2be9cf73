"""The fast tier lets no test start a process, and a run of the others begins with the slow ones."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..tiers import (
    ELSEWHERE,
    MODULES,
    REPEATING,
    Tier,
    directory_of,
    is_measured,
    only,
    processes_refused,
    slow_first,
    tier_of,
)
from .sources import python_files

pytestmark = pytest.mark.anyio


def test_a_process_may_not_be_started_in_the_fast_tier() -> None:
    with processes_refused(), pytest.raises(AssertionError, match="mark it `processes`"):
        subprocess.run([sys.executable, "--version"], check=True)
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_that_it_leaves_out_are_there(module: str) -> None:
    assert (Path(__file__).parents[1] / module).exists()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_classes_that_it_leaves_out_are_there(name: str) -> None:
    classes = re.compile(rf"^class Test\w*{name}\b", re.MULTILINE)
    assert any(classes.search(path.read_text()) for path in python_files(Path(__file__).parents[1]))


@pytest.mark.parametrize("directory", sorted(REPEATING))
def test_directories_without_coverage_are_there(directory: str) -> None:
    assert (Path(__file__).parents[1] / directory).is_dir()


def test_no_coverage_where_tests_repeat_what_others_show(request: pytest.FixtureRequest) -> None:
    """`--cov` has it on for the others, and in the processes that they start."""
    assert not is_measured(request.node)
    assert sys.gettrace() is None
    assert "COVERAGE_PROCESS_CONFIG" not in os.environ


@pytest.mark.slow
def test_no_coverage_within_a_slow_test() -> None:
    """`--cov` has it on for the others."""
    assert sys.gettrace() is None


async def test_nor_in_any_other_way() -> None:
    with processes_refused():
        with pytest.raises(AssertionError, match="mark it `processes`"):
            await asyncio.create_subprocess_exec(sys.executable, "--version")
        with pytest.raises(AssertionError, match="mark it `processes`"):
            os.system("true")


@pytest.fixture
def twenty(request: pytest.FixtureRequest) -> list[pytest.Item]:
    """Twenty tests, of which each third is slow."""
    items: list[pytest.Item] = []
    for number in range(1, 21):
        items.append(pytest.Function.from_parent(request.node.parent, name=f"test_{number}", callobj=lambda: None))
        if number % 3 == 0:
            items[-1].add_marker("slow")
    return items


def test_a_test_is_of_one_tier(request: pytest.FixtureRequest, twenty: list[pytest.Item]) -> None:
    assert tier_of(request.node) is Tier.MIDDLE  # in a directory that is about processes
    assert [tier_of(item) for item in twenty].count(Tier.SLOW) == 6
    slow, others = only(Tier.SLOW, twenty)
    assert sorted(slow + others, key=twenty.index) == twenty


@pytest.mark.parametrize("processes", [1, 3, 4, 20, 30])
def test_each_process_begins_with_its_share_of_the_slow(twenty: list[pytest.Item], processes: int) -> None:
    ordered = slow_first(twenty, processes)
    assert sorted(ordered, key=twenty.index) == twenty
    rest = ordered
    for remaining in range(processes, 0, -1):  # as pytest-xdist cuts them
        piece, rest = rest[: len(rest) // remaining], rest[len(rest) // remaining :]
        slow = [tier_of(item) is Tier.SLOW for item in piece]
        assert slow == sorted(slow, reverse=True)
        assert sum(slow) <= max(1, -(-6 // processes))


def test_what_imports_models_libraries_is_in_one_piece(
    request: pytest.FixtureRequest, twenty: list[pytest.Item]
) -> None:
    path = Path(__file__).parents[1] / "contrib" / "test_openai_page.py"
    module = pytest.Module.from_parent(request.session, path=path)
    theirs = [pytest.Function.from_parent(module, name=f"test_{n}", callobj=lambda: None) for n in range(3)]
    ordered = slow_first([*twenty[:5], theirs[0], *twenty[5:11], *theirs[1:], *twenty[11:]], 2)
    first = ordered[: len(ordered) // 2]
    assert first[sum(tier_of(item) is Tier.SLOW for item in first) :][: len(theirs)] == theirs


def test_the_directory_of_a_test() -> None:
    assert directory_of("tests/web/rules/test_limits.py::Test::test[a/b]") == "tests/web"
    assert directory_of("tests/test_lua.py::test") == "tests/test_lua.py"


def test_a_run_says_how_long_each_tier_took() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/quota/test_limits.py"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "\ntier fast: " in ran.stdout
