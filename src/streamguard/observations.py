"""Telemetry events: a `Signal` names what happened, an `Observation` carries it, an `Observer` receives it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, Self, runtime_checkable

from .faults import Fault
from .values import StreamRef, Subject

__all__ = ["MEASUREMENTS", "ClosableObserver", "Observation", "Observer", "SelectiveObserver", "Signal"]


class Signal(StrEnum):
    """The name of an `Observation` in logs, Sentry, metrics and audit."""

    STREAM_OPENED = "streamguard.stream_opened"
    """A stream was registered, or begins without a log. Fields: protocol, binding, degraded, framework; `seconds` from
    the request's arrival."""
    FIRST_EVENT = "streamguard.first_event"
    """The first event of a stream can be seen. Fields: protocol, binding; `seconds` from the request's arrival, and
    `provider_seconds` from the endpoint's begin to its first item, where it has given one."""
    STREAM_ENDED = "streamguard.stream_ended"
    """A stream of this process ended. Fields: outcome, persisted, quota, seconds, degraded, binding, protocol; `events`
    and `bytes`, how many events it has and their payload, the terminal included: as its log has them, or, without a
    log, as its viewers were shown; `finish_seconds`, the part of `seconds` after the endpoint was through;
    `endpoint_seconds` from its call until it was through, if it was called; `used_UNIT` of each unit of usage that is
    known; `unsaved` for a stream without a log whose save failed, so that nobody owes it; and `notices_dropped` when it
    is not 0."""
    STREAM_WITHDRAWN = "streamguard.stream_withdrawn"
    """The endpoint answered with no stream: with a whole response, or an exception that its framework answers. Nothing
    is left of the stream that was registered for it, and what was reserved is released. Comes in place of
    `STREAM_ENDED`. Fields: `status` of the response, null if a handler of the host's chooses it; binding, protocol,
    framework, seconds."""
    STREAM_DEGRADED = "streamguard.stream_degraded"
    """A stream lost its log. Fields: reason, binding. Carries the store's error, if one is the cause."""
    STREAM_SUPERSEDED = "streamguard.stream_superseded"
    """Another worker owns a stream that was written here: it is fenced. Carries the fault. Fields: binding, protocol,
    framework, seq, epoch, begun."""
    STREAM_RESUMED = "streamguard.stream_resumed"
    """A client views a stream that an earlier request began. Fields: after_seq, state, protocol."""
    RESUME_EMPTY = "streamguard.resume_empty"
    """A resume was answered with 204. Fields: session_id; `reason` is `none` or `finished`."""
    RESUME_REFUSED = "streamguard.resume_refused"
    """A resume was refused. Carries the fault. Fields: framework."""
    STOP_REQUESTED = "streamguard.stop_requested"
    """A client stopped a running stream."""
    SESSION_ERASED = "streamguard.session_erased"
    """Everything of a session was deleted. Fields: session_id."""
    FAULT = "streamguard.fault"
    """A fault that reached, or would have reached, a client. Each fault is observed once. Fields: `outcome` for a
    stream that ended; `binding`, protocol, framework, seq, epoch and `begun`, whether it is after the stream's first
    item, where it is of a running stream; protocol and framework of a request that was refused, where they are known,
    and `origin` of its page; part, type and count for values that were left out."""
    VIEWER_JOINED = "streamguard.viewer_joined"
    """A connection begins to view a stream. Fields: `remote`, whether another process produces it."""
    VIEWER_LEFT = "streamguard.viewer_left"
    """A connection views a stream no longer. Fields: remote; `reason` is `ended` for a stream that was seen to its end,
    `left` for a client that went, or why the server cut it; `seconds` that it viewed."""
    VIEWER_CUT = "streamguard.viewer_cut"
    """The server ended a connection before the stream that it viewed ended. Fields: reason."""
    ORPHAN_SETTLED = "streamguard.orphan_settled"
    """A stream of another writer was taken over and ended. Carries its fault. Fields: binding, protocol, outcome, seq,
    epoch."""
    REPLY_SAVED = "streamguard.reply_saved"
    """The reply is committed. Fields: binding, outcome, seconds."""
    SAVE_FAILED = "streamguard.save_failed"
    """An attempt to save failed. Fields: binding, reason; `attempts` that failed so far; seconds; `retried`, whether
    another attempt follows here."""
    SAVE_OWED = "streamguard.save_owed"
    """A stream closed with its save in the outbox. Fields: binding, reason."""
    SAVE_BURIED = "streamguard.save_buried"
    """A save was given up and is now a dead letter. Carries the fault. Fields: attempts, reason."""
    SAVE_RECOVERED = "streamguard.save_recovered"
    """A save from the outbox succeeded. Fields: attempts."""
    TOOL_CALLED = "streamguard.tool_called"
    """A reply called a tool, or tells how the call came out. Fields: tool, tool_call_id; `outcome` is `called`,
    `finished` or `failed`. Neither arguments nor output. Not of `plain`, `opaque` and `ndjson` streams."""
    QUOTA_RESERVED = "streamguard.quota_reserved"
    """Usage was reserved for a stream that is about to begin. Fields: binding, seconds; `reserved_UNIT` of each
    unit."""
    QUOTA_SETTLED = "streamguard.quota_settled"
    """What a stream had reserved was settled, or could not be yet. Fields: binding, seconds; `outcome` is `charged`,
    `released` or `pending`; `reserved_UNIT` and, if charged, `spent_UNIT` of each unit, where this process knows."""
    SETTLEMENT_RECOVERED = "streamguard.settlement_recovered"
    """A reservation that could not be settled when its stream ended is now settled."""
    RESERVATION_EXPIRED = "streamguard.reservation_expired"
    """A reservation that nobody renewed or settled was ended. It no longer holds usage back."""
    BREAKER_OPENED = "streamguard.breaker_opened"
    """A store is not asked until it answers again. Fields: `breaker` is `messages` for a message store's breaker, and
    absent for the stream store's. It carries the error of the last call."""
    BREAKER_CLOSED = "streamguard.breaker_closed"
    """The store answers again. Fields: `breaker`, as for `BREAKER_OPENED`."""
    STORE_WARNING = "streamguard.store_warning"
    """Something about a store needs an operator. Fields: `warning` is a text."""
    MISUSE = "streamguard.misuse"
    """The guard is used in a way that works, but probably not as intended. Fields: `misuse` names it, `warning` is its
    text, which says what to do."""
    RECORD_UNREADABLE = "streamguard.record_unreadable"
    """A stored record is damaged, or of a kind that this version does not know. Other work goes on. Fields: `record`
    says what the record is, `key` where it is, `reason` what is wrong, `action` what was done about it; or only
    `operation`, where it is not known which record it was."""
    RECONCILE_STARTED = "streamguard.reconcile_started"
    """A reconciler begins a round. Fields: `leads`, whether this worker is the first of those that share the work;
    absent where nobody shares it yet, or in a process of its own."""
    RECONCILED = "streamguard.reconciled"
    """A round of a reconciler is over. Fields: `outcome` is `ok` or `failed`; seconds, found, orphans, saves,
    settlements, reservations, left: how long it took, and how many pieces of work there were of each kind; leads."""
    LOG_WRITTEN = "streamguard.log_written"
    """A measurement, once a second at most while anything is written: what the process wrote since the last one.
    Fields: commits, appends, retries and failures of running streams; events and bytes, those that end streams
    included. Samples: `append_seconds` from sending a commit to its answer, `queued_seconds` from an event's emission
    to its acknowledgement, `gap_seconds` between two appends of one stream, event_bytes, batch_bytes."""
    PROCESS_MEASURED = "streamguard.process_measured"
    """A measurement, every 5 s and at the end of a drain. Fields: streams, viewers, queued_events, queued_bytes,
    saves_under_way, reservations, loop_lag_seconds, draining; `observer_errors` since the last one;
    `breaker` and `message_breaker` are `closed` or `open`."""
    STORE_MEASURED = "streamguard.store_measured"
    """A measurement of what all processes share, by every fifth round of a process's reconciler. Fields: `outbox`, how
    much is owed, and `outbox_oldest_seconds`, for how long this process has seen the oldest of it, or 0; dead_letters,
    expired_leases. Of a quota store also `reservations`, how many are held; `stale_reservations`, how many of them were
    not renewed and wait to be ended, and `reservations_oldest_seconds`, for how long the first of these has, or 0;
    `quota_drift_units`, how far counters are off at most, of the few owners that were looked at."""
    DRAIN_STARTED = "streamguard.drain_started"
    """The process admits nothing more. Fields: `streams`, how many run."""
    DRAIN_ENDED = "streamguard.drain_ended"
    """The drain is over. Fields: `streams`, how many still run."""
    ENDPOINT_ABANDONED = "streamguard.endpoint_abandoned"
    """A cancelled endpoint did not end in time. Its stream ended without it; usage that it reports later is lost."""
    TASK_RESTARTED = "streamguard.task_restarted"
    """A background task crashed and was started again. Fields: task, crashes."""


MEASUREMENTS: Final[frozenset[Signal]] = frozenset(
    {Signal.LOG_WRITTEN, Signal.PROCESS_MEASURED, Signal.STORE_MEASURED},
)
"""What is made for those observers only that name it in their `signals`: it tells of no event, and comes often."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that happened, as every `Observer` receives it.

    `fields` holds scalars only, never message contents, tokens or user text.
    """

    name: Signal
    ref: StreamRef | None = None
    message_id: str | None = None
    request_id: str | None = None
    fault: Fault | None = None
    error: BaseException | None = field(default=None, repr=False)
    """The exception that caused it, for sinks that keep stack traces. Its text may hold a provider's words."""
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Single measurements out of many since the last observation of this name, for histograms."""
    trace: str | None = field(default=None, repr=False)
    """The trace of the request that it is about, or that began the stream: a W3C `traceparent`."""
    owner: str | None = field(default=None, repr=False)
    """Whose request or session it is about, where there is no `ref`. In the clear: sinks show its hash."""

    @classmethod
    def about(
        cls,
        subject: Subject,
        name: Signal,
        *,
        fault: Fault | None = None,
        error: BaseException | None = None,
        fields: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> Self:
        """An observation about a stream."""
        return cls(
            name,
            ref=subject.ref,
            message_id=subject.message_id,
            request_id=subject.request_id,
            trace=subject.trace,
            fault=fault,
            error=error,
            fields=fields or {},
        )


class Observer(Protocol):
    """A telemetry sink. It is called on the event loop, so it must not block. Its exceptions are caught and counted.

    It may have an attribute `signals`, a frozenset: it is told only these. One without it is told everything but the
    `MEASUREMENTS`.
    """

    def __call__(self, observation: Observation, /) -> None: ...


class SelectiveObserver(ABC):
    """An observer that says what it would be told in vain: an observation that nobody wants is not made.

    While nobody wants what comes of every stream, such as `STREAM_OPENED`, nobody is asked again for 50 ms; nor for a
    scope, while no such observer has one.
    """

    @abstractmethod
    def __call__(self, observation: Observation, /) -> None:
        """See `Observer`."""

    @abstractmethod
    def wants(self, signal: Signal, /) -> bool:
        """Whether an observation of that name would come to anything now."""


@runtime_checkable
class ClosableObserver(Protocol):
    """An observer that holds a thread, a file or a connection."""

    def __call__(self, observation: Observation, /) -> None: ...

    async def aclose(self) -> None:
        """Let go of it, after a last attempt to hand on what is left.

        It is called each time a guard that has the observer has stopped, and is given 2 s. It may be told more
        afterwards, by that guard's next lifespan or by another guard.
        """
        ...
