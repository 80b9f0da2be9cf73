"""What only later versions of a library do, for tests that run with earlier ones too: skipped there, and said so."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.version import Version

__all__ = ["only_from", "skip_before"]


def only_from(package: str, first: str, why: str) -> pytest.MarkDecorator:
    """Marks what needs `package` of that version or later; `why` says what earlier ones lack."""
    return pytest.mark.skipif(_is_before(package, first), reason=_reason(package, first, why))


def skip_before(package: str, first: str, why: str) -> None:
    """Skip the test that runs, likewise."""
    if _is_before(package, first):
        pytest.skip(_reason(package, first, why))


def _is_before(package: str, first: str) -> bool:
    return Version(version(package)) < Version(first)


def _reason(package: str, first: str, why: str) -> str:
    return f"{package} before {first} {why}"
