"""Lines of JSON (`application/x-ndjson`), passed on byte for byte.

Read by clients that parse each line. So nothing is sent that is not a line of JSON: no ids, no keep-alives, no
warnings. A failure is one last line, `{"type":"error","error":{…}}`.

Ollama's lines are read (see `ollama`); others are saved as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from ...faults import Fault, Severity
from ...values import Event, EventKind, Outcome
from ..adapters import refusal
from ..base import LeftOut, OnLeftOut, OpenParts, nobody_told
from ..end_text import reason_of
from ..folding import UIMessage
from ..upstream import BlockReader, UpstreamEncoder, UpstreamProtocol
from ..upstream.encoder import Splitter
from ..upstream.protocol import error_json
from ..upstream.readable import ToldUsage
from ..values import encode_json
from .lines import LineSplitter
from .ollama import OllamaFold, OllamaReader

__all__ = ["NdjsonEncoder", "NdjsonProtocol"]

PROTOCOL: Final = "ndjson"

_SAID: Final = (EventKind.DATA, EventKind.CLOSING)


class NdjsonEncoder(UpstreamEncoder):
    """Turns chunks into lines. A mapping becomes a line of JSON."""

    def _new_splitter(self) -> Splitter:
        return LineSplitter(max_line_bytes=self._max_bytes, on_left_out=self._leave_out)

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
        return NdjsonEncoder(self.reader(), protocol=PROTOCOL, max_event_bytes=max_event_bytes, on_left_out=on_left_out)

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        return payload if kind in _SAID else b""

    def frame(self, event: Event, cursor: str | None) -> bytes:
        return event.data if event.kind in _SAID else b""

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        return b"" if fault.severity is Severity.WARNING else _error_line(fault.code, fault.message)

    def early_end(self, outcome: Outcome, fault: Fault | None) -> Sequence[bytes]:
        return (_error_line(*reason_of(outcome, fault)),)

    def reader(self) -> BlockReader:
        return OllamaReader()

    def open_parts(self) -> OpenParts:
        return ToldUsage(self.reader())

    def usage(self, held: Sequence[bytes]) -> Mapping[str, int]:
        reader = self.reader()
        for payload in held:
            reader.closes(self.logged_block(payload))
        return reader.usage

    def folding(self, message_id: str, previous: UIMessage | None = None) -> OllamaFold:
        return OllamaFold(message_id, previous)


def _error_line(code: str, message: str) -> bytes:
    return error_json(code, message).encode() + b"\n"
