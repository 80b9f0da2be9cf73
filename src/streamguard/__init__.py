"""Resumable, honest, self-healing LLM chat streams for ASGI applications."""

from .errors import (
    AlreadyStartedError,
    ConfigurationError,
    ConfigurationWarning,
    CursorInvalidError,
    EventTooLargeError,
    FaultError,
    InvalidPartError,
    LogBrokenError,
    NoMasterError,
    NotStartedError,
    ReportedFailureError,
    StoreCorruptError,
    StoreError,
    StoreForbiddenError,
    StoreFormatError,
    StoreUnavailableError,
    StreamCutError,
    StreamGuardError,
    StreamLimitError,
)
from .faults import Fault, FaultCode, Phase, Severity
from .guard import Endpoint, StreamGuard
from .middleware import StreamGuardMiddleware
from .model import Cursor, Observation, Observer, Outcome, Persisted, QuotaState, Signal
from .settings import Settings
from .started import StartedRun, StreamEnd
from .values import Usage
from .web.access.anonymous import Anonymous, anonymous
from .web.access.identity import Authenticate, Identity
from .web.endpoint.run import Run
from .web.rules.stream_rule import StreamRule

__all__ = [
    "AlreadyStartedError",
    "Anonymous",
    "Authenticate",
    "ConfigurationError",
    "ConfigurationWarning",
    "Cursor",
    "CursorInvalidError",
    "Endpoint",
    "EventTooLargeError",
    "Fault",
    "FaultCode",
    "FaultError",
    "Identity",
    "InvalidPartError",
    "LogBrokenError",
    "NoMasterError",
    "NotStartedError",
    "Observation",
    "Observer",
    "Outcome",
    "Persisted",
    "Phase",
    "QuotaState",
    "ReportedFailureError",
    "Run",
    "Settings",
    "Severity",
    "Signal",
    "StartedRun",
    "StoreCorruptError",
    "StoreError",
    "StoreForbiddenError",
    "StoreFormatError",
    "StoreUnavailableError",
    "StreamCutError",
    "StreamEnd",
    "StreamGuard",
    "StreamGuardError",
    "StreamGuardMiddleware",
    "StreamLimitError",
    "StreamRule",
    "Usage",
    "anonymous",
]
