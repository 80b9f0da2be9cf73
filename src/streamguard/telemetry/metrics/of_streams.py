"""Metrics of streams, their log and their viewers."""

from __future__ import annotations

from typing import Final

from ...observations import Signal
from ...values import Persisted
from .metric import Kind, Label, Metric, constants
from .reading import (
    ANSWER,
    BINDING,
    BYTES,
    ERROR_REASON,
    FAST,
    NOT_DURABLE,
    OUTCOME,
    PROTOCOL,
    REASON,
    RESUMED,
    WHOLE,
    YES_NO,
    added_seconds,
    breaker_store,
    field,
    flag,
    is_not_durable,
    number,
    resume_reason,
)

__all__ = ["LOG", "STREAMS", "VIEWING"]

STREAMS: Final = (
    Metric(
        "streams_opened_total",
        Kind.COUNTER,
        "Streams that began.",
        (Signal.STREAM_OPENED,),
        labels=(BINDING, PROTOCOL, Label("degraded", flag("degraded"), YES_NO)),
    ),
    Metric(
        "admission_seconds",
        Kind.HISTOGRAM,
        "From a request's arrival to the registration of its stream.",
        (Signal.STREAM_OPENED,),
        number("seconds"),
        labels=(BINDING,),
        buckets=FAST,
    ),
    Metric(
        "time_to_first_event_seconds",
        Kind.HISTOGRAM,
        "From a request's arrival to its first event that can be seen.",
        (Signal.FIRST_EVENT,),
        number("seconds"),
        labels=(BINDING,),
        buckets=ANSWER,
    ),
    Metric(
        "first_event_added_seconds",
        Kind.HISTOGRAM,
        "The part of the time to the first event that is not the endpoint's.",
        (Signal.FIRST_EVENT,),
        added_seconds,
        labels=(BINDING,),
        buckets=FAST,
    ),
    Metric(
        "provider_first_item_seconds",
        Kind.HISTOGRAM,
        "From the call of the endpoint to the first item that it gave.",
        (Signal.FIRST_EVENT,),
        number("provider_seconds"),
        labels=(BINDING,),
        buckets=ANSWER,
    ),
    Metric(
        "stream_terminal_total",
        Kind.COUNTER,
        "Streams that ended, by outcome and by what is known of saving the reply: one for each.",
        (Signal.STREAM_ENDED,),
        labels=(BINDING, OUTCOME, Label("persisted", field("persisted"), tuple(Persisted))),
    ),
    Metric(
        "streams_withdrawn_total",
        Kind.COUNTER,
        "Streams that were opened, but whose endpoint answered with no stream: nothing is left of them.",
        (Signal.STREAM_WITHDRAWN,),
        labels=(BINDING,),
    ),
    Metric(
        "stream_seconds",
        Kind.HISTOGRAM,
        "How long streams lasted.",
        (Signal.STREAM_ENDED,),
        number("seconds"),
        labels=(BINDING, OUTCOME),
        buckets=WHOLE,
    ),
    Metric(
        "finish_seconds",
        Kind.HISTOGRAM,
        "From an answer's last item to its end: its last append, its save, its charge, its close.",
        (Signal.STREAM_ENDED,),
        number("finish_seconds"),
        labels=(BINDING,),
        buckets=FAST,
    ),
    Metric(
        "stream_bytes",
        Kind.HISTOGRAM,
        "Payload of whole streams: of all their events, the last ones included.",
        (Signal.STREAM_ENDED,),
        number("bytes"),
        labels=(BINDING,),
        buckets=BYTES,
    ),
    Metric(
        "notices_dropped_total",
        Kind.COUNTER,
        "Notices that streams had no room for.",
        (Signal.STREAM_ENDED,),
        number("notices_dropped"),
    ),
    Metric("stops_requested_total", Kind.COUNTER, "Streams that a client stopped.", (Signal.STOP_REQUESTED,)),
    Metric("sessions_erased_total", Kind.COUNTER, "Sessions that were erased.", (Signal.SESSION_ERASED,)),
    Metric(
        "tool_calls_total",
        Kind.COUNTER,
        "Tool calls in replies, and how they came out.",
        (Signal.TOOL_CALLED,),
        labels=(Label("outcome", field("outcome"), ("called", "finished", "failed")),),
    ),
    Metric(
        "endpoints_abandoned_total",
        Kind.COUNTER,
        "Cancelled endpoints that did not end in time.",
        (Signal.ENDPOINT_ABANDONED,),
    ),
)

LOG: Final = (
    Metric(
        "log_commits_total",
        Kind.COUNTER,
        "Round trips to the log with events of running streams, answered or not.",
        (Signal.LOG_WRITTEN,),
        number("commits"),
    ),
    Metric(
        "log_appends_total",
        Kind.COUNTER,
        "Appends that the log acknowledged: the events of one stream in one commit.",
        (Signal.LOG_WRITTEN,),
        number("appends"),
    ),
    Metric(
        "log_events_total",
        Kind.COUNTER,
        "Events that the log acknowledged, each once, those that end streams included.",
        (Signal.LOG_WRITTEN,),
        number("events"),
    ),
    Metric("log_bytes_total", Kind.COUNTER, "Payload of these events.", (Signal.LOG_WRITTEN,), number("bytes")),
    Metric(
        "append_retries_total", Kind.COUNTER, "Appends that were sent again.", (Signal.LOG_WRITTEN,), number("retries")
    ),
    Metric(
        "append_failures_total",
        Kind.COUNTER,
        "Appends that got no answer, or a refusal.",
        (Signal.LOG_WRITTEN,),
        number("failures"),
    ),
    Metric(
        "append_seconds",
        Kind.HISTOGRAM,
        "From sending a commit to its answer.",
        (Signal.LOG_WRITTEN,),
        sample="append_seconds",
        buckets=FAST,
    ),
    Metric(
        "queued_seconds",
        Kind.HISTOGRAM,
        "From an event's emission to its acknowledgement. Sampled.",
        (Signal.LOG_WRITTEN,),
        sample="queued_seconds",
        buckets=FAST,
    ),
    Metric(
        "inter_event_seconds",
        Kind.HISTOGRAM,
        "Between two appends of one stream. Sampled.",
        (Signal.LOG_WRITTEN,),
        sample="gap_seconds",
        buckets=ANSWER,
    ),
    Metric(
        "event_bytes",
        Kind.HISTOGRAM,
        "Payload of single events. Sampled.",
        (Signal.LOG_WRITTEN,),
        sample="event_bytes",
        buckets=BYTES,
    ),
    Metric(
        "batch_bytes",
        Kind.HISTOGRAM,
        "Payload of commits. Sampled.",
        (Signal.LOG_WRITTEN,),
        sample="batch_bytes",
        buckets=BYTES,
    ),
    Metric(
        "accepted_not_durable_total",
        Kind.COUNTER,
        "Answers that were accepted and then not kept: `log`, the stream lost its log; `message`, its reply is saved "
        "nowhere.",
        tuple(NOT_DURABLE),
        labels=(Label("what", *constants(NOT_DURABLE)),),
        only=is_not_durable,
    ),
    Metric(
        "degraded_total",
        Kind.COUNTER,
        "Streams that lost their log, by reason.",
        (Signal.STREAM_DEGRADED,),
        labels=(REASON,),
    ),
    Metric(
        "fenced_total", Kind.COUNTER, "Streams that another worker took from their writer.", (Signal.STREAM_SUPERSEDED,)
    ),
    Metric(
        "records_unreadable_total", Kind.COUNTER, "Stored records that could not be read.", (Signal.RECORD_UNREADABLE,)
    ),
    Metric(
        "breaker_opened_total",
        Kind.COUNTER,
        "How often a store was given up for a while, and why it could not be used.",
        (Signal.BREAKER_OPENED,),
        labels=(Label("store", breaker_store, ("streams", "messages")), ERROR_REASON),
    ),
)

VIEWING: Final = (
    Metric(
        "resume_total",
        Kind.COUNTER,
        "Requests to resume. The reason is the stream's state, why there is nothing, or why it was refused.",
        tuple(RESUMED),
        labels=(Label("result", *constants(RESUMED)), Label("reason", resume_reason)),
    ),
    Metric(
        "viewers_joined_total",
        Kind.COUNTER,
        "Connections that began to view a stream.",
        (Signal.VIEWER_JOINED,),
        labels=(Label("remote", flag("remote"), YES_NO),),
    ),
    Metric(
        "viewers_left_total",
        Kind.COUNTER,
        "Connections that view a stream no longer.",
        (Signal.VIEWER_LEFT,),
        labels=(REASON,),
    ),
    Metric(
        "viewers_cut_total",
        Kind.COUNTER,
        "Connections that the server ended before their stream.",
        (Signal.VIEWER_CUT,),
        labels=(REASON,),
    ),
)
