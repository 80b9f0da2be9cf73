"""Quota stores that break one clause of the contract each, to show that the suite notices."""

from . import doubts, due, expiring, reserving, settling, standing
from .bench import Bench, breaks

__all__ = ["BROKEN", "Bench", "doubts", "due", "expiring", "reserving", "settling", "standing"]

BROKEN = breaks.broken
"""By the clause that is broken."""
