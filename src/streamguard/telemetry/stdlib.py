"""The present stream's ids on the standard library's log records."""

from __future__ import annotations

import logging
from typing import Final

from .stream_ids import IDS, ids_of_present_stream

__all__ = ["StreamContextFilter"]


class StreamContextFilter(logging.Filter):
    """Puts `session_id`, `stream_id`, `message_id`, `request_id` and `owner_hash` on every record.

        handler.addFilter(StreamContextFilter())
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s stream=%(stream_id)s"))

    Add it to handlers: a logger's filters do not see the records of loggers below it. With a `QueueHandler`, add it to
    that one, which runs where the line is logged, not to the handlers of its listener. An attribute that a record has
    already, by `extra=`, is kept.

    Args:
        missing: what a record has for an id that is not known, as outside of any stream: a format may name each.
    """

    def __init__(self, *, missing: str | None = "-") -> None:
        super().__init__()
        self._missing: Final = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the ids on the record; every record passes."""
        own = record.__dict__
        ids = ids_of_present_stream()
        if own.get("stream_id") not in (None, self._missing, ids.get("stream_id")):
            ids = {}  # it is about another stream
        for name in IDS:
            if own.get(name) in (None, self._missing):
                own[name] = ids.get(name, self._missing)
        return True
