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
    STREAM_ENDED = "streamguard.stream_ended"
    """Fields: outcome, persisted, quota, events, bytes, seconds, degraded; and `notices_dropped` when it is not 0."""
    STREAM_DEGRADED = "streamguard.stream_degraded"
    STREAM_SUPERSEDED = "streamguard.stream_superseded"
    STREAM_RESUMED = "streamguard.stream_resumed"
    RESUME_EMPTY = "streamguard.resume_empty"
    """A resume was answered with 204. Fields: `reason` is `none` or `finished`."""
    RESUME_REFUSED = "streamguard.resume_refused"
    STOP_REQUESTED = "streamguard.stop_requested"
    SESSION_ERASED = "streamguard.session_erased"
    FAULT = "streamguard.fault"
    """A fault that reached, or would have reached, a client. Each fault is observed once."""
    VIEWER_CUT = "streamguard.viewer_cut"
    ORPHAN_SETTLED = "streamguard.orphan_settled"
    REPLY_SAVED = "streamguard.reply_saved"
    """The reply is committed. Fields: binding, outcome, seconds."""
    SAVE_FAILED = "streamguard.save_failed"
    """An attempt to save failed. Fields: binding, reason, attempts."""
    SAVE_OWED = "streamguard.save_owed"
    """A stream closed with its save in the outbox."""
    SAVE_BURIED = "streamguard.save_buried"
    """A save was given up and is now a dead letter. Carries the fault."""
    SAVE_RECOVERED = "streamguard.save_recovered"
    """A save from the outbox succeeded."""
    SETTLEMENT_RECOVERED = "streamguard.settlement_recovered"
    """A reservation that could not be settled when its stream ended is now settled."""
    RESERVATION_EXPIRED = "streamguard.reservation_expired"
    """A reservation that nobody renewed or settled was ended. It no longer holds usage back."""
    BREAKER_OPENED = "streamguard.breaker_opened"
    """Fields: `breaker` is `messages` for a message store's breaker, and absent for the stream store's."""
    BREAKER_CLOSED = "streamguard.breaker_closed"
    STORE_WARNING = "streamguard.store_warning"
    MISUSE = "streamguard.misuse"
    """The guard is used in a way that works, but probably not as intended. Fields: `misuse` names it, `warning` is its
    text, which says what to do."""
    RECORD_UNREADABLE = "streamguard.record_unreadable"
    """A stored record is damaged, or of a kind that this version does not know. Other work goes on. Fields: `record`
    says what the record is, `key` where it is, `reason` what is wrong, `action` what was done about it."""
    DRAIN_STARTED = "streamguard.drain_started"
    DRAIN_ENDED = "streamguard.drain_ended"
    ENDPOINT_ABANDONED = "streamguard.endpoint_abandoned"
    """A cancelled endpoint did not end in time. Its stream ended without it; usage that it reports later is lost."""
    TASK_RESTARTED = "streamguard.task_restarted"


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
