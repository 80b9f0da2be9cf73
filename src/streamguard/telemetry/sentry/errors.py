"""Which faults are captured, and the events that are made of them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from ...faults import ABANDONED, REGISTRY, Fault, FaultCode, Severity
from ...observations import Observation, Signal
from ..reasons import told_reason
from ..safety import class_name
from .fields import allowed, ids_of

if TYPE_CHECKING:
    from sentry_sdk.types import Event

__all__ = ["NOT_CAPTURED", "REASONS_NOT_CAPTURED", "event_of", "fingerprint_of", "is_captured", "is_warning"]

UNKNOWN: Final = "unknown"
"""The value of a tag where nobody knows it: a refused request has no protocol yet."""

_LEVELS: Final[Mapping[Severity, Literal["warning", "error", "fatal"]]] = {
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.FATAL: "fatal",
}
_FOR_OPERATORS: Final = frozenset({FaultCode.QUOTA_RELEASE_FAILED, FaultCode.QUOTA_PENDING})
"""Warnings that nobody but an operator can do something about."""
_SIGNALS: Final = frozenset({Signal.STORE_WARNING, Signal.MISUSE, Signal.SAVE_BURIED})
"""What an operator has to know though nobody's answer failed."""

_CLIENT: Final = "the client's mistake, which only the client can mend"
_BUSY: Final = "the client asked for more than it may have; captured where the process itself is full (503)"
NOT_CAPTURED: Final[Mapping[FaultCode, str]] = {
    FaultCode.REQUEST_INVALID: _CLIENT,
    FaultCode.SESSION_INVALID: _CLIENT,
    FaultCode.UNAUTHENTICATED: _CLIENT,
    FaultCode.FORBIDDEN_ORIGIN: _CLIENT,
    FaultCode.NOT_FOUND: _CLIENT,
    FaultCode.CONFLICT_ACTIVE: _CLIENT,
    FaultCode.IDEMPOTENCY_CONFLICT: _CLIENT,
    FaultCode.PAYLOAD_TOO_LARGE: _CLIENT,
    FaultCode.CURSOR_INVALID: _CLIENT,
    FaultCode.LIMIT_STREAMS: _BUSY,
    FaultCode.LIMIT_VIEWERS: _BUSY,
    FaultCode.LIMIT_RATE: _BUSY,
    FaultCode.QUOTA_EXCEEDED: "the quota did what it is for",
    FaultCode.STOPPED: "the user wanted it",
    FaultCode.VALUE_REPLACED: "a warning: the answer went on without one value, which the log names",
    FaultCode.PERSISTENCE_PENDING: "a warning: the save is made later; captured as `persistence_failed` if it is not",
}
"""Codes that are deliberately not captured, and why. A status of 500 and above is captured nevertheless."""

REASONS_NOT_CAPTURED: Final[Mapping[tuple[FaultCode, str], str]] = {
    (FaultCode.INTERRUPTED, ABANDONED): "nobody watched, and the host had set that such answers end",
    (FaultCode.RESUME_FAILED, "stream_gone"): "the client came back for what was deleted in time",
}
"""Single reasons of codes that are captured otherwise, and why."""


def is_warning(observation: Observation) -> bool:
    """Whether it is for operators though nobody's answer failed."""
    fault = observation.fault
    return observation.name in _SIGNALS or (
        observation.name is Signal.FAULT and fault is not None and fault.code in _FOR_OPERATORS
    )


def is_captured(observation: Observation) -> bool:
    """Whether someone should look at it."""
    fault = observation.fault
    if is_warning(observation):
        return True
    if fault is None:
        return False
    if fault.code is FaultCode.NOT_RESUMABLE:
        return True
    if fault.severity is Severity.WARNING:
        return False
    if (fault.code, fault.reason) in REASONS_NOT_CAPTURED:
        return False
    if fault.code in NOT_CAPTURED:
        return fault.status >= 500
    return True


def fingerprint_of(observation: Observation) -> tuple[str, ...]:
    """What makes one issue of many events: `streamguard`, phase, code and class of the error (`none` without one). For
    what is no fault: the signal, and which warning it is."""
    fault, error = observation.fault, observation.error
    if fault is None:
        fields = observation.fields
        return ("streamguard", str(observation.name), str(fields.get("misuse") or fields.get("warning") or "none"))
    error_class = class_name(error) if error is not None else "none"
    return ("streamguard", str(fault.phase), str(fault.code), error_class)


def event_of(observation: Observation, known: Mapping[str, object]) -> Event:
    """The event, without anything anybody wrote. `known` are fields of earlier observations of the stream.

    It is complete, to be sent without any scope. Measured: Sentry's defaults add the request's body, breadcrumbs and
    the local variables of every frame, and `include_local_variables=False` still sends an exception's text, in which
    providers quote prompts.
    """
    fault = observation.fault
    fields = {**known, **allowed(observation.fields)}
    context = {**fields, **ids_of(observation), "signal": str(observation.name)}
    tags = {name: str(fields.get(name, UNKNOWN)) for name in ("protocol", "framework")}
    if fault is not None:
        tags |= {"phase": str(fault.phase), "code": str(fault.code)}
        context |= {"status": fault.status, "retryable": fault.retryable} | allowed({"reason": told_reason(fault)})
    tags["outcome"] = str(fields.get("outcome", "refused" if _is_refusal(observation) else UNKNOWN))
    tags["error_reason"] = str(context.get("error_reason", UNKNOWN))
    tags["signal"] = str(observation.name)
    return {
        "level": "warning" if fault is None or is_warning(observation) else _LEVELS[fault.severity],
        "logger": "streamguard",
        "transaction": f"streamguard {observation.name if fault is None else fault.phase}",
        "fingerprint": list(fingerprint_of(observation)),
        "tags": tags,
        "contexts": {"streamguard": context},
        # Always an exception entry: without one `attach_stacktrace` adds this frame's local variables.
        "exception": {"values": [_exception(observation, fault)]},
    }


def _is_refusal(observation: Observation) -> bool:
    """Whether it is the fault of a request that got no stream. A store's warning, say, is no request's."""
    fault = observation.fault
    if fault is None or observation.ref is not None or is_warning(observation):
        return False
    return (observation.request_id or fault.request_id) is not None


def _exception(observation: Observation, fault: Fault | None) -> dict[str, Any]:
    error = observation.error
    error_class = class_name(error) if error is not None else str(observation.name if fault is None else fault.code)
    module, _, name = error_class.rpartition(".")
    if fault is None:
        text = str(allowed(observation.fields).get("warning", observation.name))
    else:  # not the fault's own text: a host may have written it
        text = f"{fault.code}: {REGISTRY[fault.code].message}"
    entry: dict[str, Any] = {
        "type": name if error is not None else error_class,
        "value": text,
        "mechanism": {"type": "streamguard", "handled": True},
    }
    if module and error is not None:
        entry["module"] = module
    if error is not None and error.__traceback__ is not None:
        entry["stacktrace"] = {
            "frames": [
                {
                    "filename": frame.f_code.co_filename,
                    "function": frame.f_code.co_name,
                    "module": frame.f_globals.get("__name__"),
                    "lineno": lineno,
                    "in_app": True,
                }
                for frame, lineno in traceback.walk_tb(error.__traceback__)
            ]
        }
    return entry
