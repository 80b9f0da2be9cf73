"""The end that the viewers in this process are given, and what operators are told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...charging.settlement_report import by_unit
from ...faults import Fault
from ...observations import Observation, Observer, Signal
from ...saving.end_steps import EndResult
from ...stores.appends import AppendReply
from ...stores.records import Close, Status, Terminal
from ...values import EventKind, Outcome
from ..producing.stream import LiveStream
from ..request import Ending
from ..viewing.log_events import LOG_LOST
from .end_events import end_events, events_of, usage_of

__all__ = ["Size", "report_end", "show_close", "show_unlogged_end"]


def show_close(stream: LiveStream, close: Close, reply: AppendReply, held: Sequence[bytes], result: EndResult) -> None:
    """Give viewers what the store made of a close."""
    if reply.status in (Status.OK, Status.DUPLICATE):
        _tell_request(stream, close.terminal)
        stream.end_logged(events_of(close))
    elif reply.status is Status.FENCED:
        stream.supersede()
        stream.finish()  # viewers follow the new owner
    else:  # the log vanished between seal and close: it was erased, or the store came back empty
        show_unlogged_end(stream, Ending(close.terminal.outcome, close.terminal.fault), held, result)


def show_unlogged_end(stream: LiveStream, ending: Ending, held: Sequence[bytes], result: EndResult) -> None:
    """Give viewers the stream's end without ids: it is not in the log."""
    events = end_events(stream.protocol, ending.outcome, ending.fault, held, result)
    terminal = Terminal(ending.outcome, result.persisted, result.quota, stream.message_id, ending.fault, LOG_LOST)
    _tell_request(stream, terminal)
    stream.end_unlogged([*events, (EventKind.TERMINAL, terminal.to_json())])


def _tell_request(stream: LiveStream, terminal: Terminal) -> None:
    if stream.request.on_end is not None:
        stream.request.on_end(terminal)


class Size(NamedTuple):
    """How many events, and their payloads together."""

    events: int
    bytes: int

    @classmethod
    def of(cls, stream: LiveStream) -> Size:
        """What was said of a stream so far."""
        return cls(stream.feed.emitted, stream.feed.payload_bytes)

    def closed_by(self, close: Close) -> Size:
        """The size of a log that was as large before this close."""
        events = events_of(close)
        return Size(self.events + len(events), self.bytes + sum(len(data) for _, data in events))


def report_end(
    observe: Observer,
    stream: LiveStream,
    outcome: Outcome,
    result: EndResult,
    fault: Fault | None,
    *,
    logged: Size | None = None,
) -> None:
    """Tell operators how a stream of this process ended. `logged` is the size of its log, where its viewers were shown
    another end than went into that."""
    size = logged or Size.of(stream)
    activity, usage = stream.activity, usage_of(stream, tuple(stream.speaking.encoder.held))
    fields: dict[str, str | float | bool] = {
        "outcome": outcome,
        "persisted": result.persisted,
        "quota": result.quota,
        "events": size.events,
        "bytes": size.bytes,
        "seconds": activity.age_seconds,
        "finish_seconds": activity.finish_seconds,
        "degraded": stream.degraded,
        "binding": stream.request.binding,
        "protocol": stream.protocol.name,
    }
    if (ran := activity.endpoint_seconds) is not None:
        fields["endpoint_seconds"] = ran
    if result.unsaved:
        fields["unsaved"] = True
    if stream.notices.dropped:
        fields["notices_dropped"] = stream.notices.dropped
    if usage is not None:
        fields |= by_unit("used", usage.amounts)
    observe(Observation.about(stream, Signal.STREAM_ENDED, fault=fault, fields=fields))
