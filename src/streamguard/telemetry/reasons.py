"""The reasons of faults that sinks tell: streamguard's own. A host may give any, which only its client gets."""

from __future__ import annotations

from typing import Final

from ..faults import Fault

__all__ = ["OTHER", "REASONS", "told_reason"]

OTHER: Final = "other"
"""In place of a reason that is not streamguard's."""
REASONS: Final = frozenset(
    {
        # requests
        *("owner", "owner_invalid", "message_id", "client_version", "idempotency_key_invalid", "estimate", "quota"),
        *("method_not_allowed", "command_body", "disconnected", "cors_origins", "no_message_store", "draining"),
        *("after_invalid", "limit_invalid", "branches_invalid", "stream_id_invalid", "message_id_invalid"),
        *("stream_id_ambiguous", "message_id_ambiguous", "stream_id_empty", "message_id_empty"),
        "cursor_ambiguous",
        # limits: settings
        *("max_streams_per_process", "max_streams_per_address", "max_sync_streams"),
        *("max_viewers_per_owner", "max_viewers_per_process"),
        *("max_resumes_per_minute", "max_changes_per_minute", "max_opens_per_minute_per_address"),
        *("max_stream_seconds", "max_stream_events", "max_stream_bytes", "first_item_seconds", "stall_seconds"),
        # quotas
        *("spent", "held", "too_large", "expires", "earlier_reply", "quota_refused", "quota_unavailable"),
        # values that were replaced
        *("unencodable", "cycle", "too_deep", "unknown_part"),
        # the store, and streams that lost their log
        *(
            "registration",
            "append_deadline",
            "log_behind",
            "log_gone",
            "log_lost",
            "drained",
            "not_drained",
            "internal",
        ),
        *("newer_format", "record_unreadable", "unknown_protocol", "store_unavailable"),
        # ends
        *("abandoned", "cancelled", "writer_lost"),
        # resumes
        *("stream_gone", "cursor_ahead", "trimmed", "not_registered", "log_unreadable"),
        # saves
        *("unavailable", "timeout", "paused", "failed", "unknown_binding", "waits_for_previous", "user_message"),
        *("invalid", "not_found", "forbidden", "conflict", "superseded", "erased", "shutdown", "payload_unreadable"),
        *("gone", "settled"),
    }
)
"""Every reason that streamguard gives a fault."""


def told_reason(fault: Fault) -> str | None:
    """The fault's reason, as a log, a label or a service may have it; None without one."""
    if fault.reason is None:
        return None
    return str(fault.reason) if fault.reason in REASONS else OTHER
