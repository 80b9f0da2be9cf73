"""Faults in Sentry: each once, told apart by tags, without anything anybody wrote."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import capture_internal_exceptions

from ..faults import Fault, FaultCode, Severity
from ..model import Observation
from .safety import class_name, short_hash

if TYPE_CHECKING:
    from sentry_sdk.types import Event

__all__ = ["SentryObserver"]

REMEMBERED_FAULTS: Final = 4096

_LEVELS: Final[Mapping[Severity, Literal["warning", "error", "fatal"]]] = {
    Severity.WARNING: "warning",
    Severity.ERROR: "error",
    Severity.FATAL: "fatal",
}
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
    and a resume of what is long gone are not.

    The event is built here and sent without any scope. Measured: the defaults add the request's body,
    breadcrumbs and the local variables of every frame, and `include_local_variables=False` still sends an exception's
    text, in which providers quote prompts.
    """

    def __init__(self) -> None:
        self._captured: OrderedDict[str, None] = OrderedDict()
        # Sentry makes an event of every line logged as an error: each fault would be there twice.
        ignore_logger("streamguard")

    def __call__(self, observation: Observation) -> None:
        """Capture the observation's fault, if it has one that is worth it and is new. Does not wait for the network."""
        fault = observation.fault
        if fault is None or not _worth_capturing(fault) or fault.fault_id in self._captured:
            return
        client = sentry_sdk.get_client()
        if not client.is_active() or client.transport is None:  # not initialised, or without a DSN
            return
        self._captured[fault.fault_id] = None
        if len(self._captured) > REMEMBERED_FAULTS:
            self._captured.popitem(last=False)
        with capture_internal_exceptions():
            client.capture_event(_event(fault, observation))


def _worth_capturing(fault: Fault) -> bool:
    if fault.code is FaultCode.NOT_RESUMABLE:
        return True
    if fault.severity is Severity.WARNING:
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
