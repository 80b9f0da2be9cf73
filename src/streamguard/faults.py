"""The one registry of failures: every code, its HTTP status, phase, severity and safe text.

A `Fault` is what a failure looks like everywhere: the HTTP body, the SSE part, the log line, the Sentry event
and the metric all carry the same object. The table is public API; a test compares it with the reference page.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypedDict, TypeVar, Unpack

from .compact_json import compact_json
from .decoding import decoding, read_json
from .values import Subject, trace_id_of

__all__ = ["ABANDONED", "DRAINING", "REGISTRY", "Details", "Fault", "FaultCode", "FaultSpec", "Phase", "Severity"]


class Phase(StrEnum):
    """The part of a request's or stream's life in which something failed."""

    REQUEST = "request"
    AUTH = "auth"
    LIMITS = "limits"
    QUOTA = "quota"
    REGISTRATION = "registration"
    PROVIDER = "provider"
    STREAM = "stream"
    PERSISTENCE = "persistence"
    RESUME = "resume"
    TOOL = "tool"
    SHUTDOWN = "shutdown"
    INTERNAL = "internal"


class Severity(StrEnum):
    """`warning`: the answer goes on. `error`: part of what was promised did not happen. `fatal`: the stream ended."""

    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


class FaultCode(StrEnum):
    """The stable name of a failure."""

    REQUEST_INVALID = "request_invalid"
    SESSION_INVALID = "session_invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN_ORIGIN = "forbidden_origin"
    NOT_FOUND = "not_found"
    CONFLICT_ACTIVE = "conflict_active"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    LIMIT_STREAMS = "limit_streams"
    LIMIT_VIEWERS = "limit_viewers"
    LIMIT_RATE = "limit_rate"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    QUOTA_EXCEEDED = "quota_exceeded"
    QUOTA_UNAVAILABLE = "quota_unavailable"
    QUOTA_RELEASE_FAILED = "quota_release_failed"
    QUOTA_PENDING = "quota_pending"
    STORE_UNAVAILABLE = "store_unavailable"
    NOT_RESUMABLE = "not_resumable"
    RESUME_FAILED = "resume_failed"
    CURSOR_INVALID = "cursor_invalid"
    PROVIDER_ERROR = "provider_error"
    PROVIDER_RATE_LIMITED = "provider_rate_limited"
    PROVIDER_TIMEOUT = "provider_timeout"
    PROVIDER_ABORTED = "provider_aborted"
    STALLED = "stalled"
    TOO_LONG = "too_long"
    EVENT_TOO_LARGE = "event_too_large"
    VALUE_REPLACED = "value_replaced"
    PERSISTENCE_FAILED = "persistence_failed"
    PERSISTENCE_PENDING = "persistence_pending"
    SAVE_CONFLICT = "save_conflict"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    SUPERSEDED = "superseded"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


ABANDONED: Final = "abandoned"
"""The `reason` of an `interrupted` answer that ended because nobody watched it (`abandon_after_seconds`)."""
DRAINING: Final = "draining"
"""The `reason` of a request that is refused as `shutting_down` because its process admits nothing more."""


_E = TypeVar("_E", bound=StrEnum)


def _known(kind: type[_E], raw: dict[str, object], name: str, safest: _E, unknown: list[tuple[str, str]]) -> _E:
    """The value of an enum in a stored record. For a value that a later version wrote, returns `safest` and adds the
    original to `unknown`.

    Raises:
        KeyError: the value is missing.
        TypeError: the value is not a string.
    """
    value = raw[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is a text")
    try:
        return kind(value)
    except ValueError:
        unknown.append((name, value))
        return safest


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """What a code always means. `status` is the HTTP status when the failure comes before the first byte."""

    status: int
    phase: Phase
    severity: Severity
    retryable: bool
    message: str
    """Text that is safe to show to a user: never a provider's or a driver's."""


class Details(TypedDict, total=False):
    """What a caller may state about one occurrence, besides its code and its stream: see `Fault`."""

    phase: Phase | None
    severity: Severity | None
    retryable: bool | None
    message: str | None
    status: int | None
    reason: str | None
    retry_after_seconds: int | None
    actions: tuple[str, ...]
    user_message_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failure that happened. `fault_id` is stable over replays, so that clients can dedupe."""

    code: FaultCode
    status: int
    phase: Phase
    severity: Severity
    retryable: bool
    message: str = field(repr=False)
    """For the client. A host may have written it."""
    fault_id: str
    timestamp: str
    """RFC 3339, UTC, milliseconds."""
    reason: str | None = None
    retry_after_seconds: int | None = None
    actions: tuple[str, ...] = ()
    session_id: str | None = None
    stream_id: str | None = None
    message_id: str | None = None
    user_message_id: str | None = None
    """The user's message: the one that could not be saved, or the one that `message_id` answers."""
    request_id: str | None = None
    trace_id: str | None = None
    """The trace of the request that began the stream: 32 hex digits; None where there is none."""
    debug: str | None = field(default=None, repr=False)
    """Class and text of the exception that caused the fault. In debug mode only: the text may hold anything."""
    unknown: tuple[tuple[str, str], ...] = ()
    """Names and values of the `code`, `phase` or `severity` that a later version wrote into the record and that this
    version does not know. The field itself then has `internal` (a severity: `error`); `as_dict` returns the original.
    """

    @classmethod
    def of(
        cls,
        code: FaultCode,
        *,
        phase: Phase | None = None,
        severity: Severity | None = None,
        retryable: bool | None = None,
        message: str | None = None,
        status: int | None = None,
        reason: str | None = None,
        retry_after_seconds: int | None = None,
        actions: tuple[str, ...] = (),
        session_id: str | None = None,
        stream_id: str | None = None,
        message_id: str | None = None,
        user_message_id: str | None = None,
        request_id: str | None = None,
        trace_id: str | None = None,
    ) -> Fault:
        """A fault of `code`, from the registry. Arguments override the registry's values for this one occurrence.

        Raises:
            ValueError: there is no such code.
        """
        code = FaultCode(code)
        spec = REGISTRY[code]
        return cls(
            code=code,
            status=spec.status if status is None else status,
            phase=phase or spec.phase,
            severity=severity or spec.severity,
            retryable=spec.retryable if retryable is None else retryable,
            message=message or spec.message,
            fault_id=f"sg_{secrets.token_hex(10)}",
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            reason=reason,
            retry_after_seconds=retry_after_seconds,
            actions=actions,
            session_id=session_id,
            stream_id=stream_id,
            message_id=message_id,
            user_message_id=user_message_id,
            request_id=request_id,
            trace_id=trace_id,
        )

    @classmethod
    def about(cls, subject: Subject, code: FaultCode, **details: Unpack[Details]) -> Fault:
        """Like `of`, with the ids of the stream that failed."""
        return cls.of(
            code,
            session_id=subject.ref.key.session_id,
            stream_id=subject.ref.stream_id,
            message_id=subject.message_id,
            request_id=subject.request_id,
            trace_id=trace_id_of(subject.trace),
            **details,
        )

    def with_debug(self, text: str) -> Fault:
        """A copy of this fault with `text`, the exception's."""
        return replace(self, debug=text)

    def as_dict(self) -> dict[str, object]:
        """The wire form: snake_case keys, absent fields omitted (AI SDK's strict schemas refuse `null`)."""
        out: dict[str, object] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if value is None or value == ():
                continue
            out[name] = list(value) if isinstance(value, tuple) else value
        out.update(self.unknown)
        return out

    def to_json(self) -> bytes:
        """`as_dict` as compact UTF-8 JSON."""
        return compact_json(self.as_dict())

    @classmethod
    def from_json(cls, data: bytes) -> Fault:
        """Read what `to_json` wrote. Keys that a newer version added are ignored.

        Raises:
            ValueError: `data` is not such a record.
        """
        return cls.from_dict(read_json(data))

    @classmethod
    def from_dict(cls, raw: object) -> Fault:
        """Read what `as_dict` returned, after a round trip through JSON. Keys that a newer version added are ignored.
        A code, phase or severity that it added is kept in `unknown`.

        Raises:
            ValueError: `raw` is not such a record.
        """
        with decoding(lambda: ValueError("a stored fault lacks a required field, or one is damaged")):
            if not isinstance(raw, dict):
                raise TypeError("a stored fault is a JSON object")
            known = {name: raw[name] for name in _FIELDS if name in raw}
            unknown: list[tuple[str, str]] = []
            known["code"] = _known(FaultCode, raw, "code", FaultCode.INTERNAL, unknown)
            known["phase"] = _known(Phase, raw, "phase", Phase.INTERNAL, unknown)
            known["severity"] = _known(Severity, raw, "severity", Severity.ERROR, unknown)
            known["actions"] = tuple(known.get("actions", ()))
            known["status"] = int(known["status"])
            known["unknown"] = tuple(unknown)
            return cls(**known)

    def envelope(self) -> bytes:
        """The body of an HTTP error response: `{"error": {"type": "streamguard_error", …}}` as compact JSON."""
        body = {"error": {"type": "streamguard_error", "param": None, **self.as_dict()}}
        return compact_json(body)


_FIELDS: Final = tuple(f.name for f in fields(Fault) if f.name != "unknown")

_C = FaultCode
_P = Phase
_S = Severity

REGISTRY: Final[Mapping[FaultCode, FaultSpec]] = {
    _C.REQUEST_INVALID: FaultSpec(400, _P.REQUEST, _S.ERROR, False, "The request could not be understood."),
    _C.SESSION_INVALID: FaultSpec(400, _P.REQUEST, _S.ERROR, False, "The conversation id is not valid."),
    _C.UNAUTHENTICATED: FaultSpec(401, _P.AUTH, _S.ERROR, False, "Please sign in."),
    _C.FORBIDDEN_ORIGIN: FaultSpec(403, _P.AUTH, _S.ERROR, False, "This site may not make that request."),
    _C.NOT_FOUND: FaultSpec(404, _P.REQUEST, _S.ERROR, False, "There is nothing here."),
    _C.CONFLICT_ACTIVE: FaultSpec(
        409, _P.REGISTRATION, _S.ERROR, True, "This conversation is already receiving an answer."
    ),
    _C.IDEMPOTENCY_CONFLICT: FaultSpec(
        409, _P.REQUEST, _S.ERROR, False, "This request's key was used before with different content."
    ),
    _C.LIMIT_STREAMS: FaultSpec(429, _P.LIMITS, _S.ERROR, True, "Too many answers are being written at once."),
    _C.LIMIT_VIEWERS: FaultSpec(429, _P.LIMITS, _S.ERROR, True, "Too many connections are open."),
    _C.LIMIT_RATE: FaultSpec(429, _P.LIMITS, _S.ERROR, True, "Too many requests."),
    _C.PAYLOAD_TOO_LARGE: FaultSpec(413, _P.REQUEST, _S.ERROR, False, "The request is too large."),
    _C.QUOTA_EXCEEDED: FaultSpec(429, _P.QUOTA, _S.ERROR, True, "The usage limit is reached."),
    _C.QUOTA_UNAVAILABLE: FaultSpec(503, _P.QUOTA, _S.ERROR, True, "Usage could not be checked. Please try again."),
    _C.QUOTA_RELEASE_FAILED: FaultSpec(
        500, _P.QUOTA, _S.WARNING, True, "Usage is being corrected; limits may look stricter for a while."
    ),
    _C.QUOTA_PENDING: FaultSpec(
        500, _P.QUOTA, _S.WARNING, True, "Usage is being settled; limits may look stricter for a while."
    ),
    _C.STORE_UNAVAILABLE: FaultSpec(
        503, _P.REGISTRATION, _S.ERROR, True, "The service is briefly unavailable. Please try again."
    ),
    _C.NOT_RESUMABLE: FaultSpec(
        503, _P.RESUME, _S.WARNING, False, "This answer cannot be resumed if the connection is lost."
    ),
    _C.RESUME_FAILED: FaultSpec(410, _P.RESUME, _S.ERROR, False, "The rest of this answer could not be recovered."),
    _C.CURSOR_INVALID: FaultSpec(400, _P.RESUME, _S.ERROR, False, "The position to resume from is not valid."),
    _C.PROVIDER_ERROR: FaultSpec(502, _P.PROVIDER, _S.FATAL, True, "The model failed while answering."),
    _C.PROVIDER_RATE_LIMITED: FaultSpec(
        503, _P.PROVIDER, _S.FATAL, True, "The model is busy. Please try again shortly."
    ),
    _C.PROVIDER_TIMEOUT: FaultSpec(504, _P.PROVIDER, _S.FATAL, True, "The model took too long to answer."),
    _C.PROVIDER_ABORTED: FaultSpec(502, _P.PROVIDER, _S.FATAL, True, "The model broke off its answer."),
    _C.STALLED: FaultSpec(504, _P.PROVIDER, _S.FATAL, True, "The model stopped answering."),
    _C.TOO_LONG: FaultSpec(500, _P.STREAM, _S.FATAL, False, "The answer grew past its limit and was ended."),
    _C.EVENT_TOO_LARGE: FaultSpec(500, _P.STREAM, _S.FATAL, False, "A piece of the answer was too large to send."),
    _C.VALUE_REPLACED: FaultSpec(500, _P.STREAM, _S.WARNING, False, "A piece of the answer had to be left out."),
    _C.PERSISTENCE_FAILED: FaultSpec(500, _P.PERSISTENCE, _S.ERROR, True, "The answer could not be saved."),
    _C.PERSISTENCE_PENDING: FaultSpec(500, _P.PERSISTENCE, _S.WARNING, True, "The answer is still being saved."),
    _C.SAVE_CONFLICT: FaultSpec(
        409, _P.PERSISTENCE, _S.ERROR, False, "Another version of this answer was saved before."
    ),
    _C.STOPPED: FaultSpec(200, _P.STREAM, _S.WARNING, False, "The answer was stopped."),
    _C.INTERRUPTED: FaultSpec(500, _P.STREAM, _S.FATAL, True, "The answer was interrupted."),
    _C.SUPERSEDED: FaultSpec(409, _P.STREAM, _S.ERROR, True, "Another server took over this answer."),
    _C.SHUTTING_DOWN: FaultSpec(503, _P.SHUTDOWN, _S.FATAL, True, "The server is restarting. Please try again."),
    _C.INTERNAL: FaultSpec(500, _P.INTERNAL, _S.FATAL, False, "Something went wrong on our side."),
}
"""Every code and what it always means."""
