"""Metrics of what goes on beside streams: saves, quotas, faults, the process, the reconciler."""

from __future__ import annotations

from typing import Final

from ...faults import Phase
from ...observations import Signal
from .metric import Kind, Label, Merging, Metric, constants
from .reading import (
    BINDING,
    BREAKING,
    CODES,
    FAST,
    FAULT_REASON,
    OUTCOME,
    REASON,
    SAVED,
    YES_NO,
    breaker_open,
    code_of,
    error_of,
    field,
    flag,
    is_of_provider,
    now,
    number,
    phase_of,
)

__all__ = ["FAULTS", "PROCESS", "QUOTA", "RECONCILING", "SAVING"]

SAVING: Final = (
    Metric(
        "persist_total",
        Kind.COUNTER,
        "What happened to saves: `saved`, made at last; `failed`, an attempt at it; `owed`, left to the outbox; "
        "`recovered`, made from there; `buried`, given up.",
        tuple(SAVED),
        labels=(Label("outcome", *constants(SAVED)), BINDING),
    ),
    Metric(
        "persist_seconds",
        Kind.HISTOGRAM,
        "How long a save took that succeeded.",
        (Signal.REPLY_SAVED,),
        number("seconds"),
        labels=(BINDING,),
        buckets=FAST,
    ),
    Metric(
        "persist_failures_total",
        Kind.COUNTER,
        "Attempts to save that failed.",
        (Signal.SAVE_FAILED,),
        labels=(BINDING, REASON),
    ),
    Metric(
        "outbox_entries",
        Kind.GAUGE,
        "Saves and settlements that are owed.",
        (Signal.STORE_MEASURED,),
        number("outbox"),
        merging=Merging.LAST,
    ),
    Metric(
        "persist_pending_oldest_seconds",
        Kind.GAUGE,
        "For how long the oldest of them has been owed, as far as a process has seen.",
        (Signal.STORE_MEASURED,),
        number("outbox_oldest_seconds"),
        merging=Merging.WORST,
    ),
    Metric(
        "dead_letters",
        Kind.GAUGE,
        "Saves and settlements that were given up and wait for an operator.",
        (Signal.STORE_MEASURED,),
        number("dead_letters"),
        merging=Merging.LAST,
    ),
)

QUOTA: Final = (
    Metric(
        "quota_reserved_units_total",
        Kind.COUNTER,
        "Usage that was reserved.",
        (Signal.QUOTA_RESERVED,),
        by_unit="reserved_",
    ),
    Metric(
        "quota_spent_units_total", Kind.COUNTER, "Usage that was charged.", (Signal.QUOTA_SETTLED,), by_unit="spent_"
    ),
    Metric(
        "quota_settled_total",
        Kind.COUNTER,
        "Reservations that were settled, or could not be yet.",
        (Signal.QUOTA_SETTLED,),
        labels=(Label("outcome", field("outcome"), ("charged", "released", "pending")),),
    ),
    Metric(
        "quota_reserve_seconds",
        Kind.HISTOGRAM,
        "How long a reservation took.",
        (Signal.QUOTA_RESERVED,),
        number("seconds"),
        buckets=FAST,
    ),
    Metric(
        "quota_reservations",
        Kind.GAUGE,
        "Reservations that are held.",
        (Signal.STORE_MEASURED,),
        number("reservations"),
        merging=Merging.LAST,
    ),
    Metric(
        "quota_reservations_stale",
        Kind.GAUGE,
        "Those of them that were not renewed in time, and wait to be ended.",
        (Signal.STORE_MEASURED,),
        number("stale_reservations"),
        merging=Merging.LAST,
    ),
    Metric(
        "quota_reservations_oldest_seconds",
        Kind.GAUGE,
        "For how long the first of the stale ones has waited to be ended.",
        (Signal.STORE_MEASURED,),
        number("reservations_oldest_seconds"),
        merging=Merging.LAST,
    ),
    Metric(
        "quota_drift_units",
        Kind.GAUGE,
        "How far an owner's counters are off from what its reservations add up to, at most, of a few owners.",
        (Signal.STORE_MEASURED,),
        number("quota_drift_units"),
        merging=Merging.WORST,
    ),
    Metric(
        "quota_reservations_expired_total",
        Kind.COUNTER,
        "Reservations that nobody renewed or settled.",
        (Signal.RESERVATION_EXPIRED,),
    ),
    Metric(
        "settlements_recovered_total",
        Kind.COUNTER,
        "Settlements that succeeded after their stream's end.",
        (Signal.SETTLEMENT_RECOVERED,),
    ),
)

FAULTS: Final = (
    Metric(
        "faults_total",
        Kind.COUNTER,
        "Faults, by the part of the work that failed, by code, and by the class of the exception, if there was one: "
        "each once.",
        (Signal.FAULT, Signal.RESUME_REFUSED, Signal.SAVE_BURIED, Signal.ORPHAN_SETTLED),
        labels=(
            Label("phase", phase_of, tuple(Phase)),
            Label("code", code_of, CODES),
            BINDING,
            Label("error", error_of),
        ),
        only=lambda seen: seen.fault is not None,
    ),
    Metric(
        "provider_aborts_total",
        Kind.COUNTER,
        "Answers that the model's side ended, and whether the client had seen something of them.",
        (Signal.FAULT,),
        labels=(BINDING, Label("code", code_of, CODES), FAULT_REASON, Label("begun", flag("begun"), YES_NO)),
        only=is_of_provider,
    ),
    Metric(
        "task_restarts_total",
        Kind.COUNTER,
        "Background tasks that crashed and were begun again.",
        (Signal.TASK_RESTARTED,),
        labels=(Label("task", field("task")),),
    ),
    Metric("warnings_total", Kind.COUNTER, "Warnings for the operator.", (Signal.STORE_WARNING, Signal.MISUSE)),
)

PROCESS: Final = (
    Metric(
        "streams_active", Kind.GAUGE, "Streams that are produced now.", (Signal.PROCESS_MEASURED,), number("streams")
    ),
    Metric("viewers", Kind.GAUGE, "Connections that view a stream now.", (Signal.PROCESS_MEASURED,), number("viewers")),
    Metric(
        "queued_events",
        Kind.GAUGE,
        "Events that wait for their append.",
        (Signal.PROCESS_MEASURED,),
        number("queued_events"),
    ),
    Metric("queued_bytes", Kind.GAUGE, "Their payload.", (Signal.PROCESS_MEASURED,), number("queued_bytes")),
    Metric("saves_under_way", Kind.GAUGE, "Saves under way.", (Signal.PROCESS_MEASURED,), number("saves_under_way")),
    Metric(
        "event_loop_lag_seconds",
        Kind.GAUGE,
        "How late the event loop is.",
        (Signal.PROCESS_MEASURED,),
        number("loop_lag_seconds"),
        merging=Merging.WORST,
    ),
    Metric(
        "breaker_state",
        Kind.GAUGE,
        "1 while the stream store is not asked.",
        BREAKING,
        breaker_open("streams", "breaker"),
        merging=Merging.WORST,
    ),
    Metric(
        "message_breaker_state",
        Kind.GAUGE,
        "1 while a message store is not asked.",
        BREAKING,
        breaker_open("messages", "message_breaker"),
        merging=Merging.WORST,
    ),
    Metric(
        "draining",
        Kind.GAUGE,
        "1 while the process admits nothing more.",
        (Signal.PROCESS_MEASURED, Signal.DRAIN_STARTED),
        lambda seen: 1.0 if seen.name is Signal.DRAIN_STARTED or seen.fields.get("draining") else 0.0,
    ),
    Metric(
        "observer_errors_total",
        Kind.COUNTER,
        "How often a telemetry sink has failed.",
        (Signal.PROCESS_MEASURED,),
        number("observer_errors"),
    ),
)

RECONCILING: Final = (
    Metric(
        "reconciler_last_success_timestamp_seconds",
        Kind.GAUGE,
        "When a round last succeeded, in Unix time.",
        (Signal.RECONCILED,),
        now,
        only=lambda seen: seen.fields.get("outcome") == "ok",
        merging=Merging.LATEST,
    ),
    Metric(
        "reconciler_rounds_total",
        Kind.COUNTER,
        "Rounds of the reconciler.",
        (Signal.RECONCILED,),
        labels=(Label("outcome", field("outcome"), ("ok", "failed")),),
    ),
    Metric(
        "reconciler_round_seconds",
        Kind.HISTOGRAM,
        "How long a round took.",
        (Signal.RECONCILED,),
        number("seconds"),
        buckets=FAST,
    ),
    Metric(
        "orphans_ended_total",
        Kind.COUNTER,
        "Streams of other writers that were ended, by outcome.",
        (Signal.ORPHAN_SETTLED,),
        labels=(OUTCOME,),
    ),
    Metric(
        "expired_leases",
        Kind.GAUGE,
        "Streams that nobody writes and nobody has ended yet.",
        (Signal.STORE_MEASURED,),
        number("expired_leases"),
        merging=Merging.LAST,
    ),
)
