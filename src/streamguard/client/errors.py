"""What a client of guarded streams raises.

```
StreamClientError             (a StreamGuardError)
├── RefusedError              the server answered with an error status
│   └── ResumeFailedError     the rest of the answer cannot be had
├── UnansweredError           the connection broke before the server answered
├── GaveUpError               reconnecting did not help within its bound
└── MalformedAnswerError      the response is not one of a guarded endpoint
```

No httpx exception leaves the client; the one behind an error is its `__cause__`.
"""

from __future__ import annotations

from ..errors import StreamGuardError
from ..faults import Fault

__all__ = [
    "GaveUpError",
    "MalformedAnswerError",
    "RefusedError",
    "ResumeFailedError",
    "StreamClientError",
    "UnansweredError",
]


class StreamClientError(StreamGuardError):
    """Root of what `streamguard.client` raises on purpose."""


class RefusedError(StreamClientError):
    """The server answered with an error status: 401, 403, 404, 409, 413, 429, 503, …"""

    def __init__(self, text: str, *, status: int, fault: Fault | None, retry_after_seconds: float | None) -> None:
        super().__init__(text)
        self.status: int = status
        self.fault: Fault | None = fault
        """What the guard said. None when the response came from something else, such as a proxy."""
        self.retry_after_seconds: float | None = retry_after_seconds
        """What `Retry-After` asks for."""

    @property
    def code(self) -> str | None:
        """The fault's code as sent, also one that only later versions know; None without a fault."""
        return None if self.fault is None else str(self.fault.as_dict()["code"])


class ResumeFailedError(RefusedError):
    """The rest of an answer cannot be had any more: read the session's messages, or ask again."""

    def __init__(
        self,
        text: str,
        *,
        status: int,
        fault: Fault | None,
        retry_after_seconds: float | None,
        reason: str | None,
        cursor: str | None,
    ) -> None:
        super().__init__(text, status=status, fault=fault, retry_after_seconds=retry_after_seconds)
        self.reason: str | None = reason
        """As in a `resume_failed` fault: `stream_gone`, `cursor_ahead`, `trimmed`, `not_registered`, `log_unreadable`.
        Besides, where the client itself finds that it cannot go on: `another_stream` (no event had come, and the
        session's last answer is another one by now), `finished` or `none` (no event had come, and there is nothing to
        resume), `not_resumable` (the events that came had no ids, because the store was away; `status` is 0).
        """
        self.cursor: str | None = cursor
        """Where the client wanted to go on."""


class UnansweredError(StreamClientError):
    """The connection broke before the server answered a request that the client may not repeat by itself.

    The question may have arrived: with an idempotency key it is safe to ask again.
    """


class GaveUpError(StreamClientError):
    """The connection was lost, and reconnecting did not help. The answer may still be written; resume it later."""

    def __init__(
        self,
        text: str,
        *,
        attempts: int,
        elapsed_seconds: float,
        cause: Exception,
        session_id: str | None,
        cursor: str | None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(text)
        self.attempts: int = attempts
        """How many attempts in a row failed, since the last event."""
        self.elapsed_seconds: float = elapsed_seconds
        """Seconds since the first of these failures."""
        self.cause: Exception = cause
        """The last failure: a `StreamClientError`, or the exception of httpx."""
        self.session_id: str | None = session_id
        self.cursor: str | None = cursor
        """What to go on from: `client.resume(session_id, after=cursor)`. None if no event came."""
        self.retry_after_seconds: float | None = retry_after_seconds
        """What the server last asked for, if it did."""


class MalformedAnswerError(StreamClientError):
    """The response is not what a guarded endpoint sends: another media type, a part that is no JSON, an event that is
    too large, a redirect."""
