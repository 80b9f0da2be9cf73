"""Faults in Sentry: each once, told apart by tags, without anything anybody wrote."""

from __future__ import annotations

import math
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import capture_internal_exceptions

from ...faults import ABANDONED, Fault, FaultCode, Severity
from ...observations import Observation, Signal
from ..safety import class_name, short_hash

if TYPE_CHECKING:
    from sentry_sdk.types import Event

__all__ = ["SentryObserver"]

REMEMBERED_FAULTS: Final = 4096
QUIET_SECONDS: Final = 60.0
"""A warning of one kind is captured no more often: an outage has thousands of them."""
REMEMBERED_KINDS: Final = 256

_LEVELS: Final[Mapping[Severity, Literal["warning", "error", "fatal"]]] = {
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.FATAL: "fatal",
}
_WARNINGS: Final = frozenset({FaultCode.QUOTA_RELEASE_FAILED, FaultCode.QUOTA_PENDING})
"""Warnings that nobody but an operator can do something about."""
_CLIENTS_OWN: Final = frozenset(
    {
        FaultCode.REQUEST_INVALID,
        FaultCode.SESSION_INVALID,
        FaultCode.UNAUTHENTICATED,
        FaultCode.FORBIDDEN_ORIGIN,
        FaultCode.NOT_FOUND,
        FaultCode.CONFLICT_ACTIVE,
        FaultCode.IDEMPOTENCY_CONFLICT,
        FaultCode.LIMIT_STREAMS,
        FaultCode.LIMIT_VIEWERS,
        FaultCode.LIMIT_RATE,
        FaultCode.PAYLOAD_TOO_LARGE,
        FaultCode.QUOTA_EXCEEDED,
        FaultCode.CURSOR_INVALID,
        FaultCode.STOPPED,
    }
)
"""What a client did, or what was done for its user. (A full process, 503, is not: see `_worth_capturing`.)"""


class SentryObserver:
    """Captures every fault that someone should look at, if the host has initialised Sentry; never initialises it.

    Captured are faults of severity `error` and `fatal`, and `not_resumable`; a client's own mistakes, a user's stop
    and a resume of what is long gone are not. What an operator has to know though nobody's answer failed (a usage that
    could not be settled, a dead letter, a warning about a store) is captured as a warning, once per kind and minute.

    The event is built here and sent without any scope. Measured: the defaults add the request's body,
    breadcrumbs and the local variables of every frame, and `include_local_variables=False` still sends an exception's
    text, in which providers quote prompts.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warned: OrderedDict[tuple[str, ...], float] = OrderedDict()
        """When each kind of warning was captured last."""
        self._captured: OrderedDict[str, None] = OrderedDict()
        # Sentry makes an event of every line logged as an error: each fault would be there twice.
        ignore_logger("streamguard")

    def _is_new(self, kind: tuple[str, ...]) -> bool:
        """Whether it was not captured within `QUIET_SECONDS`; from now on it was."""
        now = self._clock()
        if now - self._warned.get(kind, -math.inf) < QUIET_SECONDS:
            return False
        self._warned[kind] = now
        self._warned.move_to_end(kind)
        if len(self._warned) > REMEMBERED_KINDS:
            self._warned.popitem(last=False)
        return True

    def __call__(self, observation: Observation) -> None:
        """Capture the observation, if it is worth it and new. Does not wait for the network."""
        fault, kind = observation.fault, _kind_of_warning(observation)
        if kind is None and (fault is None or not _worth_capturing(fault) or fault.fault_id in self._captured):
            return
        client = sentry_sdk.get_client()
        if not client.is_active() or client.transport is None:  # not initialised, or without a DSN
            return
        if kind is not None:
            if self._is_new(kind):
                with capture_internal_exceptions():
                    client.capture_event(_warning(observation, kind))
            return
        if fault is None:
            return
        self._captured[fault.fault_id] = None
        if len(self._captured) > REMEMBERED_FAULTS:
            self._captured.popitem(last=False)
        with capture_internal_exceptions():
            client.capture_event(_event(fault, observation))


def _kind_of_warning(observation: Observation) -> tuple[str, ...] | None:
    """What tells a warning for the operator from others; None for what is none."""
    fault = observation.fault
    if observation.name in (Signal.STORE_WARNING, Signal.MISUSE):
        return (str(observation.name), str(observation.fields.get("warning")))
    if observation.name is Signal.SAVE_BURIED:
        return (str(observation.name), str(observation.fields.get("reason")))
    if observation.name is Signal.FAULT and fault is not None and fault.code in _WARNINGS:
        return (str(fault.code), str(fault.reason))
    return None


def _warning(observation: Observation, kind: tuple[str, ...]) -> Event:
    """Named by constants and our own texts only."""
    fault, ref, error = observation.fault, observation.ref, observation.error
    context: dict[str, object] = {name: value for name, value in observation.fields.items() if value is not None}
    if ref is not None:
        context |= {"stream_id": ref.stream_id, "owner_hash": short_hash(ref.key.owner)}
        context["session_hash"] = short_hash(ref.key.session_id)
    if fault is not None:
        context["fault_id"] = fault.fault_id
    if error is not None:
        context["error"] = class_name(error)
    tags = {"signal": str(observation.name)} | ({} if fault is None else {"code": str(fault.code)})
    return {
        "level": "warning",
        "logger": "streamguard",
        "transaction": f"streamguard {observation.name}",
        "fingerprint": ["streamguard", *kind],
        "tags": tags,
        "contexts": {"streamguard": context},
        # As below: without an exception entry this frame's local variables would be sent.
        "exception": {
            "values": [
                {
                    "type": kind[0],
                    "value": ": ".join(kind[1:]),
                    "mechanism": {"type": "streamguard", "handled": True},
                }
            ]
        },
    }


def _worth_capturing(fault: Fault) -> bool:
    if fault.code is FaultCode.NOT_RESUMABLE:
        return True
    if fault.severity is Severity.WARNING:
        return False
    if fault.code is FaultCode.INTERRUPTED and fault.reason == ABANDONED:  # as its host had set
        return False
    if fault.code in _CLIENTS_OWN:
        return fault.status >= 500
    return not (fault.code is FaultCode.RESUME_FAILED and fault.reason == "stream_gone")


def _event(fault: Fault, observation: Observation) -> Event:
    ref, error = observation.ref, observation.error
    error_class = class_name(error) if error is not None else str(fault.code)
    tags = {"phase": str(fault.phase), "code": str(fault.code)}
    outcome = observation.fields.get("outcome")
    if outcome is not None:
        tags["outcome"] = str(outcome)
    context: dict[str, object] = {
        "fault_id": fault.fault_id,
        "status": fault.status,
        "retryable": fault.retryable,
        "reason": fault.reason,
        "stream_id": ref.stream_id if ref is not None else fault.stream_id,
        "message_id": observation.message_id or fault.message_id,
        "user_message_id": fault.user_message_id,
        "request_id": observation.request_id or fault.request_id,
    }
    session_id = ref.key.session_id if ref is not None else fault.session_id
    if session_id is not None:
        context["session_hash"] = short_hash(session_id)
    if ref is not None:
        context["owner_hash"] = short_hash(ref.key.owner)
    if error is not None and error.__cause__ is not None:
        context["cause"] = class_name(error.__cause__)
    event: Event = {
        "level": _LEVELS[fault.severity],
        "logger": "streamguard",
        "transaction": f"streamguard {fault.phase}",
        "fingerprint": ["streamguard", str(fault.phase), error_class],
        "tags": tags,
        "contexts": {"streamguard": {name: value for name, value in context.items() if value is not None}},
        # Always an exception entry: without one `attach_stacktrace` adds this frame's local variables.
        "exception": {"values": [_exception(error_class, fault, error)]},
    }
    return event


def _exception(error_class: str, fault: Fault, error: BaseException | None) -> dict[str, object]:
    module, _, name = error_class.rpartition(".")
    entry: dict[str, object] = {
        "type": name,
        "value": f"{fault.code}: {fault.message}",
        "mechanism": {"type": "streamguard", "handled": True},
    }
    if module:
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
