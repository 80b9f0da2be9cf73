"""Resumable, honest, self-healing LLM chat streams for ASGI applications."""

from .errors import (
    ConfigurationError,
    ConfigurationWarning,
    CursorInvalidError,
    EventTooLargeError,
    FaultError,
    InvalidPartError,
    LogBrokenError,
    NotStartedError,
    StoreCorruptError,
    StoreError,
    StoreForbiddenError,
    StoreFormatError,
    StoreUnavailableError,
    StreamGuardError,
    StreamLimitError,
)
from .faults import Fault, FaultCode, Phase, Severity
from .guard import Endpoint, StreamGuard
from .model import Cursor, Observation, Observer, Outcome, Persisted, QuotaState, Signal
from .settings import Settings
from .values import Usage
from .web.access.anonymous import Anonymous, anonymous
from .web.access.identity import Authenticate, Identity
from .web.endpoint.run import Run

__all__ = [
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
    "NotStartedError",
    "Observation",
    "Observer",
    "Outcome",
    "Persisted",
    "Phase",
    "QuotaState",
    "Run",
    "Settings",
    "Severity",
    "Signal",
    "StoreCorruptError",
    "StoreError",
    "StoreForbiddenError",
    "StoreFormatError",
    "StoreUnavailableError",
    "StreamGuard",
    "StreamGuardError",
    "StreamLimitError",
    "Usage",
    "anonymous",
]
