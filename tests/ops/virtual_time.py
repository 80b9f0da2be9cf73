"""A clock that only moves when everybody waits for it: an hour of a guarded application takes seconds.

`install` puts it in place of the process's own, so call it before anything of the package is imported, in a process
that does nothing else. Computing takes no time on it; what waits for a timer gets there at once, in the right order.
Nothing real can be waited for, such as a socket's peer or a thread.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Final

__all__ = ["BEGINNING", "advance", "install", "now", "reset", "runner", "unix"]

BEGINNING: Final = 1_700_000_040.0
"""Unix time when the clock begins: a whole minute."""

_STUCK_SECONDS: Final = 5.0


class _Clock:
    """Seconds since it began."""

    seconds = 0.0


def now() -> float:
    """Seconds since the clock began."""
    return _Clock.seconds


def unix() -> float:
    """The same as a Unix time."""
    return BEGINNING + _Clock.seconds


def advance(seconds: float) -> None:
    """Let time pass while nothing else can run: what a blocking call does."""
    _Clock.seconds += seconds


def install() -> None:
    """Let `time.monotonic`, `time.time` and `time.sleep` be those of this clock, for good."""
    for name, of_this_clock in (("monotonic", now), ("time", unix), ("sleep", advance)):
        setattr(time, name, of_this_clock)


def reset() -> None:
    """Begin again at a whole minute, for another run."""
    _Clock.seconds += 3_600.0 - _Clock.seconds % 3_600.0


class _Selector(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            if ready := super().select(_STUCK_SECONDS):  # a thread of the loop's, which has no timer
                return ready
            raise AssertionError("everything waits, and for no timer")
        _Clock.seconds += timeout
        return []


def runner() -> asyncio.Runner:
    """Runs coroutines on this clock."""
    return asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_Selector()))
