"""The adapters' tests with the lowest version of each library that its extra allows, beside the newest everything else.

`scripts/test-versions openai` and so on make a whole environment for it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from ..harness.tools import missing

ROOT: Final = Path(__file__).resolve().parents[2]
EXTRAS: Final = ("openai", "anthropic", "litellm")


def lowest(extra: str) -> str:
    """The extra's library at its lowest version, as a requirement."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = project["optional-dependencies"][extra]
    return re.sub(r">=([0-9.]+)", r"==\1", requirement)


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.parametrize("extra", EXTRAS)
def test_at_the_lowest_version(extra: str, tmp_path: Path) -> None:
    """Only the library itself is old: what it needs is there for the newest version."""
    pip = run("pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), lowest(extra))
    if pip.returncode != 0:
        missing(f"{lowest(extra)} could not be installed: pip install '{lowest(extra)}'\n{pip.stderr[-2000:]}")
    modules = sorted(str(path) for path in Path(__file__).parent.glob(f"test_{extra}_*.py"))
    tests = [path for path in modules if not path.endswith("_agents.py")]
    assert len(tests) >= 3
    # Old libraries warn of what their own dependencies have deprecated since.
    pytest_words = ("pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning", *tests)
    ran = run(*pytest_words, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
