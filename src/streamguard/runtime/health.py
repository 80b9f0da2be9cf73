"""What a process knows of its own health."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Health", "Steady"]


@dataclass(frozen=True, slots=True)
class Health:
    """What the process knows of itself."""

    ready: bool
    """The store can be used and new streams are admitted."""
    reasons: tuple[str, ...]
    """What is wrong at the moment."""
    steady: tuple[str, ...]
    """What is wrong, or was a moment ago: it does not flap."""
    streams: int
    viewers: int
    degraded_streams: int
    draining: bool


class Steady:
    """Goes on giving a reason for `seconds` after it was given last."""

    def __init__(self, seconds: float, *, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}

    def reasons(self, reasons: Iterable[str]) -> tuple[str, ...]:
        """`reasons`, and those that were given a moment ago."""
        now = self._clock()
        self._until = {reason: until for reason, until in self._until.items() if until > now}
        present = dict.fromkeys(reasons)
        self._until |= dict.fromkeys(present, now + self._seconds)
        return tuple({**present, **self._until})
