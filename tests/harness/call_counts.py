"""How often the package's functions are called: a cost that is the same on a busy machine and on an idle one."""

from __future__ import annotations

import cProfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Final

import streamguard

__all__ = ["CallCount", "counted_calls"]

PACKAGE: Final = str(Path(streamguard.__file__).parent)
KIT: Final = str(Path(PACKAGE) / "testing")


@dataclass
class CallCount:
    """Of functions of the package, in this thread; a coroutine or generator that goes on counts as called again."""

    calls: int = 0


@contextmanager
def counted_calls() -> Iterator[CallCount]:
    """Count while the block runs. The count is there once it is left.

    What Python versions do differently does not count: built-in functions, and comprehensions, which are functions of
    their own before 3.12.
    """
    found, profile = CallCount(), cProfile.Profile(builtins=False)
    profile.enable()
    try:
        yield found
    finally:
        profile.disable()
    for entry in profile.getstats():
        if isinstance(entry.code, CodeType) and _counts(entry.code):
            found.calls += entry.callcount


def _counts(code: CodeType) -> bool:
    file = code.co_filename
    return file.startswith(PACKAGE) and not file.startswith(KIT) and not code.co_name.startswith("<")
