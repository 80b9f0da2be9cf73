"""A UI message stream of AI SDK that a host's own code, or another server, makes: passed on byte for byte.

Read by `useChat`; see `ui_message` for the source. `upstream.protocol` says what becomes of the blocks. This protocol
departs from it, because these clients refuse unnamed parts and need no SDK's error event:

1. A notice is a part `data-streamguard-error`, and a failure is such a part, an `error` part and `[DONE]`.
2. A stream that ends early ends the client's open texts and tool calls, with parts of ours.
3. Ids are on by default. With ids, the first `start` part that names no message gets our message id; with a saved
   message, the client is told of it before `finish`.
4. If the upstream names its message, that is the stream's message id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Final

from ...decoding import DAMAGE
from ...faults import Fault, FaultCode, Severity
from ...values import Event, EventKind, Outcome, is_id
from ..base import OnLeftOut, OpenParts, ToolNews, nobody_told
from ..end_text import reason_of
from ..folding import MessageFold, UIMessage
from ..partial_json import Part
from ..sse import Block, BlockSplitter
from ..ui_message import UIMessageProtocol
from ..ui_message.fault_parts import error_part, notice_part, persisted_part
from ..ui_message.open_calls import OpenCalls
from ..ui_message.open_parts import UIOpenParts
from ..ui_message.tool_news import tool_news
from ..ui_message.usage import usage_of
from ..upstream import BlockReader, UpstreamEncoder
from ..upstream.block_reader import DONE, is_done
from ..upstream.fold import said_in
from ..upstream.json_events import JsonEvent, json_event
from ..upstream.protocol import block_with_id
from ..upstream.readable import ReadableProtocol, block_of
from ..values import normal
from .payloads import ids_only, shown, upstream_block, with_message_id, without_mark

__all__ = ["RawFold", "RawOpenParts", "UIMessageRawEncoder", "UIMessageRawProtocol", "UIMessageReader"]

PROTOCOL: Final = "ui-message-raw"

_CLOSING: Final = re.compile(rb'"type"\s*:\s*"(?:finish|abort|error)"')
_TOLD: Final = re.compile(rb'"type"\s*:\s*"tool-(?:input-(?:start|available|error)|output-)')
_START: Final = re.compile(rb'"type"\s*:\s*"start"')
_CLOSING_TYPES: Final = frozenset({"finish", "abort", "error"})
_DELTAS: Final = frozenset({"text-delta", "reasoning-delta", "tool-input-delta"})
_TEXT: Final = b'data: {"type":"text-delta"'
_DONE_BLOCK: Final = b"data: [DONE]\n\n"


class UIMessageReader(BlockReader):
    """Closing parts are `finish`, `abort`, `error` and `[DONE]`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = OpenCalls()
        self.ended: bool = False
        """It had a closing part."""

    def ignores(self, raw: bytes) -> bool:
        return raw.startswith(_TEXT) and DONE not in raw and _CLOSING.search(raw) is None and b'"tool-' not in raw

    def closes(self, block: Block) -> bool:
        closing = is_done(block) or self._is_closing(block)
        self.ended = self.ended or closing
        return closing

    def tools(self, block: Block) -> Iterable[ToolNews]:
        if b'"tool-' not in block.raw or _TOLD.search(block.raw) is None:
            return ()
        event = json_event(block)
        if event is None:
            return ()
        news = tool_news(event.type, event.value, self._calls)
        self._calls.note(event.type, event.value)
        return () if news is None else (news,)

    def _is_closing(self, block: Block) -> bool:
        if _CLOSING.search(block.raw) is None:
            return False
        event = json_event(block)
        if event is None or event.type not in _CLOSING_TYPES:
            return False
        if event.type == "error":
            self.fail(FaultCode.PROVIDER_ERROR)
        elif event.type == "finish":
            self.usage.update(usage_of([block.data]))
        return True


class UIMessageRawEncoder(UpstreamEncoder):
    """Also gives the `start` part a message id, and follows what is open.

    An upstream may leave out `finish` and `[DONE]`. One that ends without them in the middle of a text, a call's input
    or a block broke off, and `useChat` would take half an answer for a whole one.
    """

    def __init__(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut) -> None:
        self._ui_reader = UIMessageReader()
        super().__init__(self._ui_reader, protocol=PROTOCOL, max_event_bytes=max_event_bytes, on_left_out=on_left_out)
        self._message_id = message_id
        self._started = False
        self._open = RawOpenParts()
        self._passes = self._is_more_text

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        self._open.answered(parts)

    def finish(self) -> Sequence[bytes]:
        out = super().finish()
        reader = self._ui_reader
        rest = None if reader.ended or not self.held else block_of(without_mark(self.held[-1]))
        cut = rest is not None and rest.has_data and not reader.closes(rest)
        if not reader.ended and (cut or self._open.unfinished):
            reader.failure = FaultCode.PROVIDER_ABORTED
        return out

    def abandon(self) -> Sequence[bytes]:
        super().abandon()
        return self._open.ends()

    def _marked(self, raw: bytes) -> bytes:
        return upstream_block(raw)

    def _is_more_text(self, block: bytes) -> bool:
        return self._started and self._open.spoke and self._reader.ignores(block)

    def _payload(self, block: Block) -> bytes:
        payload = self._marked(block.raw)
        if not self._started and _START.search(block.raw):
            event = json_event(block)
            if event is not None and event.type == "start":
                self._started = True
                if "messageId" not in event.value:
                    named = with_message_id(block.raw, self._message_id)
                    payload = named if len(named) <= self._max_bytes else payload
        if not self.held:
            self._open.add(payload)
        return payload


class RawOpenParts(OpenParts):
    """Finds open parts, and reads usage, in logged blocks."""

    def __init__(self) -> None:
        self._parts = UIOpenParts()

    @property
    def spoke(self) -> bool:
        """Whether the message has text: more of it changes nothing of what is open."""
        return self._parts.spoke

    @property
    def unfinished(self) -> bool:
        """Whether a text, a reasoning or the input of a call has no end."""
        return self._parts.unfinished

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        self._parts.answered(parts)

    def add(self, payload: bytes) -> None:
        if payload.startswith(_TEXT) and self._parts.spoke:
            return  # nearly always
        self._parts.add(block_of(without_mark(payload)).data)

    def ends(self) -> Sequence[bytes]:
        return [_block(part) for part in self._parts.ends()]


class UIMessageRawProtocol(ReadableProtocol):
    """Passes parts of AI SDK through."""

    name: ClassVar[str] = PROTOCOL
    headers: ClassVar[dict[str, str]] = {"x-vercel-ai-ui-message-stream": "v1"}
    ids_by_default: ClassVar[bool] = True

    def reader(self) -> BlockReader:
        return UIMessageReader()

    def message_id_in(self, beginning: bytes) -> str | None:
        for block in BlockSplitter().feed(beginning):
            event = json_event(block)
            if event is not None and event.type == "start":
                named = event.value.get("messageId")
                return named if isinstance(named, str) and is_id(named) else None
        return None

    def encoder(
        self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told
    ) -> UIMessageRawEncoder:
        return UIMessageRawEncoder(message_id=message_id, max_event_bytes=max_event_bytes, on_left_out=on_left_out)

    def frame(self, event: Event, cursor: str | None) -> bytes:
        kind = event.kind
        if kind is not EventKind.DATA and kind is not EventKind.CLOSING:
            return super().frame(event, cursor)
        block = shown(event.data, ids=cursor is not None)
        return block if cursor is None else block_with_id(block, cursor, opens_stream=event.seq == 1)

    def notice(self, fault_json: bytes, cursor: str | None) -> bytes:
        block = _block(notice_part(fault_json))
        return block if cursor is None else block_with_id(block, cursor, opens_stream=False)

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        told = self.notice(fault.to_json(), cursor)
        if fault.severity is Severity.WARNING:
            return told
        return told + _block(error_part(fault.message)) + _DONE_BLOCK

    def early_end(self, outcome: Outcome, fault: Fault | None) -> Sequence[bytes]:
        if outcome is Outcome.STOPPED:
            return (_block(b'{"type":"abort"}'), _DONE_BLOCK)
        return (_block(error_part(reason_of(outcome, fault)[1])), _DONE_BLOCK)

    def open_parts(self) -> RawOpenParts:
        return RawOpenParts()

    def logged_block(self, payload: bytes) -> Block:
        return super().logged_block(without_mark(payload))

    @property
    def tells_continued(self) -> bool:
        return True

    def continued(self, message: UIMessage, cursor: str | None, *, max_event_bytes: int) -> bytes:
        return UIMessageProtocol().continued(message, cursor, max_event_bytes=max_event_bytes)

    def persisted(self, message_id: str, *, stream_id: str, session_id: str) -> Sequence[bytes]:
        return (ids_only(_block(persisted_part(message_id, stream_id=stream_id, session_id=session_id))),)

    def said(self, event: JsonEvent) -> Iterator[str]:
        return said_in([event.value] if event.type == "text-delta" else ())

    def folding(self, message_id: str, previous: UIMessage | None = None) -> RawFold:
        return RawFold(message_id, previous)


class RawFold:
    """Folds as `ui-message` does. A block that cannot be read changes nothing. Not thread-safe."""

    def __init__(self, message_id: str, previous: UIMessage | None) -> None:
        self._id = message_id
        self._fold = MessageFold(message_id, previous)

    def add(self, payload: bytes) -> None:
        """Take in one block."""
        event = json_event(block_of(without_mark(payload)))
        if event is None or not event.type:
            return
        part: Part = event.value
        if event.type not in _DELTAS:
            value = normal(part).value
            if not isinstance(value, dict):
                return
            part = value
        with suppress(*DAMAGE):  # a part in an unexpected form must not cost the message
            self._fold.add_part(part)

    def message(self) -> UIMessage:
        """The message so far, under the stream's own id."""
        message = self._fold.message()
        return UIMessage(self._id, message.parts, message.metadata)


def _block(part: bytes) -> bytes:
    return b"data: " + part + b"\n\n"
