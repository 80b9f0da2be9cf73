"""How long reservations last and are remembered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..durations import is_duration
from ..errors import ConfigurationError

__all__ = ["Timing", "checked_claim", "milliseconds"]

_LONGEST_SECONDS: Final = 366 * 86_400.0
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Timing:
    """In milliseconds."""

    hold_ms: int
    """How long a reservation lasts that is not renewed."""
    stale_ms: int
    """So long ago its last renewal may be before it counts as pending release."""
    remember_ms: int
    """What was committed or released is remembered for this long."""
    late_ms: int
    """What expired is remembered for this long, for a late commit."""

    @classmethod
    def of(cls, *, hold_seconds: float, stale_seconds: float, remember_seconds: float, late_seconds: float) -> Timing:
        """Raises `ConfigurationError` for a time under a millisecond or over 366 days, or a stale reservation that
        has expired before."""
        times = {
            "hold_seconds": hold_seconds,
            "stale_seconds": stale_seconds,
            "remember_seconds": remember_seconds,
            "late_seconds": late_seconds,
        }
        for name, seconds in times.items():
            if not is_duration(seconds) or not 0.001 <= seconds <= _LONGEST_SECONDS:
                raise ConfigurationError(f"{name} is a positive number of seconds, of 366 days at most")
        if stale_seconds >= hold_seconds:
            raise ConfigurationError("stale_seconds must be less than hold_seconds, or nothing is ever pending release")
        return cls(*(milliseconds(seconds) for seconds in times.values()))

    @property
    def longest_ms(self) -> int:
        """For how long after the last step on a ledger something in it, besides its windows, may matter; with a day to
        spare."""
        return self.hold_ms + self.late_ms + self.remember_ms + _DAY_MS


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


def checked_claim(limit: int, claim_seconds: float) -> int:
    """The claim in milliseconds; 0 for none.

    Raises:
        ValueError: the limit is not positive, or the claim is no time up to 366 days: only a caller's mistake.
    """
    if limit < 1 or not 0 <= claim_seconds <= _LONGEST_SECONDS:
        raise ValueError("due: limit is from 1, and claim_seconds a number of seconds from 0, of 366 days at most")
    return milliseconds(claim_seconds) if claim_seconds else 0
