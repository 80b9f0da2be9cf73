"""When single events were appended, woke a viewer and were sent, in the log: for whoever looks for a delay's cause.

Nobody pays for it but who asks: the logger `streamguard.events` has to be at level `DEBUG` before the guard starts.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from .log_lines import LogEvent, is_debugging, log_line
from .values import Subject, short_hash

__all__ = ["EVENTS_LOGGER", "EventTimes", "event_times"]

EVENTS_LOGGER: Final = "streamguard.events"


class EventTimes:
    """Logs the times of events. Unix times, so that lines of several processes can be put side by side."""

    @staticmethod
    def now() -> float:
        """The Unix time."""
        return time.time()

    def appended(self, subject: Subject, first_seq: int, last_seq: int, *, seconds: float) -> None:
        """These events are in the log since now; their append took that long."""
        self._log(LogEvent.EVENTS_APPENDED, subject, first_seq, last_seq, {"at": self.now(), "seconds": seconds})

    def sent(
        self, subject: Subject, first_seq: int, last_seq: int, *, woken_at: float | None, at: float, seconds: float
    ) -> None:
        """These events were handed to the server `at` that time, which took `seconds`. Their viewer learned of them at
        `woken_at`; None if it did not wait for them."""
        self._log(
            LogEvent.EVENTS_SENT, subject, first_seq, last_seq, {"woken_at": woken_at, "at": at, "seconds": seconds}
        )

    def _log(
        self, event: LogEvent, subject: Subject, first_seq: int, last_seq: int, times: dict[str, float | None]
    ) -> None:
        ref = subject.ref
        fields: dict[str, object] = {
            "owner_hash": short_hash(ref.key.owner),
            "session_id": ref.key.session_id,
            "stream_id": ref.stream_id,
            "message_id": subject.message_id,
            "request_id": subject.request_id,
            "first_seq": first_seq,
            "last_seq": last_seq,
            **{name: None if value is None else round(value, 6) for name, value in times.items()},
        }
        log_line(EVENTS_LOGGER, logging.DEBUG, event, fields)


def event_times() -> EventTimes | None:
    """What logs them; None where nobody wants them."""
    return EventTimes() if is_debugging(EVENTS_LOGGER) else None
