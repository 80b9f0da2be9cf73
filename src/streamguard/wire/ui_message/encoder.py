"""The encoder of AI SDK's UI message stream, versions 5 to 7 (`x-vercel-ai-ui-message-stream: v1`).

Source: `processUIMessageStream` and `uiMessageChunkSchema` of the npm package `ai`, 5.0.0 to 7.0.173.

The encoder sends only parts that its client's version takes (see `client_versions` and `part_encoder`). Whatever the
order of the host's parts, every one of those versions can read the stream:

1. `start` comes first and names our message. A host's own `start` becomes `message-metadata`, or nothing.
2. Every open text and reasoning part is closed before the first closing part, and before `finish-step`, because
   versions 5 and 6 forget open parts there and fail on their late end.
3. A delta for a part that is not open opens it. An end for such a part is left out. Clients fail on either.
4. Half a surrogate pair at the end of a delta waits for the next delta of the same text, and becomes U+FFFD if none
   comes. A text over the limit becomes several deltas; any other part is replaced by a smaller one (see `parts`).
5. A stream that ends early ends its open tool calls (see `open_calls`), and its last step is never empty (see
   `last_step`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Final

from ...errors import InvalidPartError, ReportedFailureError
from ...faults import FaultCode
from ..base import Encoder, LeftOut, OnLeftOut, nobody_told
from ..raw_sse import RawSseCheck
from ..text_pieces import REPLACEMENT, Halves, fitting
from ..values import Reason, Replaced, on_one_line
from .client_versions import UNSPECIFIED, ClientVersion
from .last_step import LastStep
from .open_calls import OpenCalls
from .part_encoder import PartEncoder
from .parts import DELTAS, PROTOCOL, CheckedPart, encode_part, part_of
from .tool_news import tool_news

__all__ = ["UIMessageEncoder"]

_CLOSING_TYPES: Final = frozenset({"finish", "abort", "error"})
"""Clients show nothing after one of these parts."""

_SPANS: Final = frozenset(f"{what}-{step}" for what in ("text", "reasoning") for step in ("start", "delta", "end"))

# Parts that have their own place in the message. Text after them needs a new text part, or it would appear above them.
_BREAKS_TEXT: Final = frozenset(
    {"tool-input-start", "tool-input-available", "tool-input-error", "custom", "steering-message", "start-step"}
)


class UIMessageEncoder(Encoder):
    """One stream's encoder; see the module's rules."""

    def __init__(
        self,
        *,
        message_id: str,
        max_event_bytes: int,
        on_left_out: OnLeftOut = nobody_told,
        client: ClientVersion = UNSPECIFIED,
    ) -> None:
        self.held: list[bytes] = []
        self._parts = PartEncoder(client, max_event_bytes=max_event_bytes, on_left_out=on_left_out)
        self._held_bytes = 0
        self._on_left_out = on_left_out
        self._halves = Halves()
        self._message_id = message_id
        self._max_bytes = max_event_bytes
        self._open: dict[tuple[str, str], None] = {}  # ("text" | "reasoning", id), in the order they were opened
        self._text_count = 0
        self._text_key: tuple[str, str] | None = None  # the open text part that `str` items go to
        self._text_prefix = b""
        self._in_step = False
        self._closing = False
        self._failure: FaultCode | None = None
        self._calls = OpenCalls()
        self._step = LastStep()
        self._raw_sse: RawSseCheck | None = RawSseCheck(PROTOCOL)  # for the first texts only

    @property
    def failure(self) -> FaultCode | None:
        return self._failure

    def begin(self) -> Sequence[bytes]:
        return (encode_part({"type": "start", "messageId": self._message_id}),)

    def lone_payload(self, item: object) -> bytes:
        if type(item) is not str or self._text_key is None or self._closing or not (item and self._step.spoke):
            return b""
        try:
            quoted = encode_basestring(item)
            payload = self._text_prefix + (quoted if quoted.isascii() else on_one_line(quoted)).encode() + b"}"
        except UnicodeEncodeError:
            return b""
        return payload if len(payload) <= self._max_bytes and not self._halves.waiting else b""

    def encode(self, item: object) -> Sequence[bytes]:
        if isinstance(item, str):
            return self._encode_text(item)
        if self._raw_sse is not None and (kept := self._kept_text()):
            return [*kept, *self._encode_part(item)]
        return self._encode_part(item)

    def _kept_text(self) -> Sequence[bytes]:
        """The payloads of text that was held back as possible server-sent events, once no more text comes."""
        if self._raw_sse is None:
            return ()
        text = self._raw_sse.rest()
        if text:
            self._raw_sse = None
        return self._encode_text(text)

    def _encode_part(self, item: object) -> Sequence[bytes]:
        if isinstance(item, (bytes, bytearray, memoryview)):
            raise InvalidPartError(
                "a ui-message endpoint yields text as str, not bytes; raw SSE needs protocol='opaque'",
                protocol=PROTOCOL,
            )
        part = part_of(item)
        if part.kind == "start":
            metadata = part.fields.get("messageMetadata")
            if metadata is None:
                return ()
            fields = {"type": "message-metadata", "messageMetadata": metadata}
            part = CheckedPart("message-metadata", fields, part.replaced)
        if not self._parts.takes(part.kind):
            kind, payloads = part.kind, self._parts.withheld(part)
        elif part.kind in DELTAS:
            kind, payloads = part.kind, self._pieces(part)
        else:
            kind, payloads = self._parts.whole(part)
        if kind in _CLOSING_TYPES:
            if kind == "error":
                self._failed(item, part)
            out = [] if self._closing else self._close_all()
            self._closing = True
            self._hold(payloads, kind)
            return out
        if not self._closing:
            news = tool_news(kind, part.fields, self._calls) if kind.startswith("tool-") else None
            self._calls.note(kind, part.fields)
            if news is not None and self.on_tool is not None:
                self.on_tool(news)
            self._step.note(kind, part.fields)
        if kind in _SPANS:
            what, _, step = kind.partition("-")
            payloads = self._span(what, step, str(part.fields["id"]), payloads)
        else:
            payloads = self._structural(kind, part.fields, payloads)
        return self._emit(payloads, kind)

    def _failed(self, item: object, part: CheckedPart) -> None:
        """The endpoint tells of a failure. Its text is for the client, unless a library made it of an exception's.

        Raises:
            ReportedFailureError: a library did.
        """
        if type(item).__module__.startswith("pydantic_ai."):
            raise ReportedFailureError(str(part.fields["errorText"]))
        self._failure = FaultCode.PROVIDER_ERROR

    def finish(self) -> Sequence[bytes]:
        out = [*self._kept_text(), *self._close_all()]
        if self._closing:
            self._hold(out, "text-end")
            return ()
        if self._in_step:
            self._in_step = False
            out.append(b'{"type":"finish-step"}')
        self._closing = True
        self._hold([b'{"type":"finish"}'], "finish")
        return out

    def abandon(self) -> Sequence[bytes]:
        kept = self._kept_text()
        # Parts that were opened after the first closing part are held with it, and held parts are not sent now.
        out = [] if self._closing else [*kept, *self._step.ends_in(self._open), *self._close_all()]
        return [*out, *self._calls.ends(), *self._step.ends()]

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        self._calls.answered(parts)

    def _encode_text(self, text: str) -> Sequence[bytes]:
        if not text:
            return ()
        if self._raw_sse is not None:
            passed = self._raw_sse.passed(text)
            if passed is None:
                return ()
            self._raw_sse, text = None, passed
        if not (self._step.spoke or self._closing):
            self._step.note("text-delta", {"delta": text})
        key, prefix = self._text_key, self._text_prefix
        if key is None:
            key, prefix = ("text", self._next_id()), self._next_prefix()
        text = self._halves.complete(key, text)
        payloads = fitting(text, lambda piece: prefix + _quoted(piece) + b"}", self._max_bytes) if text else []
        if self._text_key is None:
            self._text_key, self._text_prefix = key, prefix
            self._open[key] = None
            payloads.insert(0, _span_part("text-start", self._text_key[1]))
        return self._emit(payloads, "text-delta")

    def _next_id(self) -> str:
        while ("text", f"t{self._text_count}") in self._open:
            self._text_count += 1
        return f"t{self._text_count}"

    def _next_prefix(self) -> bytes:
        return b'{"type":"text-delta","id":"%s","delta":' % self._next_id().encode()

    def _pieces(self, part: CheckedPart) -> list[bytes]:
        """A piece of text in a host's own part, made valid, as one payload or several."""
        id_name, name = DELTAS[part.kind]
        key = (part.kind.removesuffix("-delta"), str(part.fields[id_name]))
        return self._parts.pieces(part, self._halves.complete(key, str(part.fields[name])))

    def _span(self, what: str, step: str, part_id: str, payloads: Sequence[bytes]) -> list[bytes]:
        """The payloads for the start, a delta or the end of a host's own text or reasoning part."""
        out = self._close_text()
        key = (what, part_id)
        is_open = key in self._open
        if step == "end":
            if not is_open:
                return out
            out += self._last_half(key)
            del self._open[key]
        elif step == "start":
            if is_open:
                out += self._end_of(key)
            self._open[key] = None
        elif not is_open:
            out.append(_span_part(f"{what}-start", part_id))
            self._open[key] = None
        out += payloads
        return out

    def _structural(self, kind: str, fields: Mapping[str, object], payloads: Sequence[bytes]) -> list[bytes]:
        out: list[bytes] = []
        if kind in _BREAKS_TEXT:
            out = self._close_text()
            self._in_step = self._in_step or kind == "start-step"
            if kind != "tool-input-start" and self._halves.waiting:
                self._halves.drop(("tool-input", str(fields.get("toolCallId"))))
        elif kind == "finish-step":
            out = self._close_all()
            self._in_step = False
        elif kind == "reset-step" and not self._parts.takes(kind):
            out = self._close_all()
        elif kind == "reset-step":
            # The client forgets all parts of the step, including open ones.
            self._open.clear()
            self._halves.take()
            self._text_key = None
        out += payloads
        return out

    def _close_text(self) -> list[bytes]:
        """The end of the text part that `str` items opened, if it is open."""
        if self._text_key is None:
            return []
        key, self._text_key = self._text_key, None
        out = self._end_of(key)
        del self._open[key]
        self._text_count += 1
        return out

    def _close_all(self) -> list[bytes]:
        out = self._close_text()
        for key in self._open:
            out += self._end_of(key)
        self._open.clear()
        for key in self._halves.take():
            out.append(_delta_part(key, REPLACEMENT))
        return out

    def _end_of(self, key: tuple[str, str]) -> list[bytes]:
        """The payloads that end an open part."""
        return [*self._last_half(key), _span_part(f"{key[0]}-end", key[1])]

    def _last_half(self, key: tuple[str, str]) -> list[bytes]:
        """The last delta of a text that ends in half a surrogate pair."""
        text = self._halves.end(key) if self._halves.waiting else ""
        return [_delta_part(key, text)] if text else []

    def _emit(self, payloads: Sequence[bytes], kind: str) -> Sequence[bytes]:
        if not self._closing:
            return payloads
        self._hold(payloads, kind)
        return ()

    def _hold(self, payloads: Sequence[bytes], kind: str) -> None:
        size = sum(map(len, payloads))
        if self.held and self._held_bytes + size > self._max_bytes:
            self._on_left_out(LeftOut(kind, [Replaced(Reason.TOO_LARGE, kind)]))
            return
        self._held_bytes += size
        self.held += payloads


def _quoted(text: str) -> bytes:
    return on_one_line(encode_basestring(text)).encode()


def _span_part(kind: str, part_id: str) -> bytes:
    return encode_part({"type": kind, "id": part_id})


def _delta_part(key: tuple[str, str], piece: str) -> bytes:
    kind = f"{key[0]}-delta"
    id_name, name = DELTAS[kind]
    return encode_part({"type": kind, id_name: key[1], name: piece})
