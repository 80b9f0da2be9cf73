"""Text over plain SSE: a reply's text as unnamed events, everything else under its own event name.

An `EventSource` sees `message` events whose `data`, joined, is the reply; `streamguard.notice` and
`streamguard.error` (a `Fault` as JSON; the second when the reply was cut off); and one `streamguard.end` with the
terminal record as JSON.

SSE cannot carry a CR, so each CR and CRLF in the reply's text becomes LF.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from ..decoding import read_json
from ..faults import Fault, Severity
from ..values import Event, EventKind, Outcome
from .adapters import refusal
from .base import DataLineProtocol, Encoder, OnLeftOut, nobody_told
from .folding import UIMessage
from .raw_sse import RawSseCheck
from .sse import LF, encode_block, encode_text
from .text_fold import TextFold
from .text_pieces import fitting
from .values import valid_text

__all__ = ["PlainEncoder", "PlainProtocol"]

PROTOCOL: Final = "plain"

_DATA: Final = EventKind.DATA
_NOTICE: Final = EventKind.NOTICE
_CLOSING: Final = EventKind.CLOSING


class PlainEncoder(Encoder):
    """Turns text deltas into UTF-8, with LF as the only line end and no surrogates.

    A CRLF or a surrogate pair that two deltas share counts as one. Half a pair waits for the next delta. A delta
    over the limit becomes several.
    """

    def __init__(self, *, max_event_bytes: int) -> None:
        self.held: list[bytes] = []
        self._max_bytes = max_event_bytes
        self._lone_bytes = 0
        """Up to this length the next delta may be one payload: 0 while its form depends on the last one (`_half` or
        `_after_cr` is set), and while `_raw_sse` looks at it."""
        self._after_cr = False
        self._half = ""
        self._raw_sse: RawSseCheck | None = RawSseCheck(PROTOCOL)  # for the first texts only

    def begin(self) -> Sequence[bytes]:
        return ()

    def lone_payload(self, item: object) -> bytes:
        if type(item) is str and len(item) <= self._lone_bytes and item.isascii() and "\r" not in item:
            return item.encode()
        return b""

    def encode(self, item: object) -> Sequence[bytes]:
        if self._raw_sse is not None and isinstance(item, str) and item:
            passed = self._raw_sse.passed(item)
            if passed is None:
                return ()
            self._raw_sse, self._lone_bytes, item = None, self._max_bytes, passed
            if payload := self.lone_payload(passed):
                return (payload,)
        if not isinstance(item, str):
            otherwise = "; server-sent events of your own need protocol='opaque' in @guard.stream"
            raise refusal(item, PROTOCOL, "a plain endpoint yields str", otherwise)
        text = self._half + item if self._half else item
        if not text:
            return ()
        half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        after_cr = self._after_cr
        if half:
            text = text[:-1]
        if text:
            if after_cr:
                text = text.removeprefix("\n")
            after_cr = text.endswith("\r")
            if "\r" in text:
                text = text.replace("\r\n", "\n").replace("\r", "\n")
        self._half, self._after_cr = half, after_cr
        self._lone_bytes = 0 if half or after_cr else self._max_bytes
        return fitting(valid_text(text), str.encode, self._max_bytes) if text else ()

    def finish(self) -> Sequence[bytes]:
        kept = () if self._raw_sse is None else self._kept_text(self._raw_sse)
        half, self._half = self._half, ""
        return (*kept, encode_text(half)) if half else kept

    def _kept_text(self, check: RawSseCheck) -> Sequence[bytes]:
        """The payloads of text that was held back as possible server-sent events, once no more text comes."""
        text, self._raw_sse = check.rest(), None
        return self.encode(text)

    def abandon(self) -> Sequence[bytes]:
        return self.finish()


class PlainProtocol(DataLineProtocol):
    """Sends text deltas as `data:` lines. The module's docstring describes the rest."""

    name: ClassVar[str] = PROTOCOL

    def encoder(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> PlainEncoder:
        return PlainEncoder(max_event_bytes=max_event_bytes)

    def frame(self, event: Event, cursor: str | None) -> bytes:
        kind, data = event.kind, event.data
        name = b""
        if kind is _NOTICE:
            # Not through `Fault`: a newer worker's notice may have a code this version does not know.
            fatal = read_json(data).get("severity") == Severity.FATAL
            name = b"event: streamguard.error\n" if fatal else b"event: streamguard.notice\n"
        elif kind is not _DATA and kind is not _CLOSING:
            name = b"event: streamguard.end\n"
        if LF in data:
            data = data.replace(b"\n", b"\ndata: ")
        cursor_line = b"" if cursor is None else b"id: " + cursor.encode() + b"\n"
        return cursor_line + name + b"data: " + data + b"\n\n"

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        name = "streamguard.notice" if fault.severity is Severity.WARNING else "streamguard.error"
        return encode_block(fault.to_json(), event=name, event_id=cursor)

    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        return held if outcome is Outcome.COMPLETED else ()

    def folding(self, message_id: str, previous: UIMessage | None = None) -> TextFold:
        return TextFold(message_id, previous, lambda text: {"type": "text", "text": text})

    def text(self, events: Iterable[Event]) -> str:
        return b"".join(event.data for event in events if event.kind in (_DATA, _CLOSING)).decode("utf-8", "replace")
