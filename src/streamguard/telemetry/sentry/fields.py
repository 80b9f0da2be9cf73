"""What Sentry may be told of an observation: named fields, and texts that are words of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...observations import Observation
from ..safety import class_name, id_text, plain_text, short_hash, told_error_reason

__all__ = ["ALLOWED", "allowed", "ids_of"]

ALLOWED: Final = frozenset(
    {
        *("protocol", "binding", "framework", "degraded", "outcome", "persisted", "quota", "begun", "remote", "state"),
        *("events", "bytes", "seconds", "provider_seconds", "after_seq", "seq", "epoch", "notices_dropped"),
        *("reason", "attempts", "task", "crashes", "streams", "breaker", "misuse", "operation", "record", "action"),
        *("part", "type", "count", "found", "orphans", "saves", "settlements", "reservations", "left", "tool"),
    }
)
"""Fields of observations. Others, `key`, `origin` and `session_id` among them, may hold what a client chose."""
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/\-]{1,100}")
"""A constant, a name or an id; no sentence is one."""
_OWN_TEXTS: Final = frozenset({"warning"})
"""Sentences, but our own."""


def allowed(fields: Mapping[str, object]) -> dict[str, object]:
    """The fields that Sentry may have: numbers, and texts that are one word."""
    return {name: value for name, value in fields.items() if name in ALLOWED and _is_plain(value)} | {
        name: plain_text(value) for name, value in fields.items() if name in _OWN_TEXTS and isinstance(value, str)
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and _WORD.fullmatch(value) is not None)


def ids_of(observation: Observation) -> dict[str, object]:
    """Which stream, for whom: what a client or the host chose appears as a hash, but for the request's id, which is in
    the log too."""
    fault, ref = observation.fault, observation.ref
    found: dict[str, object | None] = {
        "stream_id": ref.stream_id if ref is not None else fault.stream_id if fault is not None else None,
        "message_id": observation.message_id or (fault.message_id if fault is not None else None),
    }
    if request_id := observation.request_id or (fault.request_id if fault is not None else None):
        found["request_id"] = id_text(request_id)
    if session_id := ref.key.session_id if ref is not None else fault.session_id if fault is not None else None:
        found["session_hash"] = short_hash(session_id)
    if ref is not None:
        found["owner_hash"] = short_hash(ref.key.owner)
    if fault is not None:
        found["fault_id"] = fault.fault_id
        if fault.user_message_id is not None:
            found["user_message_hash"] = short_hash(fault.user_message_id)
    if (error := observation.error) is not None:
        found["error"] = class_name(error)
        found["error_reason"] = told_error_reason(error)
        if error.__cause__ is not None:
            found["cause"] = class_name(error.__cause__)
    return {name: value for name, value in found.items() if value is not None}
