"""Which spans there are. The observer and the reference table are made from this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ...observations import Signal
from ...scopes import Work

__all__ = ["EVENTS", "SPANS", "SPAN_OF_WORK", "Parent", "SpanName", "SpanSpec"]


class SpanName(StrEnum):
    """The names of the spans."""

    ADMIT = "streamguard.admit"
    QUOTA = "streamguard.quota"
    STREAM = "streamguard.stream"
    BODY = "streamguard.body"
    FIRST_EVENT = "streamguard.first_event"
    APPEND = "streamguard.append"
    PERSIST = "streamguard.persist"
    SETTLE = "streamguard.settle"
    RESUME = "streamguard.resume"
    STOP = "streamguard.stop"
    TAKE_OVER = "streamguard.take_over"
    OUTBOX = "streamguard.outbox"


class Parent(StrEnum):
    """What a span hangs below."""

    REQUEST = "the request's span"
    """The one that is current when the stream's request arrives, or at `guard.start`; else the span that the request's
    header `traceparent` names; else `streamguard.admit`, which then begins a trace."""
    ADMIT = "streamguard.admit"
    STREAM = "streamguard.stream"
    BEGINNING = "the span of the request that began the stream"
    """In whatever process, and linked with the span that is current there."""
    END = "streamguard.stream, streamguard.take_over or streamguard.outbox"
    """Whichever ends the stream, or makes up for its end."""


@dataclass(frozen=True, slots=True)
class SpanSpec:
    """One kind of span."""

    name: SpanName
    parent: Parent
    lasts: str
    """From when to when, and where."""


SPANS: Final[tuple[SpanSpec, ...]] = (
    SpanSpec(SpanName.ADMIT, Parent.REQUEST, "until the stream is registered, or refused"),
    SpanSpec(SpanName.QUOTA, Parent.ADMIT, "while usage is reserved"),
    SpanSpec(SpanName.STREAM, Parent.REQUEST, "the producer's task, from the endpoint's begin to the stream's close"),
    SpanSpec(SpanName.BODY, Parent.REQUEST, "the body of `guard.start`, in the task of its caller"),
    SpanSpec(SpanName.FIRST_EVENT, Parent.STREAM, "from the endpoint's begin to its first event"),
    SpanSpec(SpanName.APPEND, Parent.STREAM, "from the first event to the last: one span for all of them"),
    SpanSpec(SpanName.PERSIST, Parent.END, "one attempt, or a few in a row, to save the reply"),
    SpanSpec(SpanName.SETTLE, Parent.END, "while the quota is settled"),
    SpanSpec(SpanName.RESUME, Parent.BEGINNING, "while a client that came back is served, by any worker"),
    SpanSpec(SpanName.STOP, Parent.BEGINNING, "a client's request to stop, on any worker"),
    SpanSpec(SpanName.TAKE_OVER, Parent.BEGINNING, "while a worker ends the stream of another that is gone"),
    SpanSpec(SpanName.OUTBOX, Parent.BEGINNING, "while any worker makes up for a save or settlement that is owed"),
)

SPAN_OF_WORK: Final[Mapping[Work, SpanName]] = {
    Work.ADMIT: SpanName.ADMIT,
    Work.PRODUCE: SpanName.STREAM,
    Work.BODY: SpanName.BODY,
    Work.SAVE: SpanName.PERSIST,
    Work.SETTLE: SpanName.SETTLE,
    Work.TAKE_OVER: SpanName.TAKE_OVER,
    Work.OUTBOX: SpanName.OUTBOX,
    Work.RESUME: SpanName.RESUME,
    Work.STOP: SpanName.STOP,
}
"""The other work has no span: it is part of one, or of the host's own."""

EVENTS: Final[frozenset[Signal]] = frozenset(
    {
        Signal.FAULT,
        Signal.STREAM_DEGRADED,
        Signal.STREAM_SUPERSEDED,
        Signal.STOP_REQUESTED,
        Signal.TOOL_CALLED,
        Signal.VIEWER_JOINED,
        Signal.VIEWER_LEFT,
        Signal.VIEWER_CUT,
        Signal.SAVE_FAILED,
        Signal.SAVE_OWED,
        Signal.SAVE_BURIED,
        Signal.SAVE_RECOVERED,
        Signal.QUOTA_SETTLED,
        Signal.SETTLEMENT_RECOVERED,
        Signal.ENDPOINT_ABANDONED,
    }
)
"""What becomes an event of the span that is current, or else of the stream's span."""
