"""`streamguard.testing` needs pytest only once a suite is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import streamguard.testing

pytestmark = pytest.mark.processes

WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = None  # as if it were not installed
import streamguard.testing
from streamguard.errors import ConfigurationError
try:
    streamguard.testing.StreamStoreSuite
except ConfigurationError as exc:
    print(exc)
"""

ODD_ORDER = """
import streamguard.testing._stream_store.clauses
from streamguard.testing import StreamStoreSuite


def test_it_is_there() -> None:
    assert StreamStoreSuite
"""


def test_it_imports_without_pytest_and_says_what_a_suite_needs() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert "pip install pytest" in done.stdout


def test_a_suite_can_be_asked_for_after_its_parts_were_imported(tmp_path: Path) -> None:
    test = tmp_path / "test_odd_order.py"
    test.write_text(ODD_ORDER)
    pytest_run = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-p", "no:randomly", "-q"]
    done = subprocess.run([*pytest_run, str(test)], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", streamguard.testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(streamguard.testing, name).__name__ == name


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchSuite'"):
        streamguard.testing.NoSuchSuite  # type: ignore[attr-defined]  # noqa: B018 - looking it up is the test
