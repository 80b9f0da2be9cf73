"""AI SDK's UI message stream as a protocol: what is logged, sent, saved and told of a stream. See `encoder` for what an
endpoint may yield."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

from ...decoding import read_json
from ...faults import Fault, Severity
from ...values import Event, EventKind, Outcome
from ..base import DataLineProtocol, OnLeftOut, nobody_told
from ..end_text import reason_of
from ..folding import MessageFold, UIMessage
from ..sse import LF, encode_text
from .client_versions import UNSPECIFIED, ClientVersion, client_version
from .continued_message import continued_message
from .encoder import UIMessageEncoder
from .fault_parts import error_part, is_error_part, notice_part, persisted_part
from .open_parts import UIOpenParts
from .parts import PROTOCOL
from .usage import usage_of
from .withheld import shown_of

__all__ = ["UIMessageProtocol"]

_DATA: Final = EventKind.DATA
_CLOSING: Final = EventKind.CLOSING
_NOTICE: Final = EventKind.NOTICE


class UIMessageProtocol(DataLineProtocol):
    """AI SDK's UI message stream for clients of one version. See `UIMessageEncoder` for what an endpoint may yield."""

    name: ClassVar[str] = PROTOCOL
    headers: ClassVar[dict[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}

    def __init__(self, client: ClientVersion = UNSPECIFIED) -> None:
        self._client = client

    @property
    def client_version(self) -> str:
        return self._client.name

    def for_client(self, version: str) -> UIMessageProtocol:
        return UIMessageProtocol(client_version(version))

    def encoder(
        self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told
    ) -> UIMessageEncoder:
        return UIMessageEncoder(
            message_id=message_id, max_event_bytes=max_event_bytes, on_left_out=on_left_out, client=self._client
        )

    def frame(self, event: Event, cursor: str | None) -> bytes:
        kind = event.kind
        if kind is _DATA or kind is _CLOSING:
            data = event.data
            if LF in data and not (data := shown_of(data)):
                return b""
        elif kind is _NOTICE:
            data = notice_part(event.data)
        else:
            data = b"[DONE]"
        if cursor is None:
            return b"data: " + data + b"\n\n"
        return b"id: " + cursor.encode() + b"\ndata: " + data + b"\n\n"

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        frame = b"data: " + notice_part(fault.to_json()) + b"\n\n"
        if cursor is not None:
            frame = b"id: " + cursor.encode() + b"\n" + frame
        if fault.severity is Severity.WARNING:
            return frame
        return frame + b"data: " + error_part(fault.message) + b"\n\ndata: [DONE]\n\n"

    def usage(self, held: Sequence[bytes]) -> Mapping[str, int]:
        return usage_of(held)

    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        if outcome is Outcome.COMPLETED or (outcome is Outcome.FAILED and any(map(is_error_part, held))):
            return held
        if outcome is Outcome.STOPPED:
            return (b'{"type":"abort"}',)  # no `reason`: not every version takes one, and none uses it
        return (error_part(reason_of(outcome, fault)[1]),)

    def open_parts(self) -> UIOpenParts:
        return UIOpenParts()

    def folding(self, message_id: str, previous: UIMessage | None = None) -> MessageFold:
        return MessageFold(message_id, previous)

    @property
    def tells_continued(self) -> bool:
        return not self._client.appends_replays

    def continued(self, message: UIMessage, cursor: str | None, *, max_event_bytes: int) -> bytes:
        if not self.tells_continued:
            return b""
        encoder = self.encoder(message_id=message.id, max_event_bytes=max_event_bytes)
        parts = continued_message(message, encoder)
        frames = [frame for part in parts if (frame := self.frame(Event(0, _DATA, part), None))]
        if cursor is not None:
            frames[-1] = b"id: " + cursor.encode() + b"\n" + frames[-1]
        return b"".join(frames)

    def persisted(self, message_id: str, *, stream_id: str, session_id: str) -> Sequence[bytes]:
        return (persisted_part(message_id, stream_id=stream_id, session_id=session_id),)

    def text(self, events: Iterable[Event]) -> str:
        deltas: list[str] = []
        for event in events:
            if event.kind in (_DATA, _CLOSING):
                part = read_json(event.data)
                if part["type"] == "text-delta":
                    deltas.append(part["delta"])
        return encode_text("".join(deltas)).decode()
