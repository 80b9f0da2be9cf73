"""Observations as log events: constants with fields, never contents."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Final

import structlog

from ..faults import ABANDONED, FaultCode, Severity
from ..observations import Observation, Signal
from .safety import error_fields, id_text, plain_text, short_hash

__all__ = ["StructlogObserver", "level_of"]

_LEVELS: Final[Mapping[Signal, int]] = {
    Signal.STREAM_DEGRADED: logging.WARNING,
    Signal.STREAM_SUPERSEDED: logging.WARNING,
    Signal.ORPHAN_SETTLED: logging.WARNING,
    Signal.SAVE_FAILED: logging.WARNING,
    Signal.SAVE_OWED: logging.WARNING,
    Signal.SAVE_BURIED: logging.ERROR,
    Signal.RESERVATION_EXPIRED: logging.WARNING,
    Signal.BREAKER_OPENED: logging.ERROR,
    Signal.STORE_WARNING: logging.WARNING,
    Signal.MISUSE: logging.WARNING,
    Signal.RECORD_UNREADABLE: logging.ERROR,
    Signal.ENDPOINT_ABANDONED: logging.WARNING,
    Signal.TASK_RESTARTED: logging.ERROR,
    Signal.STREAM_RESUMED: logging.DEBUG,
    Signal.RESUME_EMPTY: logging.DEBUG,
    Signal.FIRST_EVENT: logging.DEBUG,
    Signal.VIEWER_JOINED: logging.DEBUG,
    Signal.VIEWER_LEFT: logging.DEBUG,
    Signal.TOOL_CALLED: logging.DEBUG,
    Signal.QUOTA_RESERVED: logging.DEBUG,
    Signal.QUOTA_SETTLED: logging.DEBUG,
    Signal.RECONCILE_STARTED: logging.DEBUG,
    Signal.RECONCILED: logging.DEBUG,
    Signal.VIEWER_CUT: logging.DEBUG,
}
"""Everything else is INFO; a fault's severity decides for itself."""

_FAULTS: Final = frozenset({Signal.FAULT, Signal.RESUME_REFUSED})
"""Where a fault is told of for the first time; elsewhere it is only mentioned again."""
_IDS: Final = frozenset({"session_id", "stream_id", "message_id", "user_message_id", "request_id", "origin"})
"""Fields whose value a client may have chosen."""
_NO_WORD: Final = re.compile(r'[\s"=]|^$')
_SEVERITIES: Final = {
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.FATAL: logging.ERROR,
}


class StructlogObserver:
    """Logs every observation to the structlog logger `streamguard`, in whatever way the host configured structlog.

    Where it configured nothing, events go to the standard library's logger of that name instead: structlog's own
    default prints everything to standard output. Owners appear as hashes. A client's mistake is logged as a warning.

    Args:
        debug: log tracebacks, with the texts of exceptions, too.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self._debug = debug
        self._structlog = structlog.get_logger("streamguard")
        self._standard = logging.getLogger("streamguard")

    def __call__(self, observation: Observation) -> None:
        """Log one observation."""
        level = _level_of(observation)
        error = observation.error if self._debug else None
        if structlog.is_configured():
            more = {"exc_info": error} if error is not None else {}
            self._structlog.log(level, str(observation.name), **_fields_of(observation), **more)
        elif self._standard.isEnabledFor(level):
            fields = _fields_of(observation)
            text = " ".join(f"{name}={_one_word(value)}" for name, value in fields.items())
            self._standard.log(level, "%s %s", observation.name, text, extra={"streamguard": fields}, exc_info=error)


def level_of(signal: Signal) -> str:
    """The level of a signal's log lines, in words."""
    if signal in _FAULTS:
        return "of the fault"
    return logging.getLevelName(_LEVELS.get(signal, logging.INFO)).lower()


def _level_of(observation: Observation) -> int:
    fault = observation.fault
    if fault is None or observation.name not in _FAULTS:
        return _LEVELS.get(observation.name, logging.INFO)
    if fault.code is FaultCode.INTERRUPTED and fault.reason == ABANDONED:  # as its host had set
        return logging.INFO
    level = _SEVERITIES[fault.severity]
    return logging.WARNING if 400 <= fault.status < 500 else level


def _fields_of(observation: Observation) -> dict[str, object]:
    """Nothing that came from outside can look like a field, or a line, of its own."""
    return {
        name: value if not isinstance(value, str) else id_text(value) if name in _IDS else plain_text(value)
        for name, value in _all_fields(observation).items()
    }


def _one_word(value: object) -> str:
    """A value in a line of `name=value`: in quotes where it would not be one word."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _NO_WORD.search(text) else text


def _all_fields(observation: Observation) -> dict[str, object]:
    fields: dict[str, object] = {}
    fault, ref = observation.fault, observation.ref
    if ref is not None:
        fields["owner_hash"] = short_hash(ref.key.owner)
        fields["session_id"] = ref.key.session_id
        fields["stream_id"] = ref.stream_id
    elif observation.owner is not None:
        fields["owner_hash"] = short_hash(observation.owner)
    if fault is not None:
        for name in ("session_id", "stream_id", "message_id", "user_message_id", "request_id"):
            value = getattr(fault, name)
            if value is not None:
                fields[name] = value
        fields["code"] = str(fault.code)
        fields["phase"] = str(fault.phase)
        fields["severity"] = str(fault.severity)
        fields["status"] = fault.status
        fields["fault_id"] = fault.fault_id
        if fault.reason is not None:
            fields["reason"] = fault.reason
    if observation.message_id is not None:
        fields["message_id"] = observation.message_id
    if observation.request_id is not None:
        fields["request_id"] = observation.request_id
    fields.update(observation.fields)
    if observation.error is not None:
        fields.update(error_fields(observation.error))
    return fields
