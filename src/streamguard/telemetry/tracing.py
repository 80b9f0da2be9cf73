"""OpenTelemetry: spans of a stream's life, in the trace of the request that began it.

It needs the API package only (extra `[otel]`).

    streamguard.admit → streamguard.stream → streamguard.first_event, .append, .persist, .settle
                                           → streamguard.resume, .take_over, .outbox  (in any process)

The spans hang below the request's span. `resume`, `take_over` and `outbox` join that trace through the `traceparent` in
the stream's record, and have a link to the request, if any, that they work for now. No span holds content, the text of
an exception, or an id in clear that names a person. There is one span for all appends of a stream, none per event.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import ConfigurationError
from ..observations import Observation, Signal
from ..scopes import StreamContext, Work
from ..values import short_hash

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, Tracer, TracerProvider

__all__ = ["OpenTelemetryTracing"]

_SPANS: Final[Mapping[Work, str]] = {
    Work.ADMIT: "streamguard.admit",
    Work.PRODUCE: "streamguard.stream",
    Work.SAVE: "streamguard.persist",
    Work.SETTLE: "streamguard.settle",
    Work.TAKE_OVER: "streamguard.take_over",
    Work.OUTBOX: "streamguard.outbox",
    Work.RESUME: "streamguard.resume",
}
"""The other work has no span: it is part of one, or of the host's own."""
_JOINING: Final = frozenset({Work.TAKE_OVER, Work.OUTBOX, Work.RESUME})
"""Work that another request, or none, causes: it joins the trace of the stream."""


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

    Args:
        tracer_provider: the global one by default.

    Raises:
        ConfigurationError: the package `opentelemetry-api` is missing.
    """

    signals: frozenset[Signal] = frozenset(
        {Signal.QUOTA_RESERVED, Signal.FIRST_EVENT, Signal.STREAM_ENDED, Signal.FAULT}
    )

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 -- an extra
        except ImportError as exc:
            raise ConfigurationError(
                "OpenTelemetryTracing needs opentelemetry-api: pip install 'streamguard[otel]'"
            ) from exc
        self._trace = trace
        self._tracer: Tracer = trace.get_tracer("streamguard", tracer_provider=tracer_provider)
        self._open: dict[str, _Open] = {}

    def traceparent(self) -> str | None:
        """The present span, as W3C trace context."""
        span = self._trace.get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & 1:02x}"

    @contextmanager
    def scope(self, context: StreamContext) -> Iterator[None]:
        """The span of a piece of work, current while that lasts."""
        name = _SPANS.get(context.work)
        if name is None:
            yield
            return
        parent, links = self._parent_of(context)
        span = self._tracer.start_span(name, context=parent, links=links, attributes=_attributes(context))
        stream_id = context.stream_id if context.work is Work.PRODUCE else None
        if stream_id is not None:
            self._open[stream_id] = _Open(span, time.time_ns())
        try:
            with self._trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            if stream_id is not None:
                self._open.pop(stream_id, None)
            span.end()

    def __call__(self, observation: Observation) -> None:
        """Make the spans whose length is only known at their end."""
        fields, ref = observation.fields, observation.ref
        now = time.time_ns()
        if observation.name is Signal.QUOTA_RESERVED:
            self._past("streamguard.quota", None, now - _nanoseconds(fields.get("seconds")), now)
            return
        opened = None if ref is None else self._open.get(ref.stream_id)
        if observation.name is Signal.FAULT:
            span = self._trace.get_current_span() if opened is None else opened.span
            fault = observation.fault
            if fault is not None and (opened is not None or ref is None):
                span.set_attributes({"streamguard.code": str(fault.code), "streamguard.phase": str(fault.phase)})
                if "outcome" in fields:
                    span.set_status(self._trace.StatusCode.ERROR, str(fault.code))
            return
        if opened is None:
            return
        parent = self._trace.set_span_in_context(opened.span)
        if observation.name is Signal.FIRST_EVENT:
            waited = fields.get("provider_seconds") or fields.get("seconds")
            self._past("streamguard.first_event", parent, now - _nanoseconds(waited), now)
            opened.appending_since = now
        elif observation.name is Signal.STREAM_ENDED:
            counts = {f"streamguard.{name}": value for name in ("events", "bytes") if (value := fields.get(name))}
            self._past("streamguard.append", parent, opened.appending_since, now, counts)
            for name in ("outcome", "persisted", "quota"):
                if (value := fields.get(name)) is not None:
                    opened.span.set_attribute(f"streamguard.{name}", str(value))

    def _parent_of(self, context: StreamContext) -> tuple[Context | None, list[Link]]:
        """The parent, where it is not the present span, and what to link to."""
        present = self._trace.get_current_span()
        stored = _remote_context(context.trace)
        if stored is None or (present.get_span_context().is_valid and context.work not in _JOINING):
            return None, []
        joined = self._trace.set_span_in_context(stored)
        if not present.get_span_context().is_valid:
            return joined, []
        if context.work is Work.RESUME and hasattr(present, "add_link"):
            present.add_link(stored.get_span_context())
        return joined, [self._trace.Link(present.get_span_context())]

    def _past(
        self,
        name: str,
        parent: Context | None,
        start_ns: int,
        end_ns: int,
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> None:
        self._tracer.start_span(name, context=parent, start_time=start_ns, attributes=attributes).end(end_ns)


def _remote_context(traceparent: str | None) -> Span | None:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags  # noqa: PLC0415 -- an extra

    try:
        _, trace_id, span_id, flags = (traceparent or "").split("-")
        context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    except ValueError:
        return None
    return NonRecordingSpan(context) if context.is_valid else None


def _attributes(context: StreamContext) -> dict[str, str]:
    session = context.session_id
    named = {
        "stream_id": context.stream_id,
        "request_id": context.request_id,
        "session_hash": None if session is None else short_hash(session),
        "owner_hash": context.owner_hash,
        "binding": context.binding,
        "protocol": context.protocol,
    }
    return {f"streamguard.{name}": value for name, value in named.items() if value is not None}


def _nanoseconds(seconds: object) -> int:
    return int(seconds * 1e9) if isinstance(seconds, (int, float)) else 0
