"""What a log's events say about the log: whether it is the whole stream, and whether it can be shown."""

from __future__ import annotations

from typing import Final

from ...faults import Fault
from ...stores.records import Terminal
from ...values import EventKind

__all__ = ["LOG_LOST", "LOG_UNREADABLE", "is_readable", "is_tombstone"]

LOG_LOST: Final = "log_lost"
"""The terminal record's reason when the log before it is not the whole stream."""

LOG_UNREADABLE: Final = "log_unreadable"
"""The fault's reason when a stream's log is damaged and its rest cannot be shown."""


def is_tombstone(terminal: bytes) -> bool:
    """Whether a terminal record ends a log that is not the whole stream. An unreadable record counts as one: taking it
    for a clean end would make half an answer look whole."""
    try:
        return Terminal.from_json(terminal).reason == LOG_LOST
    except ValueError:
        return True


def is_readable(kind: EventKind, data: bytes) -> bool:
    """Whether an event from a log can be framed. Framing parses a notice; it passes data on as it is."""
    if kind is not EventKind.NOTICE:
        return True
    try:
        Fault.from_json(data)
    except ValueError:
        return False
    return True
