"""What a contender is: a file beside this one with `CONTENDERS` and `app`.

To add one, copy `bare.py`. The benchmark requests `POST` of `Wire.path` with the query that `source` reads, and the
headers `X-User` (who asks) and `X-Session` (a name for the answer, new for each). The answer must be a
`text/event-stream` that contains each event of the source once and in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Contender", "Store", "Wire"]


class Store(StrEnum):
    """Where a contender keeps events."""

    NONE = "none"
    MEMORY = "memory"
    REDIS = "redis"


@dataclass(frozen=True, slots=True)
class Wire:
    """How a client speaks with a contender."""

    path: str = "/chat"
    resume: str | None = None
    """The path of a `GET` that resumes an answer, with `{session}` in it. None: the contender cannot resume.
    `{session}` is what the answer's header `X-Session-Id` says, else the request's `X-Session`. With `ids=1` in it,
    each event of the resume must carry a cursor of streamguard."""
    end: str = ""
    """What a whole answer contains besides its events."""
    ids: bool = False
    """Whether each event must carry a cursor of streamguard. An event without one was not logged, and the figures
    would be those of degraded mode."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server under test."""

    name: str
    """Its key in reports and on the command line."""
    title: str
    store: Store = Store.NONE
    wire: Wire = Wire()
    baseline: str = "bare"
    """The contender that its figures are compared with."""
