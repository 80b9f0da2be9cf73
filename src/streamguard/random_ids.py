"""Random ids, made of few system calls: four of each request would be a measurable part of a short stream."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["random_hex"]

_BYTES: Final = 12
_AT_ONCE: Final = 64
"""So many ids are made of one read of the system's random numbers."""

_made: list[str] = []


def random_hex() -> str:
    """24 lower-case hex digits, 96 random bits of the system's, as `secrets.token_hex(12)` gives: never the same twice,
    in no thread, and in no process that was forked from this one."""
    try:
        return _made.pop()  # of a list this is one step: no two threads get the same
    except IndexError:
        first, *others = os.urandom(_BYTES * _AT_ONCE).hex(" ", _BYTES).split()
        _made.extend(others)
        return first


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_made.clear)
