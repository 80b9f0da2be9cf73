"""What telemetry is told: a `Signal` names what happened, an `Observation` carries it, an `Observer` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

from .faults import Fault
from .values import StreamRef, Subject

__all__ = ["Observation", "Observer", "Signal"]


class Signal(StrEnum):
    """The name of an `Observation`: what logs, Sentry, metrics and audit call the thing that happened."""

    STREAM_OPENED = "streamguard.stream_opened"
    STREAM_ENDED = "streamguard.stream_ended"
    """Fields: outcome, persisted, quota, events, bytes, seconds, degraded; `notices_dropped` where it is not 0."""
    STREAM_DEGRADED = "streamguard.stream_degraded"
    STREAM_SUPERSEDED = "streamguard.stream_superseded"
    STREAM_RESUMED = "streamguard.stream_resumed"
    RESUME_EMPTY = "streamguard.resume_empty"
    """204: fields `reason` is `none` or `finished`."""
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
    """An attempt at saving came to nothing. Fields: binding, reason, attempts."""
    SAVE_OWED = "streamguard.save_owed"
    """A stream closed with its save in the outbox."""
    SAVE_BURIED = "streamguard.save_buried"
    """A save was given up: it is a dead letter now. With the fault."""
    SAVE_RECOVERED = "streamguard.save_recovered"
    """A save that was owed is done."""
    SETTLEMENT_RECOVERED = "streamguard.settlement_recovered"
    """A reservation that could not be settled in its stream's end is settled."""
    RESERVATION_EXPIRED = "streamguard.reservation_expired"
    """A reservation that nobody renewed or settled was ended; it holds nothing back any more."""
    BREAKER_OPENED = "streamguard.breaker_opened"
    """Fields: `breaker` is `messages` for a message store's; without it, the stream store's."""
    BREAKER_CLOSED = "streamguard.breaker_closed"
    STORE_WARNING = "streamguard.store_warning"
    MISUSE = "streamguard.misuse"
    """The guard is used in a way that works, but hardly as it is meant. Fields: `misuse` names it, `warning` is its
    text, which says what to do."""
    RECORD_UNREADABLE = "streamguard.record_unreadable"
    """Something stored is damaged, or of a kind this version does not know; nothing else is held up by it. Fields:
    `record` says what it is, `key` where it is, `reason` why, `action` what was done about it."""
    DRAIN_STARTED = "streamguard.drain_started"
    DRAIN_ENDED = "streamguard.drain_ended"
    ENDPOINT_ABANDONED = "streamguard.endpoint_abandoned"
    """A cancelled endpoint did not end in time: its stream ended without it, and what it still reports is lost."""
    TASK_RESTARTED = "streamguard.task_restarted"


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that happened, as told to every `Observer`.

    `fields` holds scalars only, never message contents, tokens or user text.
    """

    name: Signal
    ref: StreamRef | None = None
    message_id: str | None = None
    request_id: str | None = None
    fault: Fault | None = None
    error: BaseException | None = None
    """The exception behind it, for sinks that keep stack traces. Its text may hold a provider's words."""
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
        """What happened to a stream."""
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
    """A telemetry sink. Called on the event loop, so it must not block; what it raises is contained and counted."""

    def __call__(self, observation: Observation, /) -> None: ...
