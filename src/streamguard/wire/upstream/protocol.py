"""How blocks that were logged byte for byte reach a client, with ids and without, and how their stream's failure does.

Without ids, the client of a completed stream gets exactly what the host sent. With ids (`frame` with a cursor):

1. `id: <cursor>` becomes the first line of each block with data, unless the block sets an id itself. Then the
   upstream's id stays, because it would also win in the client.
2. A block without data loses its blank line and so joins the next block, because the OpenAI Python SDK dispatches an
   event with empty data for each blank line once it saw an id. Its `event` lines are removed too: they name nothing.
3. A byte order mark at the start is removed: it has a meaning only as the very first bytes.

A failure is `event: error` with an `error` object, which the SDKs of OpenAI and Anthropic raise, in Python and Node.
If the upstream itself told that it failed, its own blocks tell the client instead. A warning is a comment of one
newline, because no event would leave every SDK undisturbed. `sequence_number`s are never changed: they are the cursor
of OpenAI's Responses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from ...faults import Fault, Severity
from ...values import Event, EventKind, Outcome
from ..base import OnLeftOut, WireProtocol, nobody_told
from ..end_text import reason_of
from ..sse import BOM, CR, DIGITS, KEPT_DIGITS, Block, encode_block, encode_comment
from .block_reader import BlockReader
from .encoder import UpstreamEncoder

__all__ = ["UpstreamProtocol", "block_with_id", "error_json", "joined_text"]

_DATA: Final = EventKind.DATA
_NOTICE: Final = EventKind.NOTICE
_TERMINAL: Final = EventKind.TERMINAL

_LINE: Final = re.compile(rb"([^\r\n]+)(?:\r\n|\n|\r|\Z)")
_EVENT_LINE: Final = re.compile(rb"event(?::|\Z)")
_ENDS_BLOCK: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)\Z")


class UpstreamProtocol(WireProtocol):
    """Passes an upstream's blocks through. A subclass says what can be read in them."""

    ids_by_default: ClassVar[bool] = False
    terminal_visible: ClassVar[bool] = False

    def reader(self) -> BlockReader:
        """A reader for a new stream's blocks."""
        return BlockReader()

    def encoder(
        self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told
    ) -> UpstreamEncoder:
        return UpstreamEncoder(
            self.reader(), protocol=self.name, max_event_bytes=max_event_bytes, on_left_out=on_left_out
        )

    def frame(self, event: Event, cursor: str | None) -> bytes:
        kind = event.kind
        if kind is _TERMINAL:
            return b""
        if kind is _NOTICE:
            return self.notice(event.data, cursor)
        if cursor is None:
            return event.data
        return block_with_id(event.data, cursor, opens_stream=event.seq == 1)

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        if kind is _DATA and payload[:1] != b"\0":  # such a payload may have a mark
            if id_prefix is None:
                return payload
            if _takes_id(payload):
                number = DIGITS[seq] if seq < KEPT_DIGITS else b"%d" % seq
                return b"".join((id_prefix, number, b"\n", payload))
        return super().block(seq, kind, payload, id_prefix)

    def blocks(
        self, first_seq: int, kinds: Sequence[EventKind], payloads: Sequence[bytes], id_prefix: bytes | None
    ) -> list[bytes]:
        if id_prefix is not None:
            return super().blocks(first_seq, kinds, payloads, id_prefix)
        block = self.block
        return [
            payload if kind is _DATA and payload[:1] != b"\0" else block(first_seq + index, kind, payload, None)
            for index, (kind, payload) in enumerate(zip(kinds, payloads, strict=True))
        ]

    def notice(self, fault_json: bytes, cursor: str | None) -> bytes:
        """The wire form of a notice: a fault as JSON."""
        return encode_comment("streamguard " + fault_json.decode())

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        if fault.severity is Severity.WARNING:
            return self.notice(fault.to_json(), cursor)
        return encode_block(error_json(fault.code, fault.message), event="error", event_id=cursor)

    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        if outcome is Outcome.COMPLETED or (outcome is Outcome.FAILED and self._tell_of_failure(held)):
            return held
        return self.early_end(outcome, fault)

    def _tell_of_failure(self, held: Sequence[bytes]) -> bool:
        """Whether the upstream itself told of its failure in these parts."""
        reader = self.reader()
        for payload in held:
            reader.closes(self.logged_block(payload))
        return reader.failure is not None

    def logged_block(self, payload: bytes) -> Block:
        """The upstream's block of a payload, without a byte order mark."""
        return Block(payload.removeprefix(BOM))

    def early_end(self, outcome: Outcome, fault: Fault | None) -> Sequence[bytes]:
        """The blocks that end a stream which did not complete, and whose upstream told of no failure."""
        return (encode_block(error_json(*reason_of(outcome, fault)), event="error"),)

    def text(self, events: Iterable[Event]) -> str:
        """The blocks themselves."""
        return joined_text(events)


def _takes_id(block: bytes) -> bool:
    """Hot path: whether an id line before this block is all that `block_with_id` does. False where that has to look."""
    return (
        (block.startswith(b"data:") or (block.startswith(b"event:") and b"\ndata:" in block))
        and block.endswith(b"\n\n")
        and b"\nid" not in block
        and CR not in block
    )


def block_with_id(raw: bytes, cursor: str, *, opens_stream: bool) -> bytes:
    """A block as a client gets it that asked for ids; see the module's rules."""
    if opens_stream:
        raw = raw.removeprefix(BOM)
    if raw.startswith(BOM):
        # A byte order mark makes this line meaningless. As a comment the line stays so, wherever a resume begins.
        raw = b":" + raw
    block = Block(raw)
    if not block.has_data:
        return _without_blank_line(raw)
    if block.has_id or _ENDS_BLOCK.search(raw[-4:]) is None:
        return raw
    return b"id: " + cursor.encode() + b"\n" + raw


def error_json(code: str, message: str) -> str:
    """The body of an error that SDKs raise."""
    body = {"type": "error", "error": {"type": "streamguard_error", "code": code, "message": message}}
    return json.dumps(body, separators=(",", ":"))


def joined_text(events: Iterable[Event]) -> str:
    """The payloads of a log's data and closing parts, as text."""
    kinds = (EventKind.DATA, EventKind.CLOSING)
    return b"".join(event.data for event in events if event.kind in kinds).decode("utf-8", "replace")


def _without_blank_line(raw: bytes) -> bytes:
    lines = [match[1] for match in _LINE.finditer(raw)]
    return b"".join(line + b"\n" for line in lines if _EVENT_LINE.match(line) is None)
