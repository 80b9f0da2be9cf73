"""Spans of a stream's life in Sentry's tracing, for hosts that trace with Sentry and not with OpenTelemetry.

    the host's transaction of the request  → streamguard.admit → streamguard.quota
    transaction streamguard.stream         → streamguard.first_event, .append, .persist, .settle
    transactions streamguard.resume, .stop, .take_over, .outbox  (in any process)

Sentry sends a transaction with the spans that ended before it did, and a stream outlives its request. So what is done
in another task or process is a transaction of its own, in the trace of the request that began the stream, and below the
span of that request. There is one span for all appends of a stream, none per event.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sentry_sdk
from sentry_sdk.scope import Scope, use_isolation_scope, use_scope
from sentry_sdk.tracing import Transaction

from ...observations import Observation, Signal
from ...scopes import StreamContext, Work, current_stream
from ...values import Outcome, trace_id_of
from ..tracing.attributes import of_context, of_fault, of_fields
from ..tracing.spans import SPAN_OF_WORK, SpanName

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient
    from sentry_sdk.tracing import Span

__all__ = ["Spans", "is_tracing", "trace_context_of"]

_TRANSACTIONS: Final = frozenset({Work.PRODUCE, Work.TAKE_OVER, Work.OUTBOX, Work.RESUME, Work.STOP})
"""Work that outlives the request's transaction, or belongs to another trace than the task that does it."""
_STATUS: Final[Mapping[str, str]] = {
    Outcome.COMPLETED: "ok",
    Outcome.STOPPED: "cancelled",
    Outcome.INTERRUPTED: "aborted",
    Outcome.FAILED: "internal_error",
}
_ORIGIN: Final = "auto.streamguard"


def is_tracing(client: BaseClient) -> bool:
    """Whether the host records traces with Sentry's own spans; in transactions, not span by span, and not by
    OpenTelemetry."""
    options = client.options
    enabled = options.get("traces_sample_rate") is not None or options.get("traces_sampler") is not None
    if not enabled or options.get("enable_tracing") is False:
        return False
    streamed = options.get("trace_lifecycle") or (options.get("_experiments") or {}).get("trace_lifecycle")
    return streamed != "stream" and options.get("instrumenter") in (None, "sentry")


def trace_context_of(observation: Observation) -> dict[str, Any] | None:
    """The trace that an event about it belongs to, whoever traces: by the span that is current, or else by the request
    that began the stream. None where there is none."""
    fault, context, present = observation.fault, current_stream.get(), sentry_sdk.get_current_span()
    stored = None
    if context is not None and (observation.ref is None or context.is_about(observation.ref)):
        stored = context.trace
    trace_id = (None if fault is None else fault.trace_id) or trace_id_of(stored)
    if trace_id is None:
        return None
    if present is not None and present.trace_id == trace_id:
        span_id = present.span_id
    elif stored is not None and trace_id_of(stored) == trace_id:
        span_id = stored.split("-")[2]
    else:
        span_id = uuid.uuid4().hex[:16]  # Sentry wants one
    return {"trace_id": trace_id, "span_id": span_id}


@dataclass(slots=True)
class _Open:
    """A stream that is produced here."""

    transaction: Transaction
    appending_since: float
    """Unix time."""
    appended_until: float | None = None


class Spans:
    """Makes the spans of one guard, while the host's client records traces."""

    def __init__(self) -> None:
        self._streams: dict[str, _Open] = {}
        """The streams that are produced here and whose transactions are recorded."""

    def traceparent(self) -> str | None:
        """The present span, as W3C trace context; None where Sentry traces nothing here."""
        span = sentry_sdk.get_current_span()
        if span is None or not span.trace_id or not span.span_id:
            return None
        return f"00-{span.trace_id}-{span.span_id}-{'01' if span.sampled else '00'}"

    @contextmanager
    def around(self, context: StreamContext) -> Iterator[None]:
        """The span of a piece of work, current while that lasts. Enter it in a scope of its own."""
        name = SPAN_OF_WORK.get(context.work)
        span = None if name is None else self._begun(name, context)
        if span is None:
            yield
            return
        scope = Scope.get_current_scope()
        before, scope.span = scope.span, span
        _tell(span, of_context(context))
        opened = None if context.stream_id is None else self._streams.get(context.stream_id)
        if opened is not None and context.work in (Work.SAVE, Work.SETTLE) and opened.appended_until is None:
            opened.appended_until = time.time()
        if isinstance(span, Transaction) and context.work is Work.PRODUCE and context.stream_id is not None:
            self._streams[context.stream_id] = _Open(span, time.time())
        try:
            yield
        finally:
            scope.span = before
            if context.work is Work.PRODUCE and context.stream_id is not None:
                self._streams.pop(context.stream_id, None)
            _finish(span)

    def __call__(self, observation: Observation) -> None:
        """Make the spans whose length is only known at their end, and say how the present one came out."""
        fields, ref = observation.fields, observation.ref
        stream = None if ref is None else self._streams.get(ref.stream_id)
        now = time.time()
        match observation.name:
            case Signal.QUOTA_RESERVED:
                present = sentry_sdk.get_current_span()
                if present is not None and present.sampled:
                    _past(present, SpanName.QUOTA, now - _seconds(fields.get("seconds")), now)
            case Signal.FIRST_EVENT if stream is not None:
                waited = _seconds(fields.get("provider_seconds") or fields.get("seconds"))
                _past(stream.transaction, SpanName.FIRST_EVENT, now - waited, now)
                stream.appending_since = now
            case Signal.STREAM_ENDED if stream is not None:
                told = of_fields(fields)
                if fields.get("events"):
                    until = max(stream.appended_until or now, stream.appending_since)
                    _past(stream.transaction, SpanName.APPEND, stream.appending_since, until, told)
                _tell(stream.transaction, told)
                stream.transaction.set_status(_STATUS.get(str(fields.get("outcome")), "unknown_error"))
            case Signal.FAULT | Signal.RESUME_REFUSED | Signal.ORPHAN_SETTLED:
                self._failed(stream, observation)
            case _:
                pass

    def _failed(self, stream: _Open | None, observation: Observation) -> None:
        span = sentry_sdk.get_current_span()
        ours = span is not None and span.origin == _ORIGIN
        if not ours and stream is not None:
            span = stream.transaction
        if span is None or not span.sampled:
            return
        told = of_fields(observation.fields) | ({} if observation.fault is None else of_fault(observation.fault))
        _tell(span, told)
        if ours and observation.fault is not None:
            span.set_status(_STATUS.get(str(observation.fields.get("outcome")), "internal_error"))

    def _begun(self, name: SpanName, context: StreamContext) -> Span | None:
        """The span, begun; None where nothing is recorded."""
        present = sentry_sdk.get_current_span()
        if context.work not in _TRANSACTIONS:
            return None if present is None or not present.sampled else _child(present, name)
        parent = _parent_of(context, present)
        if parent.get("parent_sampled") is False:
            return None
        transaction = Transaction(op=name.value, name=name.value, source="task", origin=_ORIGIN, **parent)
        started = sentry_sdk.start_transaction(transaction)
        if not isinstance(started, Transaction) or not started.sampled:
            return None
        ids = {key.removeprefix("streamguard."): value for key, value in of_context(context).items()}
        if present is not None and present.trace_id != started.trace_id:
            ids["request_trace_id"] = present.trace_id  # of the request that the work is done for; Sentry has no links
        started.set_context("streamguard", ids)
        return started


def _parent_of(context: StreamContext, present: Span | None) -> dict[str, Any]:
    """What a transaction continues: the request that began the stream."""
    stored = context.trace
    if stored is not None and (trace_id := trace_id_of(stored)) is not None:
        _, _, span_id, flags = stored.split("-")[:4]
        parent: dict[str, Any] = {
            "trace_id": trace_id,
            "parent_span_id": span_id,
            "parent_sampled": bool(int(flags, 16) & 1),
            "same_process_as_parent": False,
        }
    elif present is not None:
        parent = {"trace_id": present.trace_id, "parent_span_id": present.span_id, "parent_sampled": present.sampled}
    else:
        return {}
    root = None if present is None or present.trace_id != parent["trace_id"] else present.containing_transaction
    if root is not None:
        parent["baggage"] = root.get_baggage()
    return parent


def _child(parent: Span, name: SpanName, start: float | None = None) -> Span:
    span = parent.start_child(op=name.value, origin=_ORIGIN, start_timestamp=start)
    span.description = name.value
    return span


def _past(
    parent: Span, name: SpanName, start: float, end: float, told: Mapping[str, str | int | float | bool] | None = None
) -> None:
    span = _child(parent, name, start)
    _tell(span, told or {})
    span.finish(end_timestamp=end)


def _tell(span: Span, told: Mapping[str, str | int | float | bool]) -> None:
    for key, value in told.items():
        span.set_data(key, value)


def _finish(span: Span) -> None:
    """End it. A transaction is an event, to which the SDK adds what the scopes hold: the request's body, who asked. So
    it is sent with scopes that hold nothing."""
    if isinstance(span, Transaction):
        with use_isolation_scope(Scope()), use_scope(Scope()) as clean:
            span.finish(clean)
    else:
        span.finish()


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
