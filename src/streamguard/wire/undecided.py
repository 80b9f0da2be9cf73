"""The protocol of a stream that has said nothing yet, and whose first item decides what it speaks.

Nothing is ever encoded in it. All that such a stream can say is how it ended without an event: a fault, in a form that
every client of ours takes for an error. `ai` (5.0 to 7.0) reads `errorText`, the OpenAI and Anthropic SDKs read `error`
of an event that is named `error`. Each ignores the other's field, but for the strict `.0` releases of `ai`, which show
an error of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, Final

from ..faults import Fault, Severity
from ..values import Outcome
from .base import Encoder, OnLeftOut, nobody_told
from .end_text import reason_of
from .opaque import OpaqueProtocol
from .sse import encode_block
from .ui_message import UIMessageProtocol

__all__ = ["UNDECIDED", "UndecidedEncoder", "UndecidedProtocol"]


class UndecidedEncoder(Encoder):
    """Stands in until the protocol is decided. Takes no item."""

    def __init__(self) -> None:
        self.held: list[bytes] = []

    def begin(self) -> Sequence[bytes]:
        return ()

    def encode(self, item: object) -> Sequence[bytes]:
        raise RuntimeError("the stream's protocol is not decided: call `LiveStream.speak` before the first item")

    def finish(self) -> Sequence[bytes]:
        return ()

    def abandon(self) -> Sequence[bytes]:
        return ()


class UndecidedProtocol(OpaqueProtocol):
    """Not decided yet: `protocol="auto"`. A stream keeps it if it ends before its first event."""

    name: ClassVar[str] = "auto"

    def __init__(self, client_version: str = "") -> None:
        self._client_version = client_version

    @property
    def client_version(self) -> str:
        return self._client_version

    def for_client(self, version: str) -> UndecidedProtocol:
        """Remember the version, for when the protocol is decided: only `ui-message` has clients of several versions."""
        return UndecidedProtocol(UIMessageProtocol().for_client(version).client_version)

    def encoder(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> Encoder:  # type: ignore[override] # it has no blocks
        return UndecidedEncoder()

    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        if fault.severity is Severity.WARNING:
            return super().fault_frame(fault, cursor)
        return encode_block(_error_json(fault.code, fault.message), event="error", event_id=cursor)

    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        if outcome is Outcome.COMPLETED or (outcome is Outcome.FAILED and held):  # then an upstream told of it
            return held
        return (encode_block(_error_json(*reason_of(outcome, fault)), event="error"),)


UNDECIDED: Final = UndecidedProtocol()
"""For clients of any version."""


def _error_json(code: str, message: str) -> str:
    error = {"type": "streamguard_error", "code": code, "message": message}
    return json.dumps({"type": "error", "errorText": message, "error": error}, separators=(",", ":"))
