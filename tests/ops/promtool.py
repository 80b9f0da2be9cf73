"""Prometheus' own checks, of files and of rules fed with series."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..harness.tools import missing

__all__ = ["promtool", "unit_tested"]

_INSTALL: Final = "needs promtool: apt-get install prometheus"


def promtool(*arguments: str, says: bytes | None = None) -> None:
    """Run `promtool ARGUMENTS`, with `says` on its standard input.

    Raises:
        AssertionError: it found something wrong. Has what it said.
    """
    tool = shutil.which("promtool")
    if tool is None:
        missing(_INSTALL)
    done = subprocess.run([tool, *arguments], input=says, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout.decode()}\n{done.stderr.decode()}"


def unit_tested(directory: Path, rules: Sequence[Path], tests: Sequence[dict[str, Any]]) -> None:
    """Run unit tests of rules, once a minute of Prometheus' time.

    Raises:
        AssertionError: one failed. Has what `promtool` said: each expectation, and what came instead.
    """
    file = directory / "tests.json"  # JSON is YAML
    content = {"rule_files": [str(path) for path in rules], "evaluation_interval": "1m", "tests": list(tests)}
    file.write_text(json.dumps(content))
    promtool("test", "rules", str(file))
