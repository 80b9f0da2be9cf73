"""What is reported of a stream of this process that ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...charging.settlement_report import by_unit
from ...faults import Fault
from ...observations import Observation, Signal
from ...saving.end_steps import EndResult
from ...stores.records import Close
from ...values import Outcome
from ..observers import Observers
from ..producing.stream import LiveStream
from .end_events import events_of, usage_of

__all__ = ["EndReports", "Size"]


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


class EndReports:
    """Has ended streams counted, and tells observers of them. `count` is told the outcome, and how many events there
    were."""

    def __init__(self, observe: Observers, *, count: Callable[[Outcome, int], None]) -> None:
        self._observe = observe
        self._count = count

    def ended(
        self,
        stream: LiveStream,
        outcome: Outcome,
        result: EndResult,
        fault: Fault | None,
        *,
        logged: Size | None = None,
    ) -> None:
        """A stream ended. `logged` is the size of its log, where its viewers were shown another end than went into
        that."""
        self._count(outcome, stream.feed.emitted if logged is None else logged.events)
        if self._observe.wants(Signal.STREAM_ENDED):
            self._observe(_ended(stream, outcome, result, fault, logged or Size.of(stream)))


def _ended(stream: LiveStream, outcome: Outcome, result: EndResult, fault: Fault | None, size: Size) -> Observation:
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
    return Observation.about(stream, Signal.STREAM_ENDED, fault=fault, fields=fields)
