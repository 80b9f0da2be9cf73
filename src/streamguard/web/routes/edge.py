"""A guard's HTTP edge in parts, for the modules in `streamguard.contrib` that put it into a framework."""

from __future__ import annotations

from typing import NamedTuple

from .installation import Installations
from .route import Answer

__all__ = ["HttpEdge"]


class HttpEdge(NamedTuple):
    """The parts that such a module needs."""

    answer: Answer
    """Answers a request to one of the guard's routes."""
    installations: Installations
    """Where the routes are."""
