"""The span of another process, as a stream's record names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...values import trace_id_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Remote"]


class Remote:
    """Makes spans of a W3C `traceparent`. Needs the package `opentelemetry-api`."""

    def span_of(self, traceparent: str | None) -> Span | None:
        """A span that stands for the one that it names; None for anything that names none."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags  # noqa: PLC0415 -- an extra

        if traceparent is None or trace_id_of(traceparent) is None:
            return None
        _, trace_id, span_id, flags = traceparent.split("-")[:4]
        sampled = TraceFlags(int(flags, 16) & TraceFlags.SAMPLED)
        return NonRecordingSpan(SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled))
