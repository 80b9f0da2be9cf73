"""The fast tier lets no test start a process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamguard.testing import MessageStoreSuite, StreamStoreSuite

from ..tiers import LONG, MODULES, processes_refused

pytestmark = pytest.mark.anyio


def test_a_process_may_not_be_started_in_the_fast_tier() -> None:
    with processes_refused(), pytest.raises(AssertionError, match="mark it `processes`"):
        subprocess.run([sys.executable, "--version"], check=True)
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in sorted(LONG) for name in sorted(LONG[module])]
)
def test_what_the_fast_tier_leaves_out_by_name_is_in_the_whole_suite(module: str, name: str) -> None:
    """A test that was renamed is no longer left out, and its old name goes with it."""
    path = Path(__file__).parents[1] / module
    assert re.search(rf"^ *(async def|def|class) {name}\b", path.read_text(), re.M) or name in inherited(path)


def inherited(path: Path) -> set[str]:
    """The clauses of the suites that a module's classes are made of."""
    suites = [StreamStoreSuite, MessageStoreSuite]
    return {name for suite in suites if suite.__name__ in path.read_text() for name in dir(suite)}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_that_it_leaves_out_are_there(module: str) -> None:
    assert (Path(__file__).parents[1] / module).exists()


async def test_nor_in_any_other_way() -> None:
    with processes_refused():
        with pytest.raises(AssertionError, match="mark it `processes`"):
            await asyncio.create_subprocess_exec(sys.executable, "--version")
        with pytest.raises(AssertionError, match="mark it `processes`"):
            os.system("true")
