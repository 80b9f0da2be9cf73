"""Message stores that break one clause of the contract each, to show that the suite notices."""

from . import appending, content, continuing, doubts, ids, lateness, lifetimes, reading, sessions, superseding
from .bench import Bench, breaks

__all__ = [
    "BROKEN",
    "Bench",
    "appending",
    "content",
    "continuing",
    "doubts",
    "ids",
    "lateness",
    "lifetimes",
    "reading",
    "sessions",
    "superseding",
]

BROKEN = breaks.broken
"""By the clause that is broken."""
