"""Telemetry events: a `Signal` names what happened, an `Observation` carries it, an `Observer` receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

from .faults import Fault
from .values import StreamRef, Subject

__all__ = ["Observation", "Observer", "Signal"]


class Signal(StrEnum):
    """The name of an `Observation` in logs, Sentry, metrics and audit."""

    STREAM_OPENED = "streamguard.stream_opened"
    """A stream was registered, or begins without a log. Fields: protocol, binding, degraded."""
    STREAM_ENDED = "streamguard.stream_ended"
    """A stream of this process ended. Fields: outcome, persisted, quota, events, bytes, seconds, degraded; and
    `notices_dropped` when it is not 0."""
    STREAM_DEGRADED = "streamguard.stream_degraded"
    """A stream lost its log. Fields: reason."""
    STREAM_SUPERSEDED = "streamguard.stream_superseded"
    """Another worker owns a stream that was written here."""
    STREAM_RESUMED = "streamguard.stream_resumed"
    """A client views a stream that an earlier request began. Fields: after_seq, state, protocol."""
    RESUME_EMPTY = "streamguard.resume_empty"
    """A resume was answered with 204. Fields: `reason` is `none` or `finished`."""
    RESUME_REFUSED = "streamguard.resume_refused"
    """A resume was refused. Carries the fault."""
    STOP_REQUESTED = "streamguard.stop_requested"
    """A client stopped a running stream."""
    SESSION_ERASED = "streamguard.session_erased"
    """Everything of a session was deleted. Fields: session_id."""
    FAULT = "streamguard.fault"
    """A fault that reached, or would have reached, a client. Each fault is observed once. Fields: `outcome` for a
    stream that ended; `origin` for a page that was refused; part, type and count for values that were left out."""
    VIEWER_CUT = "streamguard.viewer_cut"
    """The server ended a connection before the stream that it viewed ended. Fields: reason."""
    ORPHAN_SETTLED = "streamguard.orphan_settled"
    """A stream of another writer was taken over and ended. Carries its fault. Fields: outcome, epoch."""
    REPLY_SAVED = "streamguard.reply_saved"
    """The reply is committed. Fields: binding, outcome, seconds."""
    SAVE_FAILED = "streamguard.save_failed"
    """An attempt to save failed. Fields: binding, reason, attempts, seconds."""
    SAVE_OWED = "streamguard.save_owed"
    """A stream closed with its save in the outbox. Fields: binding, reason."""
    SAVE_BURIED = "streamguard.save_buried"
    """A save was given up and is now a dead letter. Carries the fault. Fields: attempts, reason."""
    SAVE_RECOVERED = "streamguard.save_recovered"
    """A save from the outbox succeeded. Fields: attempts."""
    SETTLEMENT_RECOVERED = "streamguard.settlement_recovered"
    """A reservation that could not be settled when its stream ended is now settled."""
    RESERVATION_EXPIRED = "streamguard.reservation_expired"
    """A reservation that nobody renewed or settled was ended. It no longer holds usage back."""
    BREAKER_OPENED = "streamguard.breaker_opened"
    """A store is not asked until it answers again. Fields: `breaker` is `messages` for a message store's breaker, and
    absent for the stream store's."""
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
    DRAIN_STARTED = "streamguard.drain_started"
    """The process admits nothing more. Fields: `streams`, how many run."""
    DRAIN_ENDED = "streamguard.drain_ended"
    """The drain is over. Fields: `streams`, how many still run."""
    ENDPOINT_ABANDONED = "streamguard.endpoint_abandoned"
    """A cancelled endpoint did not end in time. Its stream ended without it; usage that it reports later is lost."""
    TASK_RESTARTED = "streamguard.task_restarted"
    """A background task crashed and was started again. Fields: task, crashes."""


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
    error: BaseException | None = None
    """The exception that caused it, for sinks that keep stack traces. Its text may hold a provider's words."""
    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)

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
            fault=fault,
            error=error,
            fields=fields or {},
        )


class Observer(Protocol):
    """A telemetry sink. It is called on the event loop, so it must not block. Its exceptions are caught and counted."""

    def __call__(self, observation: Observation, /) -> None: ...
