"""What spans may hold: ids of ours, hashes, numbers and words; no content, and no text of an exception."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...faults import Fault
from ...scopes import StreamContext
from ...values import short_hash
from ..reasons import told_reason
from ..safety import id_text

__all__ = ["of_context", "of_fault", "of_fields"]

_ALLOWED: Final = frozenset(
    {
        *("binding", "outcome", "persisted", "quota", "reason", "attempts", "seconds", "remote", "tool"),
        *("events", "bytes", "part", "type", "count", "seq", "epoch", "begun", "degraded"),
    }
)
_WORD: Final = re.compile(r"[A-Za-z0-9_.:/\-]{1,100}")
"""A constant, a name or an id; no sentence is one."""


def of_context(context: StreamContext) -> dict[str, str]:
    """The stream that a span is about."""
    session, request_id = context.session_id, context.request_id
    named = {
        "stream_id": context.stream_id,
        "request_id": None if request_id is None else id_text(request_id),
        "session_hash": None if session is None else short_hash(session),
        "owner_hash": context.owner_hash,
        "binding": context.binding,
        "protocol": context.protocol,
    }
    return {f"streamguard.{name}": value for name, value in named.items() if value is not None}


def of_fault(fault: Fault) -> dict[str, str]:
    """The fault that a span or an event is about."""
    named = {"code": str(fault.code), "phase": str(fault.phase), "fault_id": fault.fault_id}
    if (reason := told_reason(fault)) is not None:
        named["reason"] = reason
    return {f"streamguard.{name}": value for name, value in named.items()}


def of_fields(fields: Mapping[str, str | int | float | bool | None]) -> dict[str, str | int | float | bool]:
    """The fields of an observation, as far as they are numbers or one word each."""
    return {f"streamguard.{name}": _plain(value) for name, value in fields.items() if name in _ALLOWED and _fits(value)}


def _fits(value: object) -> bool:
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and _WORD.fullmatch(value) is not None)


def _plain(value: str | float | bool | None) -> str | int | float | bool:
    """The value as exporters know it, which is no member of an enumeration."""
    return str(value) if value is None or isinstance(value, str) else value
