"""One look of `streamguard ps`, as a table, as lines, and as an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .fitting import fitted
from .output import Output, safe
from .overview import WORKER_COLUMNS, WORKER_RIGHT, WORKER_SPARE, Overview, overview_lines, worker_rows

__all__ = ["COLUMNS", "RIGHT", "SPARE", "Seen", "print_seen", "summary"]

COLUMNS: Final = ("STREAM", "OWNER", "SESSION", "AGE", "EVENTS", "RATE", "LEASE", "VIEWERS", "STATE", "STOP")
RIGHT: Final = ("AGE", "EVENTS", "RATE", "LEASE", "VIEWERS")
SPARE: Final = ("OWNER", "STOP", "EVENTS", "VIEWERS", "RATE", "SESSION", "AGE")
"""What a narrow terminal does without, the first first."""

UNLIMITED: Final = 10_000
"""Programs and files get every column."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look."""

    shape: Mapping[str, object]
    """As `--json` has it."""
    rows: Sequence[Sequence[str]]
    """The streams."""
    more: bool
    """There are more streams than were asked for."""
    overview: Overview
    states: Mapping[str, int]
    """How many of the streams that were looked at are in each state."""


def print_seen(output: Output, seen: Seen) -> None:
    """Print it, one line for each worker and stream."""
    if output.as_json:
        output.value(seen.shape)
        return
    width = output.console.width if output.console.is_terminal else UNLIMITED
    if workers := worker_rows(seen.overview):
        output.show(fitted(WORKER_COLUMNS, workers, right=WORKER_RIGHT, spare=WORKER_SPARE, width=width))
        output.line("")
    for line in (*overview_lines(seen.overview, seen.states), ""):
        output.line(safe(line))
    if seen.rows:
        output.show(fitted(COLUMNS, seen.rows, right=RIGHT, spare=SPARE, width=width))
    output.line(summary(seen))


def summary(seen: Seen) -> str:
    """How many streams were looked at, and where."""
    count = len(seen.rows)
    streams = "no active streams" if not count else "1 active stream" if count == 1 else f"{count} active streams"
    return f"{streams} at {seen.shape['store']}" + ("; there are more (--limit)" if seen.more else "")
