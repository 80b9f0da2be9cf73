"""Reads an event's place from ids. No other module of the soak knows the form of a cursor or of a log's ids."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Place", "place_of_cursor", "place_of_entry", "stream_of_cursor"]

_CURSOR: Final = re.compile(r"1\.([0-9a-f]{24})\.(?:(\d+)\.)?(\d+)")
_ENTRY: Final = re.compile(r"(\d+)-(\d+)")


class Place(NamedTuple):
    """A place in a stream's log."""

    epoch: int
    """The writer's epoch; 0 if the ids do not hold it."""
    seq: int


def place_of_cursor(cursor: str) -> Place | None:
    """The place that a cursor names; None if it is not one of our cursors."""
    match = _CURSOR.fullmatch(cursor)
    return None if match is None else Place(int(match[2] or 0), int(match[3]))


def stream_of_cursor(cursor: str) -> str | None:
    """The stream that a cursor names; None if it is not one of our cursors."""
    match = _CURSOR.fullmatch(cursor)
    return None if match is None else match[1]


def place_of_entry(entry_id: str) -> Place | None:
    """The place of a log's entry; None if its id is not one of ours."""
    match = _ENTRY.fullmatch(entry_id)
    if match is None:
        return None
    first, second = int(match[1]), int(match[2])
    return Place(0, first) if second == 0 else Place(first, second)
