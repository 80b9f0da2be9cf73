"""The parts of a stream's end: the ends of its open parts, the seal that its process proposes, its last events."""

from __future__ import annotations

from collections.abc import Sequence

from ...faults import Fault
from ...saving.end_steps import EndResult
from ...stores.records import Close, Seal
from ...values import EventKind, Outcome, Usage
from ...wire.base import WireProtocol
from ..producing.phases import Output
from ..producing.stream import LiveStream
from ..request import Ending

__all__ = ["close_open_parts", "end_events", "events_of", "proposed_seal", "usage_of"]


def close_open_parts(stream: LiveStream, ending: Ending) -> None:
    """Emit the ends of open text parts and tool calls, for a stream that did not end by itself."""
    if ending.outcome is Outcome.COMPLETED or stream.superseded or stream.feed.emitted == 0:
        return
    for payload in stream.speaking.encoder.abandon():
        stream.emit(EventKind.DATA, payload, bounded=False)


def proposed_seal(stream: LiveStream, ending: Ending) -> Seal:
    """The seal that this process asks for."""
    encoder = stream.speaking.encoder
    told = ending.outcome is Outcome.FAILED and encoder.failure is not None
    held = tuple(encoder.held) if ending.outcome is Outcome.COMPLETED or told else ()
    silent = stream.output is not Output.ITEMS and ending.outcome is not Outcome.COMPLETED
    return Seal(ending.outcome, stream.feed.emitted, ending.fault, usage_of(stream, held), held, silent=silent)


def usage_of(stream: LiveStream, held: Sequence[bytes]) -> Usage | None:
    """What the stream consumed, as its endpoint told, or else as the stream itself says."""
    if stream.consumed is not None:
        return stream.consumed
    found = stream.speaking.encoder.usage or stream.protocol.usage(held)
    return Usage(found) if found else None


def end_events(
    protocol: WireProtocol, outcome: Outcome, fault: Fault | None, held: Sequence[bytes], result: EndResult
) -> list[tuple[EventKind, bytes]]:
    """The events that end a log: the results of saving and charging, the fault as a notice, the protocol's closing
    parts."""
    events: list[tuple[EventKind, bytes]] = []
    if result.notices:
        events += [(EventKind.NOTICE, notice.to_json()) for notice in result.notices]
    if result.closing:
        events += [(EventKind.CLOSING, payload) for payload in result.closing]
    if fault is not None and outcome is not Outcome.COMPLETED:
        events.append((EventKind.NOTICE, fault.to_json()))
    if closing := protocol.closing(outcome, fault, held):
        events += [(EventKind.CLOSING, payload) for payload in closing]
    return events


def events_of(close: Close) -> list[tuple[EventKind, bytes]]:
    """What a close puts into the log: its events, and the terminal record."""
    return [*close.events, (EventKind.TERMINAL, close.terminal.to_json())]
