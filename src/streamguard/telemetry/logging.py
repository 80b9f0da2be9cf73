"""Observations as log events: constants with fields, never contents."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cached_property
from types import MappingProxyType
from typing import Final

import structlog

from ..faults import ABANDONED, DRAINING, FaultCode, Severity
from ..log_lines import LOGGER, LogEvent, is_logged, log_line, standard_logger
from ..observations import Observation, SelectiveObserver, Signal
from ..scopes import NO_SCOPE, StreamContext, current_stream
from ..values import trace_id_of
from .reasons import told_reason
from .repeats import Repeats
from .safety import error_fields, id_text, plain_text, short_hash
from .stream_ids import ids_of, ids_of_present_stream

__all__ = ["StructlogObserver", "level_of", "stream_context"]

_LEVELS: Final[Mapping[Signal, int]] = dict.fromkeys(Signal, logging.INFO) | {
    Signal.STREAM_DEGRADED: logging.WARNING,
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
"""A fault's severity decides for itself."""

_FAULTS: Final = frozenset({Signal.FAULT, Signal.RESUME_REFUSED, Signal.STREAM_SUPERSEDED})
"""Where a fault is told of for the first time; elsewhere it is only mentioned again."""
_LOUDEST: Final[Mapping[Signal, int]] = {**_LEVELS, **dict.fromkeys(_FAULTS, logging.ERROR)}
"""The highest level that a line of the signal can have."""
_IDS: Final = frozenset({"session_id", "stream_id", "message_id", "user_message_id", "request_id", "origin"})
"""Fields whose value a client may have chosen."""
_SEVERITIES: Final = {
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.FATAL: logging.ERROR,
}


class StructlogObserver(SelectiveObserver):
    """Logs every observation to the logger `streamguard`: through structlog in whatever way the host configured it, or
    else through the standard library's logger of that name. Owners appear as hashes. A client's mistake is logged as a
    warning.

    Every line has the ids of its stream. For the host's own lines, they are bound to structlog's context variables, for
    `structlog.contextvars.merge_contextvars`, while code works on a stream; `stream_context` adds them in any case.

    Of lines at `warning` and above that are alike (event, code, reason and class of the error), `repeats` are logged in
    a minute; then one `streamguard.repeated` says how many were left out.

    Every guard has one. To set something, give another as one of `observers`: it takes the place of the guard's own.

    Args:
        debug: log tracebacks, with the texts of exceptions, too.
        repeats: how many lines that are alike are logged in a minute; None for all.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        repeats: int | None = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._debug = debug
        self._repeats = None if repeats is None else Repeats(repeats, clock)

    def __call__(self, observation: Observation, /) -> None:
        """Log one observation."""
        level, repeats = _level_of(observation), self._repeats
        if repeats is not None:
            for left_out in repeats.due(all_of_them=observation.name is Signal.DRAIN_ENDED):
                log_line(LOGGER, left_out.level, LogEvent.REPEATED, left_out.fields())
        if not is_logged(LOGGER, level):
            return
        fields = _fields_of(observation)
        if repeats is not None and level >= logging.WARNING and not repeats.admits(observation.name, level, fields):
            return
        log_line(LOGGER, level, observation.name, fields, error=observation.error if self._debug else None)

    def wants(self, signal: Signal, /) -> bool:
        """Whether a line would be logged now: of this signal, or of lines that were left out."""
        return (
            (self._repeats is not None and self._repeats.waiting)
            or structlog.is_configured()
            or self._standard.isEnabledFor(_LOUDEST[signal])
        )

    @cached_property
    def _standard(self) -> logging.Logger:
        """The logger. Not before the guard runs: see `standard_logger`."""
        return standard_logger(LOGGER)

    def scope(self, context: StreamContext) -> AbstractContextManager[None]:
        """Bind the stream's ids to structlog's context variables, where the host configured structlog."""
        return _bound(context) if structlog.is_configured() else NO_SCOPE


def stream_context(
    _logger: object, _method_name: str, event_dict: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """A structlog processor that adds the ids of the present stream to a line that has none.

    `structlog.configure(processors=[…, stream_context, …, JSONRenderer()])`. It needs no
    `structlog.contextvars.merge_contextvars`, and no `clear_contextvars` takes the ids away.
    """
    ids = ids_of_present_stream()
    if event_dict.get("stream_id") in (None, ids.get("stream_id")):
        for name, value in ids.items():
            if event_dict.get(name) is None:
                event_dict[name] = value
    return event_dict


_ours: Final[ContextVar[Mapping[str, str]]] = ContextVar("streamguard.logging.bound", default=MappingProxyType({}))
"""What was bound to structlog's context variables here."""


@contextmanager
def _bound(context: StreamContext) -> Iterator[None]:
    """What the host itself has bound under one of the names is kept."""
    present, before = structlog.contextvars.get_contextvars(), _ours.get()
    ids = {name: value for name, value in ids_of(context).items() if present.get(name) in (None, before.get(name))}
    token = _ours.set(ids)
    try:
        with structlog.contextvars.bound_contextvars(**ids):
            yield
    finally:
        _ours.reset(token)


def level_of(signal: Signal) -> str:
    """The level of a signal's log lines, in words."""
    if signal in _FAULTS:
        return "of the fault"
    return logging.getLevelName(_LEVELS[signal]).lower()


def _level_of(observation: Observation) -> int:
    fault = observation.fault
    if fault is None or observation.name not in _FAULTS:
        return _LEVELS[observation.name]
    if fault.code is FaultCode.INTERRUPTED and fault.reason == ABANDONED:  # as its host had set
        return logging.INFO
    if fault.code is FaultCode.SHUTTING_DOWN and fault.reason == DRAINING:  # every deployment refuses some
        return logging.WARNING
    level = _SEVERITIES[fault.severity]
    return logging.WARNING if 400 <= fault.status < 500 else level


def _fields_of(observation: Observation) -> dict[str, object]:
    """Nothing that came from outside can look like a field, or a line, of its own."""
    return {
        name: value if not isinstance(value, str) else id_text(value) if name in _IDS else plain_text(value)
        for name, value in _all_fields(observation).items()
    }


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
        if (reason := told_reason(fault)) is not None:
            fields["reason"] = reason
    if observation.message_id is not None:
        fields["message_id"] = observation.message_id
    if observation.request_id is not None:
        fields["request_id"] = observation.request_id
    _complete(fields)
    trace_id = trace_id_of(observation.trace) or (None if fault is None else fault.trace_id)
    if trace_id is not None:
        fields["trace_id"] = trace_id
    fields.update(observation.fields)
    if observation.error is not None:
        fields.update(error_fields(observation.error))
    return fields


def _complete(fields: dict[str, object]) -> None:
    """Add the ids of the stream that is worked on, unless these fields are about another one."""
    context = current_stream.get()
    if context is None or fields.get("stream_id") not in (None, context.stream_id):
        return
    for name in ("owner_hash", "session_id", "stream_id", "message_id", "request_id"):
        value = getattr(context, name)
        if value is not None:
            fields.setdefault(name, value)
