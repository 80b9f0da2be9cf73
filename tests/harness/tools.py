"""What tests do without a program they need."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["missing"]


def missing(install: str) -> NoReturn:
    """A program is not there: skip the test, or with `CI=true` fail it; `install` says how to get it."""
    if os.environ.get("CI") == "true":
        pytest.fail(install)
    pytest.skip(install)
