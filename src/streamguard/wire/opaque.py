"""Any SSE stream, passed on block by block and byte for byte. No JSON is parsed.

Without ids, the client of a completed stream gets exactly what the host sent. With ids (`frame` with a cursor):

1. `id: <cursor>` becomes the first line of each block with data, unless the block sets an id itself. Then the
   upstream's id stays, because it would also win in the client.
2. A block without data loses its blank line and so joins the next block, because the OpenAI Python SDK dispatches an
   event with empty data for each blank line once it saw an id. Its `event` lines are removed too: they name nothing.
3. A byte order mark at the start is removed: it has a meaning only as the very first bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from ..errors import InvalidPartError
from ..faults import Fault, Severity
from ..values import Event, EventKind, Outcome
from .base import Encoder, LeftOut, OnLeftOut, WireProtocol, nobody_told
from .end_text import reason_of
from .folding import UIMessage
from .server_sent import event_block, is_event
from .sse import BOM, Block, BlockSplitter, encode_block, encode_comment, encode_text
from .text_fold import TextFold
from .values import Reason, Replaced

__all__ = ["OpaqueEncoder", "OpaqueProtocol"]

PROTOCOL: Final = "opaque"

_NOTICE: Final = EventKind.NOTICE
_TERMINAL: Final = EventKind.TERMINAL

_DONE: Final = b"[DONE]"
_LINE: Final = re.compile(rb"([^\r\n]+)(?:\r\n|\n|\r|\Z)")
_EVENT_LINE: Final = re.compile(rb"event(?::|\Z)")
_ENDS_BLOCK: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)\Z")


class OpaqueEncoder(Encoder):
    """Turns chunks of an SSE body, cut anywhere, into whole blocks. Holds `[DONE]` and everything after it."""

    def __init__(self, *, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> None:
        self.held: list[bytes] = []
        self._held_bytes = 0
        self._max_bytes = max_event_bytes
        self._on_left_out = on_left_out
        self._splitter = BlockSplitter(max_block_bytes=max_event_bytes, on_left_out=self._leave_out)

    def begin(self) -> Sequence[bytes]:
        return ()

    def encode(self, item: object) -> Sequence[bytes]:
        if isinstance(item, str):
            chunk = encode_text(item)
        elif isinstance(item, (bytes, bytearray, memoryview)):
            chunk = bytes(item)
        elif is_event(item):
            chunk, replaced = event_block(item)
            if replaced:
                self._on_left_out(LeftOut("event", replaced))
        else:
            raise InvalidPartError(
                "an opaque endpoint yields SSE text as bytes or str, or events (ServerSentEvent, or a dict of data, "
                f"event, id, retry), not {type(item).__name__}",
                protocol=PROTOCOL,
            )
        return self._take(self._splitter.feed(chunk))

    def finish(self) -> Sequence[bytes]:
        blocks, rest = self._splitter.close()
        out = self._take(blocks)
        if rest:
            # Clients drop an unfinished block. It is still passed on, but as a closing part: if the stream does not
            # count as completed after all, an error block after it would become part of it.
            self._hold(rest)
        return out

    def abandon(self) -> Sequence[bytes]:
        self._splitter.discard()
        return ()

    def _take(self, blocks: Sequence[Block]) -> Sequence[bytes]:
        out: list[bytes] = []
        for block in blocks:
            if self.held or (_DONE in block.raw and block.data.strip() == _DONE):
                self._hold(block.raw)
            else:
                out.append(block.raw)
        return out

    def _hold(self, payload: bytes) -> None:
        if self._held_bytes + len(payload) > self._max_bytes:
            self._leave_out()
            return
        self._held_bytes += len(payload)
        self.held.append(payload)

    def _leave_out(self) -> None:
        """Report a block that is too large, or one closing block too many. Only the notice stands in its place."""
        self._on_left_out(LeftOut("block", [Replaced(Reason.TOO_LARGE, "block")]))


class OpaqueProtocol(WireProtocol):
    """Passes blocks through: a returned `StreamingResponse`, an upstream's body, or blocks made by the host."""

    name: ClassVar[str] = PROTOCOL
    ids_by_default: ClassVar[bool] = False
    terminal_visible: ClassVar[bool] = False

    def encoder(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> OpaqueEncoder:
        return OpaqueEncoder(max_event_bytes=max_event_bytes, on_left_out=on_left_out)

    def frame(self, event: Event, cursor: str | None) -> bytes:
        kind = event.kind
        if kind is _TERMINAL:
            return b""
        if kind is _NOTICE:
            return _notice_comment(event.data)
        if cursor is None:
            return event.data
        raw = event.data.removeprefix(BOM) if event.seq == 1 else event.data
        if raw.startswith(BOM):
            # A byte order mark makes this line meaningless. As a comment the line stays so, wherever a resume begins.
            raw = b":" + raw
        block = Block(raw)
        if not block.has_data:
            return _without_blank_line(raw)
        if block.has_id or _ENDS_BLOCK.search(raw[-4:]) is None:
            return raw
        return b"id: " + cursor.encode() + b"\n" + raw

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        if fault.severity is Severity.WARNING:
            return _notice_comment(fault.to_json())
        return encode_block(_error_json(fault.code, fault.message), event="error", event_id=cursor)

    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        if outcome is Outcome.COMPLETED:
            return held
        return (encode_block(_error_json(*reason_of(outcome, fault)), event="error"),)

    def folding(self, message_id: str, previous: UIMessage | None = None) -> TextFold:
        """Puts the unchanged blocks into a data part. A page would show a text part as the model's words."""
        return TextFold(message_id, previous, lambda text: {"type": "data-streamguard-sse", "data": text})

    def text(self, events: Iterable[Event]) -> str:
        """The blocks themselves: only the upstream's own protocol knows which text is in them."""
        kinds = (EventKind.DATA, EventKind.CLOSING)
        return b"".join(event.data for event in events if event.kind in kinds).decode("utf-8", "replace")


def _without_blank_line(raw: bytes) -> bytes:
    lines = [match[1] for match in _LINE.finditer(raw)]
    return b"".join(line + b"\n" for line in lines if _EVENT_LINE.match(line) is None)


def _notice_comment(fault_json: bytes) -> bytes:
    return encode_comment("streamguard " + fault_json.decode())


def _error_json(code: str, message: str) -> str:
    body = {"type": "error", "error": {"type": "streamguard_error", "code": code, "message": message}}
    return json.dumps(body, separators=(",", ":"))
