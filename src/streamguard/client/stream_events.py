"""What the events of a guarded stream mean: parts, text, notices, faults, the end. Knows no HTTP library."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ..cursor import Cursor
from ..decoding import read_json
from ..errors import CursorInvalidError
from ..faults import Fault, FaultCode, Phase, Severity
from ..values import Outcome, Persisted
from ..wire.folding import Json
from ..wire.sse import SseEvent
from .errors import MalformedAnswerError

__all__ = ["UI_MESSAGE_HEADER", "ReplyReader", "StreamEvent", "StreamEventKind", "fault_of_envelope"]

UI_MESSAGE_HEADER: Final = "x-vercel-ai-ui-message-stream"
"""The response header of `ui-message` and `ui-message-raw`."""

_DONE: Final = "[DONE]"
_FAULT_PART: Final = "data-streamguard-error"
_PERSISTED_PART: Final = "data-streamguard-persisted"
_FAULT_EVENTS: Final = frozenset({"streamguard.notice", "streamguard.error"})
_END_EVENT: Final = "streamguard.end"
_NOTICE_COMMENT: Final = "streamguard {"
_LAST_EVENTS: Final = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})
"""The last events of an answer of Anthropic's, and of OpenAI's Responses."""
_OUTCOMES: Final[Mapping[FaultCode, Outcome]] = {
    FaultCode.STOPPED: Outcome.STOPPED,
    FaultCode.INTERRUPTED: Outcome.INTERRUPTED,
    FaultCode.SHUTTING_DOWN: Outcome.INTERRUPTED,
}
_OF_THE_CONNECTION: Final = frozenset({FaultCode.RESUME_FAILED, FaultCode.STORE_UNAVAILABLE})


class StreamEventKind(StrEnum):
    """What an event is."""

    PART = "part"
    """A part of a UI message, in `part`."""
    DATA = "data"
    """Of a `plain` endpoint: a piece of the reply's text. Of one that passes a stream on: the upstream's event."""
    NOTICE = "notice"
    """A fault, in `fault`; the answer goes on, or is complete."""
    FAULT = "fault"
    """The fault that ends the answer."""
    END = "end"
    """The end mark of the protocol: `[DONE]`, or the terminal record of a `plain` endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event of a stream."""

    kind: StreamEventKind
    id: str | None
    """The event's cursor: what to resume after. None for an event that is not in the log, or has an upstream's id."""
    name: str
    """The SSE event name; `message` when the stream gives none."""
    data: str
    """The data as sent."""
    part: Mapping[str, Json] | None = None
    """The part, of a `PART`, and of `NOTICE` and `FAULT` in a UI message stream."""
    fault: Fault | None = None

    @property
    def text(self) -> str:
        """The text that this event adds to the reply: a text delta, or the data of a `DATA` event without a name.
        Otherwise empty."""
        if self.kind is StreamEventKind.PART and self.part is not None:
            return str(self.part.get("delta", "")) if self.part.get("type") == "text-delta" else ""
        return self.data if self.kind is StreamEventKind.DATA and self.name == "message" else ""

    def json(self) -> Json:
        """The data, read as JSON.

        Raises:
            ValueError: it is none.
        """
        value: Json = read_json(self.data)
        return value


class ReplyReader:
    """Reads one reply's events in order, over any number of connections. Not thread-safe.

    Args:
        ui_message: whether the response has `UI_MESSAGE_HEADER`. Everything else is told from the events.
    """

    def __init__(self, *, ui_message: bool = False) -> None:
        self.ui_message: bool = ui_message
        self.outcome: Outcome | None = None
        """How the reply ended, as far as the stream has said."""
        self.persisted: Persisted | None = None
        """What the stream said about saving the reply."""
        self.ended: bool = False
        """An end mark, or an upstream's last event, was read."""
        self.over: bool = False
        """Nothing follows any more."""
        self.connection_fault: Fault | None = None
        """A failure of this connection, not of the reply: the server could not read the rest of the log."""
        self._last_id = ""
        self._only_json = True
        self._last_fault: Fault | None = None
        """The fatal fault that the last comment told of."""

    def reconnected(self) -> None:
        """Another connection begins: its ids and its faults are its own."""
        self._last_id = ""
        self.connection_fault = None

    def read(self, event: SseEvent) -> StreamEvent:
        """What an event means.

        Raises:
            MalformedAnswerError: it is damaged.
        """
        event_id = self._cursor_in(event.last_event_id)
        try:
            if event.event in _FAULT_EVENTS:
                return self._fault(event, event_id, Fault.from_json(event.data.encode()))
            if event.event == _END_EVENT:
                return self._terminal(event, event_id)
            return self._part(event, event_id) if self.ui_message else self._foreign(event, event_id)
        except (KeyError, TypeError, ValueError) as exc:
            raise MalformedAnswerError(f"an event of the stream is damaged: {event.data[:200]!r}") from exc

    def is_foreign_id(self, event_id: str) -> bool:
        """Whether an id is an upstream's own, by which nothing can be resumed."""
        try:
            Cursor.parse(event_id)
        except CursorInvalidError:
            return True
        return False

    def is_notice(self, comment: str) -> bool:
        """Whether a comment is more than a keep-alive."""
        return comment.startswith(_NOTICE_COMMENT)

    def notice_in(self, comment: str) -> StreamEvent | None:
        """The notice in a comment: how streams that are passed on carry one. A fault that ends the answer is told by an
        event too, which says less of it; the comment is remembered for that."""
        if not self.is_notice(comment):
            return None
        data = comment.removeprefix("streamguard ")
        with suppress(ValueError):
            fault = Fault.from_json(data.encode())
            if fault.severity is Severity.FATAL:
                self._last_fault = fault
                return None
            return StreamEvent(kind=StreamEventKind.NOTICE, id=None, name="comment", data=data, fault=fault)
        return None

    def _cursor_in(self, last_event_id: str) -> str | None:
        """The event's own cursor. An id lasts until the next one, so one that did not change is not the event's."""
        if last_event_id == self._last_id:
            return None
        self._last_id = last_event_id
        try:
            return str(Cursor.parse(last_event_id))
        except CursorInvalidError:
            return None  # an upstream's

    def _fault(
        self, event: SseEvent, event_id: str | None, fault: Fault, part: Mapping[str, Json] | None = None
    ) -> StreamEvent:
        fatal = fault.severity is Severity.FATAL or event.event == "streamguard.error"
        if fatal:
            if event_id is None and fault.code in _OF_THE_CONNECTION and fault.phase is Phase.RESUME:
                self.connection_fault = fault
            else:
                self.outcome = _OUTCOMES.get(fault.code, Outcome.FAILED)
        kind = StreamEventKind.FAULT if fatal else StreamEventKind.NOTICE
        return StreamEvent(kind=kind, id=event_id, name=event.event, data=event.data, part=part, fault=fault)

    def _terminal(self, event: SseEvent, event_id: str | None) -> StreamEvent:
        record = read_json(event.data)
        # An outcome or a state that came with a later version says at least that the reply is not whole, or not saved.
        self.outcome = Outcome(record["outcome"]) if record["outcome"] in list(Outcome) else Outcome.FAILED
        self.persisted = Persisted(record["persisted"]) if record["persisted"] in list(Persisted) else None
        self.ended = self.over = True
        return StreamEvent(kind=StreamEventKind.END, id=event_id, name=event.event, data=event.data)

    def _part(self, event: SseEvent, event_id: str | None) -> StreamEvent:
        if event.data == _DONE:
            self.outcome = self.outcome or Outcome.COMPLETED
            self.ended = self.over = True
            return StreamEvent(kind=StreamEventKind.END, id=event_id, name=event.event, data=event.data)
        part = read_json(event.data)
        kind = part["type"]
        if kind == _FAULT_PART:
            return self._fault(event, event_id, Fault.from_dict(part["data"]), part)
        if kind == _PERSISTED_PART:
            self.persisted = Persisted.YES
        elif kind == "abort":
            self.outcome = Outcome.STOPPED
        elif kind == "error":
            self.outcome = self.outcome or Outcome.FAILED
        return StreamEvent(kind=StreamEventKind.PART, id=event_id, name=event.event, data=event.data, part=part)

    def _foreign(self, event: SseEvent, event_id: str | None) -> StreamEvent:
        """An event of a `plain` reply, or of a stream that is passed on."""
        name, data = event.event, event.data
        # A model may say `[DONE]` too: it is an end mark only where everything before it is JSON.
        if data.strip() == _DONE and name == "message" and self._only_json:
            self.outcome = self.outcome or Outcome.COMPLETED
            self.ended = True
            return StreamEvent(kind=StreamEventKind.END, id=event_id, name=name, data=data)
        self._only_json = self._only_json and data.startswith("{")
        if name in _LAST_EVENTS:
            self.outcome = Outcome.FAILED if name == "response.failed" else self.outcome or Outcome.COMPLETED
            self.ended = True
        elif name == "error" or data.startswith('{"error"'):
            self.outcome = Outcome.FAILED
            if name == "error" and (fault := fault_of_envelope(_json_of(data))) is not None:
                if event_id is None and fault.code in _OF_THE_CONNECTION:
                    self.connection_fault, self.outcome = fault, None
                else:
                    if self._last_fault is not None and self._last_fault.code is fault.code:
                        fault = self._last_fault
                    self.ended = True
                    self.outcome = _OUTCOMES.get(fault.code, Outcome.FAILED)
                return StreamEvent(kind=StreamEventKind.FAULT, id=event_id, name=name, data=data, fault=fault)
        return StreamEvent(kind=StreamEventKind.DATA, id=event_id, name=name, data=data)


def fault_of_envelope(document: Json) -> Fault | None:
    """The fault in `{"error": {"type": "streamguard_error", …}}`; None if it is none of ours.

    In the streams of providers it has only code and message; the rest comes from the registry then.
    """
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or error.get("type") != "streamguard_error":
        return None
    with suppress(ValueError):
        return Fault.from_dict(error)
    code = str(error.get("code"))
    known = code in list(FaultCode)
    fault = Fault.of(FaultCode(code) if known else FaultCode.INTERNAL, message=str(error.get("message")))
    return fault if known else replace(fault, unknown=(("code", code),))


def _json_of(data: str) -> Json:
    with suppress(ValueError):
        value: Json = read_json(data)
        return value
    return None
