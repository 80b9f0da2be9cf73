"""Sinks that keep what they are given, for a test to look through."""

from __future__ import annotations

import io
import json
import logging
import traceback

from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

__all__ = ["Envelopes", "Lines", "Written"]


class Envelopes(Transport):
    """Keeps every envelope that would be sent, without what is the host's own: what its framework's integration says of
    a request, and of an exception that left the application. Our hooks take that out; see `Scrubbed`."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent: list[bytes] = []
        self.of_framework: int = 0
        """How many exceptions the framework's integration captured."""

    def capture_envelope(self, envelope: Envelope) -> None:
        buffer = io.BytesIO()
        envelope.serialize_into(buffer)
        self.sent.append(b"\n".join(self._ours(line) for line in buffer.getvalue().split(b"\n")))

    def _ours(self, line: bytes) -> bytes:
        try:
            item = json.loads(line)
        except ValueError:
            return line
        if not isinstance(item, dict) or item.get("logger") == "streamguard":
            return line
        if any(_is_of_framework(value) for value in (item.get("exception") or {}).get("values", ())):
            self.of_framework += 1
            return b""
        if "request" not in item:
            return line
        return json.dumps({name: value for name, value in item.items() if name != "request"}).encode()

    def taken(self) -> list[bytes]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent


def _is_of_framework(value: dict[str, object]) -> bool:
    mechanism = value.get("mechanism")
    return isinstance(mechanism, dict) and mechanism.get("type") == "starlette"


class Lines(logging.Handler):
    """Keeps what a careless formatter would write: the message, all of the record, and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.name} {record.getMessage()} {record.__dict__!r}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(traceback.format_exception(record.exc_info[1]))
        self.lines.append(text)

    def taken(self) -> list[str]:
        """What was logged since the last time."""
        lines, self.lines = self.lines, []
        return lines


class Written:
    """What structlog writes, as a host with JSON lines and tracebacks has it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, *args: object) -> Written:
        return self

    def msg(self, line: str) -> None:
        self.lines.append(line)

    debug = info = warning = error = critical = exception = log = msg

    def taken(self) -> list[str]:
        """What was written since the last time."""
        lines, self.lines = self.lines, []
        return lines
