"""What a stream's end consists of: the seal that its process proposes, and the last events of its log."""

from __future__ import annotations

from collections.abc import Sequence

from ...faults import Fault
from ...saving.end_steps import EndResult
from ...stores.records import Seal
from ...values import EventKind, Outcome, Usage
from ...wire.base import WireProtocol
from ..producing.phases import Output
from ..producing.stream import LiveStream
from ..request import Ending

__all__ = ["close_open_parts", "end_events", "proposed_seal"]


def close_open_parts(stream: LiveStream, ending: Ending) -> None:
    """Leave the client's state tidy when the stream did not end by itself: open text parts and tool calls get their
    ends."""
    if ending.outcome is Outcome.COMPLETED or stream.superseded or stream.feed.emitted == 0:
        return
    for payload in stream.encoder.abandon():
        stream.emit(EventKind.DATA, payload, bounded=False)


def proposed_seal(stream: LiveStream, ending: Ending) -> Seal:
    """How this process would have the stream end."""
    held = tuple(stream.encoder.held) if ending.outcome is Outcome.COMPLETED else ()
    silent = stream.output is not Output.ITEMS and ending.outcome is not Outcome.COMPLETED
    return Seal(ending.outcome, stream.feed.emitted, ending.fault, _usage(stream, held), held, silent=silent)


def _usage(stream: LiveStream, held: Sequence[bytes]) -> Usage | None:
    """What the endpoint said it consumed, or else its closing parts."""
    consumed = stream.consumed
    if consumed is None and (found := stream.protocol.usage(held)):
        return Usage(found)
    return consumed


def end_events(
    protocol: WireProtocol, outcome: Outcome, fault: Fault | None, held: Sequence[bytes], result: EndResult
) -> list[tuple[EventKind, bytes]]:
    """What saving and settling came to, the fault as a notice, then the protocol's closing parts."""
    events = [(EventKind.NOTICE, notice.to_json()) for notice in result.notices]
    events += [(EventKind.CLOSING, payload) for payload in result.closing]
    if fault is not None and outcome is not Outcome.COMPLETED:
        events.append((EventKind.NOTICE, fault.to_json()))
    events += [(EventKind.CLOSING, payload) for payload in protocol.closing(outcome, fault, held)]
    return events
