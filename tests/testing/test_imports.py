"""`streamguard.testing` needs pytest only once a suite is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamguard.testing

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


def test_it_imports_without_pytest_and_says_what_a_suite_needs() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, text=True, timeout=15)
    assert done.stderr == ""
    assert "pip install pytest" in done.stdout


@pytest.mark.parametrize("name", streamguard.testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(streamguard.testing, name).__name__ == name


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchSuite'"):
        streamguard.testing.NoSuchSuite  # type: ignore[attr-defined]  # noqa: B018 - looking it up is the test
