"""Tells every telemetry sink, even when another one fails."""

from __future__ import annotations

from collections.abc import Iterable

from ..faults import Fault
from ..observations import Observation, Observer, Signal
from ..stores.damage import Unreadable
from ..wire.base import LeftOut
from .producing.stream import LiveStream
from .request import Ending

__all__ = ["Observers"]


class Observers:
    """Calls many observers as one. An exception of one is counted in `errors` and goes no further."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)
        self.errors: int = 0
        """How many calls of an observer raised."""

    def __call__(self, observation: Observation, /) -> None:
        for observer in self._observers:
            try:
                observer(observation)
            except Exception:  # noqa: BLE001 -- a sink that fails must hurt neither streams nor other sinks
                self.errors += 1

    def opened(self, stream: LiveStream) -> None:
        """A stream was registered, or begins without a log."""
        fields: dict[str, str | bool] = {
            "protocol": stream.protocol.name,
            "binding": stream.request.binding,
            "degraded": stream.degraded,
        }
        self(Observation.about(stream, Signal.STREAM_OPENED, fields=fields))

    def unreadable(self, found: Unreadable) -> None:
        """The store found a record that it cannot read."""
        fields = {"record": found.record, "key": found.key, "reason": found.why, "action": found.action}
        self(Observation(Signal.RECORD_UNREADABLE, ref=found.ref, fields=fields))

    def left_out(self, stream: LiveStream, fault: Fault, left_out: LeftOut) -> None:
        """A value was replaced. Operators are told its type, never its content."""
        first, count = left_out.replaced[0], len(left_out.replaced)
        fields: dict[str, str | int] = {"part": left_out.part, "type": first.type_name, "count": count}
        self(Observation.about(stream, Signal.FAULT, fault=fault, fields=fields))

    def fault(self, stream: LiveStream, fault: Fault, ending: Ending | None) -> None:
        """Something went wrong with a stream; `ending` if it ends so."""
        error, outcome = (None, {}) if ending is None else (ending.error, {"outcome": ending.outcome})
        self(Observation.about(stream, Signal.FAULT, fault=fault, error=error, fields=outcome))
