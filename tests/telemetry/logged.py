"""What is logged, as a host with structlog has it."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Final

import structlog

from streamguard import Signal
from streamguard.log_lines import LogEvent

__all__ = ["Line", "logged", "what_is_missing"]

Line = MutableMapping[str, object]

STREAM_IDS: Final = ("session_id", "stream_id", "message_id", "request_id")

OF_A_PROCESS: Final = frozenset(
    {
        Signal.BREAKER_OPENED,
        Signal.BREAKER_CLOSED,
        Signal.STORE_WARNING,
        Signal.MISUSE,
        Signal.DRAIN_STARTED,
        Signal.DRAIN_ENDED,
        Signal.TASK_RESTARTED,
        Signal.RECONCILE_STARTED,
        Signal.RECONCILED,
        *(set(LogEvent) - {LogEvent.AUDIT, LogEvent.EVENTS_APPENDED, LogEvent.EVENTS_SENT}),
    }
)
"""Events that are about the process."""
OF_A_REQUEST: Final = frozenset({Signal.RESUME_EMPTY, Signal.RESUME_REFUSED, Signal.SESSION_ERASED, Signal.FAULT})
"""Events of which some are about a request that has no stream."""
OF_A_RECORD: Final = frozenset({Signal.RESERVATION_EXPIRED, Signal.RECORD_UNREADABLE})
"""Events of which some are about a stream whose record is gone or cannot be read."""


@contextmanager
def logged() -> Iterator[list[Line]]:
    """The lines that are logged meanwhile, each as structlog hands it to the last processor."""
    lines: list[Line] = []

    def keep(_: object, level: str, line: Line) -> str:
        lines.append({**line, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    try:
        yield lines
    finally:
        structlog.reset_defaults()


def what_is_missing(line: Line) -> list[str]:
    """The ids that a line should have, and has not."""
    event = line["event"]
    known = [name for name in STREAM_IDS if line.get(name)]
    if event in OF_A_PROCESS and not known:
        return []
    if event in OF_A_REQUEST and "stream_id" not in known:
        return [] if "request_id" in known else ["request_id"]
    if event in OF_A_RECORD and ("stream_id" in known or not known):
        return []
    if line.get("reason") == "stream_gone":  # a client came back for it
        known.append("message_id")
    return [name for name in STREAM_IDS if name not in known]
