"""What the keys of log lines, and the tags and fields of Sentry's events, mean: the reference is made of this.

Tests compare it with what is really logged and sent, both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["LOG_KEYS", "SENTRY_KEYS", "SENTRY_TAGS"]

LOG_KEYS: Final[Mapping[str, str]] = {
    # whose stream it is
    "owner_hash": "the owner that `authenticate` returned: 16 hex digits of the SHA-256",
    "session_id": "the conversation, percent-encoded where a client chose it",
    "stream_id": "one answer",
    "message_id": "the reply's message",
    "user_message_id": "the message of the user that could not be saved, or in which a value was replaced",
    "request_id": "the request that is answered, as in its header `x-request-id`; or the one that began the stream",
    "trace_id": "the trace of that request: 32 hex digits",
    # what went wrong
    "code": "the fault's code",
    "phase": "in which phase of a stream's life it happened",
    "severity": "`warning`, `error` or `fatal`",
    "status": "the HTTP status that goes with the fault",
    "fault_id": "the id that client, log, Sentry and audit trail share",
    "reason": "why, in one word of streamguard's; `other` for a reason that the application gave its fault",
    "error": "the class of the exception",
    "error_reason": "why a store could not be used, in one word of [a closed list](redis.md#why-redis-cannot-be-used)",
    "error_at": "the line of the application's own code at which it arose",
    "raised_at": "the line that raised it, where that is another one",
    "error_text": "the text of an exception of streamguard's own; of no other",
    "cause": "the class of the exception's cause",
    "cause_at": "the line of the application's own code at which the cause arose",
    "operation": "the store's operation that failed",
    "origin": "the origin of a page whose request was refused",
    # what kind of stream it is
    "binding": "the endpoint's name, under which its streams are saved and counted",
    "protocol": "what the stream speaks: `ui-message`, `plain`…",
    "framework": "the web framework that the request came through",
    "state": "of the stream that is resumed: `open`, `sealed` or `closed`",
    # how far it is, and how it went
    "outcome": "how a stream, a save, a settlement, a tool call or a round came out",
    "begun": "whether the fault came after the stream's first item",
    "seq": "how many events the stream had",
    "epoch": "under which epoch it was written: each takeover raises it",
    "after_seq": "after which event the client resumes",
    "degraded": "whether the stream goes on without its log",
    "persisted": "what became of the save",
    "quota": "what became of the reservation",
    "events": "how many events the stream had at its end",
    "bytes": "how many bytes these had",
    "seconds": "how long it took",
    "provider_seconds": "how long the endpoint took to its first item",
    "endpoint_seconds": "how long the endpoint ran, from its call until it was through",
    "finish_seconds": "how long the end took after that, to the close",
    "unsaved": "whether a save failed that nobody owes, of a stream without its log",
    "used_UNIT": "how much the reply used, of each unit that is known",
    "notices_dropped": "how many notices were left out because there were too many",
    "attempts": "how many attempts there were",
    "retried": "whether another attempt follows in this process",
    "remote": "whether another process produces the stream that is viewed",
    "tool": "the name of a tool",
    "tool_call_id": "the provider's id of the call",
    "reserved_UNIT": "how much was reserved, of each unit",
    "spent_UNIT": "how much was charged, of each unit",
    "part": "what a value was left out of",
    "type": "the type of the value that was left out",
    "count": "how many",
    # about the process
    "streams": "how many streams run in this process",
    "task": "the name of a background task",
    "crashes": "how often it was restarted",
    "breaker": "`messages` for the message store's; absent for the stream store's",
    "misuse": "which misuse it is",
    "warning": "what an operator has to know, in a sentence",
    "record": "the kind of a record that cannot be read",
    "key": "where that record is",
    "action": "what was done about it",
    "leads": "whether this worker is the first of those that share the reconcilers' work",
    "found": "how much work a round of the reconciler found",
    "orphans": "how many streams of lost workers it ended",
    "saves": "how many saves it made up for",
    "settlements": "how many settlements it made up for",
    "reservations": "how many reservations it ended",
    "left": "how much it left",
}
"""Every key that the line of a signal may have, beside `event` and what the host's own processors add."""

SENTRY_TAGS: Final[Mapping[str, str]] = {
    "phase": "in which phase of a stream's life it happened",
    "code": "the fault's code",
    "outcome": "the stream's outcome; `refused` for a request that got none; `unknown` for all else",
    "protocol": "what the stream speaks; `unknown` where it was refused before that was known",
    "framework": "the web framework that the request came through",
    "error_reason": "why a store could not be used; `unknown` where it is not about that",
    "signal": "the event under which the log has it",
}
"""Every tag of an event that streamguard makes."""

SENTRY_KEYS: Final[Mapping[str, str]] = {
    "signal": "the event under which the log has it",
    "session_hash": "the conversation: 16 hex digits of the SHA-256",
    "user_message_hash": "the message of the user, likewise",
    "retryable": "whether a retry may help",
    "left_out": "how many events of this fingerprint were not sent",
}
"""Fields of the context `streamguard` that are no keys of log lines."""
