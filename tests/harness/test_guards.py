"""The guards of the root conftest catch what they are there for: each is shown a test that must fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockingError

import streamguard

from .workers import ROOT

LEAVES_A_TASK = """
import asyncio, pytest

@pytest.mark.anyio
async def test_it():
    global kept
    kept = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
"""

LEAVES_AN_IMMORTAL_KEY = """
def test_it(redis_server, redis_database):
    redis_server.client(redis_database).set("k", "v")
"""

WARNS = """
import warnings

def test_it():
    warnings.warn("careful", DeprecationWarning)
"""


@pytest.mark.parametrize(
    ("test", "complaint"),
    [
        (LEAVES_A_TASK, "tasks that survived the test"),
        (LEAVES_AN_IMMORTAL_KEY, "keys without a TTL: [b'k']"),
        (WARNS, "DeprecationWarning: careful"),
    ],
    ids=["task", "key", "warning"],
)
def test_a_test_that_leaves_something_fails(test: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    # Without the outer run's coverage: this is not about the package.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    run = subprocess.run(
        [*command, f"--rootdir={ROOT}", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert complaint in run.stdout


def _blocks_as_if_in(path: Path) -> Callable[[], None]:
    source = "import time\ndef block():\n    time.sleep(0.001)\n"
    names: dict[str, Callable[[], None]] = {}
    exec(compile(source, str(path), "exec"), names)
    return names["block"]


@pytest.mark.anyio
async def test_blocking_calls_of_the_package_fail_and_those_of_tests_do_not() -> None:
    time.sleep(0.001)
    _blocks_as_if_in(Path(__file__))()
    with pytest.raises(BlockingError):
        _blocks_as_if_in(Path(streamguard.__file__).parent / "imagined.py")()
