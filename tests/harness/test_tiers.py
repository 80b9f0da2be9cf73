"""The fast tier lets no test start a process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..tiers import MODULES, processes_refused

pytestmark = pytest.mark.anyio


def test_a_process_may_not_be_started_in_the_fast_tier() -> None:
    with processes_refused(), pytest.raises(AssertionError, match="mark it `processes`"):
        subprocess.run([sys.executable, "--version"], check=True)
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


@pytest.mark.parametrize("module", sorted(MODULES))
def test_modules_that_it_leaves_out_are_there(module: str) -> None:
    assert (Path(__file__).parents[1] / module).exists()


async def test_nor_in_any_other_way() -> None:
    with processes_refused():
        with pytest.raises(AssertionError, match="mark it `processes`"):
            await asyncio.create_subprocess_exec(sys.executable, "--version")
        with pytest.raises(AssertionError, match="mark it `processes`"):
            os.system("true")
