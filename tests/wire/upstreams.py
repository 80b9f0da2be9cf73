"""Taking an upstream's body through a protocol, as the runtime does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from streamguard.faults import Fault, FaultCode
from streamguard.values import Event, EventKind, Outcome
from streamguard.wire import Encoder, UIMessage, WireProtocol

from .encoding import encoded

__all__ = ["STREAM", "Logged", "cut", "folded", "logged"]

STREAM: Final = "0123456789abcdef01234567"


@dataclass(frozen=True, slots=True)
class Logged:
    """A stream as its log has it."""

    protocol: WireProtocol
    encoder: Encoder
    data: Sequence[bytes]
    held: Sequence[bytes]

    @property
    def payloads(self) -> list[bytes]:
        return [*self.data, *self.held]

    def frames(
        self, *, ids: bool, outcome: Outcome = Outcome.COMPLETED, fault: Fault | None = None, warning: bool = False
    ) -> list[bytes]:
        """What a viewer of the whole stream gets, event by event."""
        closing = self.protocol.closing(outcome, fault, self.held)
        events = [(EventKind.DATA, payload) for payload in self.data]
        if warning:
            notice = Fault.of(FaultCode.NOT_RESUMABLE).to_json()
            events[len(events) // 2 : len(events) // 2] = [(EventKind.NOTICE, notice)]
        if fault is not None:
            events.append((EventKind.NOTICE, fault.to_json()))
        events += [(EventKind.CLOSING, payload) for payload in closing]
        events.append((EventKind.TERMINAL, b"{}"))
        return [
            self.protocol.frame(Event(seq, kind, payload), f"1.{STREAM}.7.{seq}" if ids else None)
            for seq, (kind, payload) in enumerate(events, 1)
        ]


def logged(protocol: WireProtocol, chunks: Iterable[bytes], *, message_id: str = "m") -> Logged:
    """A stream that ended by itself."""
    encoder = protocol.encoder(message_id=message_id, max_event_bytes=1_048_576)
    data = [*encoder.begin()]
    for chunk in chunks:
        data += encoded(encoder, chunk)
    data += encoder.finish()
    return Logged(protocol, encoder, data, list(encoder.held))


def cut(protocol: WireProtocol, beginning: bytes) -> Logged:
    """A stream that broke off after `beginning`."""
    encoder = protocol.encoder(message_id="m", max_event_bytes=1_048_576)
    data = [*encoder.encode(beginning), *encoder.abandon()]
    return Logged(protocol, encoder, data, ())


def folded(protocol: WireProtocol, payloads: Iterable[bytes], previous: UIMessage | None = None) -> UIMessage:
    """The message to save."""
    folding = protocol.folding("m", previous)
    for payload in payloads:
        folding.add(payload)
    return folding.message()
