"""Quota stores that break one clause of the contract each, to show that the suite notices."""

from . import doubts, due, expiring, reserving, settling, standing
from .bench import BROKEN, Broken

__all__ = ["BROKEN", "Broken", "doubts", "due", "expiring", "reserving", "settling", "standing"]
