"""Message stores that break one clause of the contract each, to show that the suite notices."""

from . import appending, content, continuing, doubts, ids, lifetimes, reading, sessions
from .bench import BROKEN, Broken

__all__ = [
    "BROKEN",
    "Broken",
    "appending",
    "content",
    "continuing",
    "doubts",
    "ids",
    "lifetimes",
    "reading",
    "sessions",
]
