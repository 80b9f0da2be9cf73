"""AI SDK's UI message stream, versions 5 to 7 (`x-vercel-ai-ui-message-stream: v1`).

Source: `processUIMessageStream` and `uiMessageChunkSchema` of the npm package `ai`, 5.0.0 to 7.0.173.

The encoder sends only streams that every one of those versions can read, whatever the order of the host's parts:

1. `start` comes first and names our message; a host's own `start` becomes `message-metadata`, or nothing.
2. Every open text and reasoning part is closed before `finish-step`, because versions 5 and 6 forget open parts
   there and fail on their late end, and before the first closing part.
3. A delta for a part that is not open opens it; an end for one is left out. Clients fail on either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import ClassVar, Final

from ..decoding import read_json
from ..errors import EventTooLargeError, InvalidPartError
from ..faults import Fault, Severity
from ..model import Event, EventKind, Outcome
from ._closing import reason_of
from ._parts import PROTOCOL, encode_part, part_of
from ._usage import usage_of
from .base import DataLineProtocol, Encoder
from .folding import MessageFold, UIMessage
from .sse import encode_text

__all__ = ["UIMessageEncoder", "UIMessageProtocol"]

_DATA: Final = EventKind.DATA
_CLOSING: Final = EventKind.CLOSING
_NOTICE: Final = EventKind.NOTICE

_CLOSING_TYPES: Final = frozenset({"finish", "abort", "error"})
"""After any of these, clients show nothing more."""

# Parts that take a place of their own in the message: text after them is a new text part, or it would move up.
_BREAKS_TEXT: Final = frozenset(
    {"tool-input-start", "tool-input-available", "tool-input-error", "custom", "steering-message", "start-step"}
)


class UIMessageEncoder(Encoder):
    """One stream's encoder; see the module's rules."""

    def __init__(self, *, message_id: str, max_event_bytes: int) -> None:
        self.held: list[bytes] = []
        self._held_bytes = 0
        self._message_id = message_id
        self._max_bytes = max_event_bytes
        self._open: dict[tuple[str, str], None] = {}  # ("text" | "reasoning", id), in the order they were opened
        self._text_count = 0
        self._text_key: tuple[str, str] | None = None  # the text part that `str` items go to, while it is open
        self._text_prefix = b""
        self._in_step = False
        self._closing = False

    def begin(self) -> Sequence[bytes]:
        return (encode_part({"type": "start", "messageId": self._message_id}),)

    def encode(self, item: object) -> Sequence[bytes]:
        if isinstance(item, str):
            return self._encode_text(item)
        if isinstance(item, (bytes, bytearray, memoryview)):
            raise InvalidPartError(
                "a ui-message endpoint yields text as str, not bytes; raw SSE needs protocol='opaque'",
                protocol=PROTOCOL,
            )
        part = part_of(item)
        kind = str(part["type"])
        if kind == "start":
            metadata = part.get("messageMetadata")
            if metadata is None:
                return ()
            part = {"type": "message-metadata", "messageMetadata": metadata}
        payload = encode_part(part)
        self._check(len(payload))
        if kind in _CLOSING_TYPES:
            out = [] if self._closing else self._close_all()
            self._closing = True
            self._hold([payload])
            return out
        if kind.startswith(("text-", "reasoning-")):
            what, _, step = kind.partition("-")
            payloads = self._span(what, step, str(part["id"]), payload)
        else:
            payloads = self._structural(kind, payload)
        return self._emit(payloads)

    def finish(self) -> Sequence[bytes]:
        out = self._close_all()
        if self._closing:
            self._hold(out)
            return ()
        if self._in_step:
            self._in_step = False
            out.append(b'{"type":"finish-step"}')
        self._closing = True
        self._hold([b'{"type":"finish"}'])
        return out

    def abandon(self) -> Sequence[bytes]:
        out = self._close_all()
        # What was opened after the first closing part is held with it, and held parts are not sent now.
        return () if self._closing else out

    def _encode_text(self, text: str) -> Sequence[bytes]:
        if not text:
            return ()
        prefix = self._text_prefix if self._text_key is not None else self._next_prefix()
        try:
            payload = prefix + encode_basestring(text).encode() + b"}"
        except UnicodeEncodeError:
            # Escaped, a lone surrogate survives: a JavaScript client that joins deltas gets the whole character back.
            payload = prefix + encode_basestring_ascii(text).encode() + b"}"
        if len(payload) > self._max_bytes:
            self._check(len(payload))
        if self._text_key is not None:
            return self._emit((payload,)) if self._closing else (payload,)
        self._text_key = ("text", self._next_id())
        self._text_prefix = prefix
        self._open[self._text_key] = None
        return self._emit((_span_part("text-start", self._text_key[1]), payload))

    def _next_id(self) -> str:
        while ("text", f"t{self._text_count}") in self._open:
            self._text_count += 1
        return f"t{self._text_count}"

    def _next_prefix(self) -> bytes:
        return b'{"type":"text-delta","id":"%s","delta":' % self._next_id().encode()

    def _span(self, what: str, step: str, part_id: str, payload: bytes) -> list[bytes]:
        """A host's own text or reasoning part's start, delta or end."""
        out = self._close_text()
        key = (what, part_id)
        is_open = key in self._open
        if step == "end":
            if not is_open:
                return out
            del self._open[key]
        elif step == "start":
            if is_open:
                out.append(_span_part(f"{what}-end", part_id))
            self._open[key] = None
        elif not is_open:
            out.append(_span_part(f"{what}-start", part_id))
            self._open[key] = None
        out.append(payload)
        return out

    def _structural(self, kind: str, payload: bytes) -> list[bytes]:
        out: list[bytes] = []
        if kind in _BREAKS_TEXT:
            out = self._close_text()
            self._in_step = self._in_step or kind == "start-step"
        elif kind == "finish-step":
            out = self._close_all()
            self._in_step = False
        elif kind == "reset-step":
            # The client forgets the step's parts, the open ones too.
            self._open.clear()
            self._text_key = None
        out.append(payload)
        return out

    def _close_text(self) -> list[bytes]:
        """The end of the text part that `str` items opened, if it is open."""
        if self._text_key is None:
            return []
        del self._open[self._text_key]
        part_id = self._text_key[1]
        self._text_key = None
        self._text_count += 1
        return [_span_part("text-end", part_id)]

    def _close_all(self) -> list[bytes]:
        out = self._close_text()
        out += [_span_part(f"{what}-end", part_id) for what, part_id in self._open]
        self._open.clear()
        return out

    def _emit(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        if not self._closing:
            return payloads
        self._hold(payloads)
        return ()

    def _hold(self, payloads: Sequence[bytes]) -> None:
        self._held_bytes += sum(map(len, payloads))
        self._check(self._held_bytes)
        self.held += payloads

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise EventTooLargeError(protocol=PROTOCOL, size_bytes=size, limit_bytes=self._max_bytes)


class UIMessageProtocol(DataLineProtocol):
    """AI SDK's UI message stream; see `UIMessageEncoder` for what an endpoint may yield."""

    name: ClassVar[str] = PROTOCOL
    headers: ClassVar[dict[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

    def encoder(self, *, message_id: str, max_event_bytes: int) -> UIMessageEncoder:
        return UIMessageEncoder(message_id=message_id, max_event_bytes=max_event_bytes)

    def frame(self, event: Event, cursor: str | None) -> bytes:
        kind = event.kind
        if kind is _DATA or kind is _CLOSING:
            data = event.data
        elif kind is _NOTICE:
            data = _notice_part(event.data)
        else:
            data = b"[DONE]"
        if cursor is None:
            return b"data: " + data + b"\n\n"
        return b"id: " + cursor.encode() + b"\ndata: " + data + b"\n\n"

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        frame = b"data: " + _notice_part(fault.to_json()) + b"\n\n"
        if cursor is not None:
            frame = b"id: " + cursor.encode() + b"\n" + frame
        if fault.severity is Severity.WARNING:
            return frame
        return frame + b"data: " + _error_part(fault.message) + b"\n\ndata: [DONE]\n\n"

    def usage(self, held: Sequence[bytes]) -> Mapping[str, int]:
        return usage_of(held)

    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        if outcome is Outcome.COMPLETED:
            return held
        if outcome is Outcome.STOPPED:
            return (b'{"type":"abort"}',)  # no `reason`: 5.0.0 and 6.0.0 refuse it
        return (_error_part(reason_of(outcome, fault)[1]),)

    def folding(self, message_id: str, previous: UIMessage | None = None) -> MessageFold:
        return MessageFold(message_id, previous)

    def persisted(self, message_id: str, *, stream_id: str, session_id: str) -> Sequence[bytes]:
        data = {"message_id": message_id, "stream_id": stream_id, "session_id": session_id}
        part = {"type": "data-streamguard-persisted", "id": f"sgp_{stream_id}", "transient": True, "data": data}
        return (encode_part(part),)

    def text(self, events: Iterable[Event]) -> str:
        deltas: list[str] = []
        for event in events:
            if event.kind in (_DATA, _CLOSING):
                part = read_json(event.data)
                if part["type"] == "text-delta":
                    deltas.append(part["delta"])
        return encode_text("".join(deltas)).decode()


def _span_part(kind: str, part_id: str) -> bytes:
    return encode_part({"type": kind, "id": part_id})


def _error_part(text: str) -> bytes:
    return encode_part({"type": "error", "errorText": text})


def _notice_part(fault_json: bytes) -> bytes:
    # Not through `Fault`: a newer worker's notice may have a code this version does not know.
    fault_id = json.dumps(read_json(fault_json)["fault_id"]).encode()
    return b'{"type":"data-streamguard-error","id":' + fault_id + b',"transient":true,"data":' + fault_json + b"}"
