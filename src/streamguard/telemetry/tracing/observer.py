"""OpenTelemetry: spans of a stream's life, in the trace of the request that began it.

    streamguard.admit  → streamguard.quota
    streamguard.stream → streamguard.first_event, .append, .persist, .settle
    streamguard.resume, .stop, .take_over, .outbox  (in any process)

All four lines hang below the request's span; see `spans`. What another process does joins that trace through the
`traceparent` in the stream's record. No span holds content, the text of an exception, or an id in clear that names a
person. There is one span for all appends of a stream, none per event.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ...distribution import install_command
from ...errors import ConfigurationError
from ...observations import Observation, Signal
from ...scopes import StreamContext, Work
from ...values import Outcome
from .attributes import of_context, of_fault, of_fields
from .remote import Remote
from .spans import EVENTS, SPAN_OF_WORK, SpanName

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer, TracerProvider

__all__ = ["OpenTelemetryTracing"]

_JOINING: Final = frozenset({Work.TAKE_OVER, Work.OUTBOX, Work.RESUME, Work.STOP})
"""Work that another request, or none, causes: it joins the trace of the stream."""
_BROKEN: Final = frozenset({Outcome.FAILED, Outcome.INTERRUPTED})


@dataclass(slots=True)
class _Open:
    """A stream that is produced here."""

    span: Span
    appending_since: int
    """Nanoseconds of Unix time."""


class OpenTelemetryTracing:
    """Makes spans with the host's tracer provider: `StreamGuard(observers=(OpenTelemetryTracing(),))`.

    What the endpoint does, the spans of instrumentations for model libraries included, hangs below the stream's span,
    also after the request is over. Sampling is the provider's; a request that was not sampled has a stream that is not.
    Without an SDK there are no spans, and this costs some microseconds per stream.

    Give each span to the exporter in the background (`BatchSpanProcessor`): a `SimpleSpanProcessor` sends it on the
    event loop, and whatever it waits for, every stream of the process waits for.

    Args:
        tracer_provider: the global one by default.

    Raises:
        ConfigurationError: the package `opentelemetry-api` is missing.
    """

    signals: frozenset[Signal] = EVENTS | {
        Signal.QUOTA_RESERVED,
        Signal.FIRST_EVENT,
        Signal.STREAM_ENDED,
        Signal.RESUME_REFUSED,
        Signal.ORPHAN_SETTLED,
    }

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 -- an extra
        except ImportError as exc:
            raise ConfigurationError(
                f"OpenTelemetryTracing needs opentelemetry-api: {install_command('otel')}"
            ) from exc
        self._trace = trace
        self._remote = Remote()
        self._tracer: Tracer = trace.get_tracer("streamguard", tracer_provider=tracer_provider)
        self._streams: dict[str, _Open] = {}
        """The streams that are produced here and whose spans are recorded."""
        self._own: set[int] = set()
        """The ids of our own spans that have begun, are recorded and have not ended."""

    def traceparent(self) -> str | None:
        """The present span, as W3C trace context."""
        span = self._trace.get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"

    @contextmanager
    def scope(self, context: StreamContext) -> Iterator[None]:
        """The span of a piece of work, current while that lasts."""
        name = SPAN_OF_WORK.get(context.work)
        if name is None:
            yield
            return
        parent, links = self._parent_of(context)
        span = self._tracer.start_span(name.value, context=parent, links=links)
        span_id, stream_id = span.get_span_context().span_id, context.stream_id
        produces = False
        if span.is_recording():
            span.set_attributes(of_context(context))
            self._own.add(span_id)
            if stream_id is not None and context.work is Work.PRODUCE:
                produces = True
                self._streams[stream_id] = _Open(span, time.time_ns())
        try:
            with self._trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            self._own.discard(span_id)
            if produces and stream_id is not None:
                self._streams.pop(stream_id, None)
            span.end()

    def __call__(self, observation: Observation) -> None:
        """Tell the span that it is about, and make the spans whose length is only known at their end."""
        fields, ref = observation.fields, observation.ref
        stream = None if ref is None else self._streams.get(ref.stream_id)
        match observation.name:
            case Signal.QUOTA_RESERVED:
                now = time.time_ns()
                self._past(SpanName.QUOTA, None, now - _nanoseconds(fields.get("seconds")), now)
            case Signal.FIRST_EVENT:
                if stream is not None:
                    self._first_event(stream, fields)
            case Signal.STREAM_ENDED:
                if stream is not None:
                    self._ended(stream, observation)
            case _:
                self._tell(stream, observation)

    def _tell(self, stream: _Open | None, observation: Observation) -> None:
        """Make an event of it, or the reason of the span that is current, if that is ours."""
        span, is_ours = self._present()
        if not is_ours and stream is not None:
            span, is_ours = stream.span, True
        if not span.is_recording():
            return
        fault, name = observation.fault, observation.name
        if not is_ours:  # the host's: a request that was refused, with a status of its own
            if fault is not None and name in (Signal.FAULT, Signal.RESUME_REFUSED):
                span.set_attributes(of_fault(fault))
            return
        told = of_fields(observation.fields) | ({} if fault is None else of_fault(fault))
        if name is Signal.ORPHAN_SETTLED:
            span.set_attributes(told)
        else:
            span.add_event(name.value, told)
        ends = name is not Signal.FAULT or "outcome" in observation.fields or observation.ref is None
        if fault is not None and ends:
            self._failed(span, observation)
            if stream is not None and stream.span is not span and observation.fields.get("outcome") in _BROKEN:
                self._failed(stream.span, observation)
        elif name is Signal.SAVE_FAILED and not observation.fields.get("retried"):
            span.set_status(self._trace.StatusCode.ERROR, str(told.get("streamguard.reason", name)))

    def _failed(self, span: Span, observation: Observation) -> None:
        fault = observation.fault
        if fault is not None:
            span.set_attributes(of_fault(fault))
            span.set_status(self._trace.StatusCode.ERROR, str(fault.code))

    def _first_event(self, stream: _Open, fields: Mapping[str, object]) -> None:
        now = time.time_ns()
        waited = fields.get("provider_seconds") or fields.get("seconds")
        parent = self._trace.set_span_in_context(stream.span)
        self._past(SpanName.FIRST_EVENT, parent, now - _nanoseconds(waited), now)
        stream.appending_since = now

    def _ended(self, stream: _Open, observation: Observation) -> None:
        told = of_fields(observation.fields)
        if observation.fields.get("events"):
            parent = self._trace.set_span_in_context(stream.span)
            counts = {f"streamguard.{name}": told[f"streamguard.{name}"] for name in ("events", "bytes")}
            until = time.time_ns() - _nanoseconds(observation.fields.get("finish_seconds"))
            until = max(until, stream.appending_since)
            self._past(SpanName.APPEND, parent, stream.appending_since, until, counts)
        stream.span.set_attributes(told)

    def _present(self) -> tuple[Span, bool]:
        """The current span, and whether it is one of ours."""
        span = self._trace.get_current_span()
        return span, span.get_span_context().span_id in self._own

    def _parent_of(self, context: StreamContext) -> tuple[Context | None, list[Link]]:
        """The parent, where it is not the present span, and what to link to."""
        span = self._trace.get_current_span()
        present = span.get_span_context()
        if present.is_valid and context.work not in _JOINING:
            return None, []
        beginning = self._remote.span_of(context.trace)
        if beginning is None or present.trace_id == beginning.get_span_context().trace_id:
            return None, []
        joined = self._trace.set_span_in_context(beginning)
        if not present.is_valid:
            return joined, []
        if context.work in (Work.RESUME, Work.STOP) and hasattr(span, "add_link"):
            span.add_link(beginning.get_span_context())
        return joined, [self._trace.Link(present)]

    def _past(
        self,
        name: SpanName,
        parent: Context | None,
        start_ns: int,
        end_ns: int,
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> None:
        self._tracer.start_span(name.value, context=parent, start_time=start_ns, attributes=attributes).end(end_ns)


def _nanoseconds(seconds: object) -> int:
    return int(seconds * 1e9) if isinstance(seconds, (int, float)) else 0
