"""Resumable, honest, self-healing LLM chat streams for ASGI applications.

    guard = StreamGuard("memory://", authenticate=anonymous)    # or "redis://…", for several workers
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id")                            # help(StreamGuard.stream)
    async def chat(body: ChatBody, run: Run):                   # help(Run)
        async for token in model(body.messages):
            yield token

    guard.install(app, "/api/chat")                             # resume, stop, status, messages, erase

`Settings` has every number, with its unit in its name. `StreamGuardMiddleware` guards endpoints that nobody may edit;
`guard.start` begins answers without a request. All errors are `StreamGuardError`s; a `Fault` is what clients are told.

Modules for applications: `streamguard.messages` saves replies, `streamguard.quota` counts them,
`streamguard.contrib` has frameworks and model libraries, `streamguard.client` reads answers from Python,
`streamguard.testing` drives an application in its tests, `streamguard.stores` has what a store of your own must do.
"""

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
