"""Lines of JSON (`application/x-ndjson`), passed on byte for byte.

Read by clients that parse each line. So nothing is sent that is not a line of JSON: no ids, no keep-alives, no
warnings. A failure is one last line, `{"type":"error","error":{…}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from ..faults import Fault, Severity
from ..values import Event, EventKind, Outcome
from .adapters import refusal
from .base import LeftOut, OnLeftOut, nobody_told
from .end_text import reason_of
from .folding import UIMessage
from .sse import Block
from .text_fold import TextFold
from .upstream import BlockReader, UpstreamEncoder, UpstreamProtocol
from .upstream.encoder import Splitter
from .upstream.protocol import error_json
from .values import encode_json

__all__ = ["LineReader", "LineSplitter", "NdjsonEncoder", "NdjsonProtocol"]

PROTOCOL: Final = "ndjson"

_SAID: Final = (EventKind.DATA, EventKind.CLOSING)


class LineReader(BlockReader):
    """Lines have no closing parts that all their clients know."""

    def closes(self, block: Block) -> bool:
        return False


class LineSplitter:
    """Cuts bytes into lines, line end included, without changing any byte; see `BlockSplitter`."""

    def __init__(self, *, max_line_bytes: int, on_left_out: OnLeftOut) -> None:
        self._max_bytes = max_line_bytes
        self._on_left_out = on_left_out
        self._buffer = bytearray()
        self._skipping = False
        """Whether the unfinished line is over the limit. Then only its end matters."""

    def feed(self, chunk: bytes) -> list[Block]:
        """The lines that `chunk` completes."""
        if b"\n" not in chunk:
            self._buffer += chunk
            lines: list[bytes] = []
        else:
            self._buffer += chunk
            *whole, rest = bytes(self._buffer).split(b"\n")
            lines = [line + b"\n" for line in whole]
            self._buffer[:] = rest
        if self._skipping and lines:
            self._skipping = False
            del lines[0]
        if len(self._buffer) > self._max_bytes or self._skipping:
            self._skip()
        return [Block(line) for line in lines if self._fits(line)]

    def close(self) -> tuple[list[Block], bytes]:
        """The unfinished rest."""
        rest = b"" if self._skipping else bytes(self._buffer)
        self.discard()
        return [], rest

    def discard(self) -> None:
        """Drop the unfinished line."""
        self._buffer.clear()
        self._skipping = False

    def _skip(self) -> None:
        if not self._skipping:
            self._skipping = True
            self._leave_out()
        self._buffer.clear()

    def _fits(self, line: bytes) -> bool:
        if len(line) <= self._max_bytes:
            return True
        self._leave_out()
        return False

    def _leave_out(self) -> None:
        self._on_left_out(LeftOut("line", []))


class NdjsonEncoder(UpstreamEncoder):
    """Turns chunks into lines. A mapping becomes a line of JSON."""

    def _new_splitter(self) -> Splitter:
        return LineSplitter(max_line_bytes=self._max_bytes, on_left_out=lambda _: self._leave_out())

    def _encode_object(self, item: object) -> bytes:
        if not isinstance(item, Mapping):
            raise refusal(item, PROTOCOL, "an ndjson endpoint yields lines of JSON as bytes or str, or dicts")
        line, replaced = encode_json(item)
        if replaced:
            self._on_left_out(LeftOut("line", replaced))
        return line + b"\n"


class NdjsonProtocol(UpstreamProtocol):
    """Passes lines through."""

    name: ClassVar[str] = PROTOCOL
    media_type: ClassVar[str] = "application/x-ndjson"
    keep_alive: ClassVar[bytes] = b""

    def encoder(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> NdjsonEncoder:
        return NdjsonEncoder(LineReader(), protocol=PROTOCOL, max_event_bytes=max_event_bytes, on_left_out=on_left_out)

    def frame(self, event: Event, cursor: str | None) -> bytes:
        return event.data if event.kind in _SAID else b""

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        return b"" if fault.severity is Severity.WARNING else _error_line(fault.code, fault.message)

    def early_end(self, outcome: Outcome, fault: Fault | None) -> Sequence[bytes]:
        return (_error_line(*reason_of(outcome, fault)),)

    def folding(self, message_id: str, previous: UIMessage | None = None) -> TextFold:
        """Puts the unchanged lines into a data part. A page would show a text part as the model's words."""
        return TextFold(message_id, previous, lambda text: {"type": "data-streamguard-ndjson", "data": text})


def _error_line(code: str, message: str) -> bytes:
    return error_json(code, message).encode() + b"\n"
