"""What a contender is: a file beside this one with `CONTENDERS` and `app`.

To add one, copy `bare.py`. The benchmark requests `POST` of `Wire.path` with the query that `source` reads, and the
headers `X-User` (who asks) and `X-Session` (a name for the answer, new for each). The answer must contain each event of
the source once and in order. A resume gets the headers `Last-Event-ID`, if the answer had ids, and `X-Characters`, the
number of characters that the client has; with neither it starts from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Contender", "Environment", "Store", "Wire"]


class Store(StrEnum):
    """Where a contender keeps events."""

    NONE = "none"
    MEMORY = "memory"
    REDIS = "redis"


class Environment(StrEnum):
    """What runs a contender's server."""

    PROJECT = "project"
    """The Python that runs the benchmark."""
    PYTHON = "python"
    """A Python with `requirements.txt`."""
    NODE = "node"
    """Node with `node/package.json`; the file beside it that the module's `SCRIPT` names is run."""


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
    environment: Environment = Environment.PROJECT
    logs: bool = True
    """Whether a contender with a store keeps each event in it, before or after it is sent."""
    ours: bool = False
    """Whether it is streamguard."""
