"""The documents that the guard's routes answer with, for OpenAPI. `docs/reference/http.md` has them in words.

They are never instantiated: the routes write their answers themselves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from ...faults import FaultCode, Phase, Severity
from ...values import Outcome, Persisted

__all__ = [
    "StreamguardError",
    "StreamguardFault",
    "StreamguardLiveness",
    "StreamguardMessages",
    "StreamguardReadiness",
    "StreamguardSession",
    "StreamguardStopped",
    "StreamguardStreamStatus",
    "StreamguardStreaming",
]


def _one_of(kind: type[StrEnum]) -> WithJsonSchema:
    """The values of an enum, without a component of its own: the host may have one of that name."""
    return WithJsonSchema({"type": "string", "enum": [member.value for member in kind]})


class StreamguardFault(BaseModel):
    """One failure. Fields without a value are left out."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    type: Literal["streamguard_error"]
    code: Annotated[str, _one_of(FaultCode)]
    message: str = Field(description="Text that is safe to show to a user.")
    status: int
    phase: Annotated[str, _one_of(Phase)]
    severity: Annotated[str, _one_of(Severity)]
    retryable: bool = Field(description="Whether the same request may succeed later.")
    fault_id: str = Field(description="Stable over replays.")
    timestamp: str = Field(description="RFC 3339, UTC, milliseconds.")
    param: None = None
    reason: str | None = None
    retry_after_seconds: int | None = None
    session_id: str | None = None
    stream_id: str | None = None
    message_id: str | None = None
    request_id: str | None = None


class StreamguardError(BaseModel):
    """The body of every error response of streamguard's."""

    error: StreamguardFault


class StreamguardStreamStatus(BaseModel):
    """One answer of a session. If its record is gone, only `stream_id` is known."""

    stream_id: str
    message_id: str | None
    outcome: Annotated[str, _one_of(Outcome)] | None = Field(description="null until the answer's end is decided.")
    persisted: Annotated[str, _one_of(Persisted)] | None
    quota: str | None
    cursor: str | None = Field(description="The log's last event; null if the log was lost.")


class StreamguardSession(BaseModel):
    """A session's answers."""

    session_id: str
    active: StreamguardStreamStatus | None = Field(description="The answer that is being written.")
    last: StreamguardStreamStatus | None = Field(description="The answer that began last.")
    quota: dict[str, object] | None = Field(description="The owner's usage under the limits of the session's endpoint.")


class StreamguardMessages(BaseModel):
    """One page of a session's saved messages, in the order of the conversation."""

    session_id: str
    messages: list[dict[str, object]]
    next: int | None = Field(description="The next page's `after`; null on the last page.")


class StreamguardStopped(BaseModel):
    """The answer that is being stopped."""

    session_id: str
    stream_id: str
    message_id: str


class StreamguardLiveness(BaseModel):
    """The process runs."""

    status: Literal["ok"]


class StreamguardReadiness(BaseModel):
    """Whether new answers are admitted, and why not."""

    status: Literal["ready", "not_ready", "not_started"]
    reasons: list[str]


class StreamguardStreaming(BaseModel):
    """Whether answers are resumable, and why not."""

    status: Literal["ok", "degraded", "draining", "not_started"]
    reasons: list[str]
    streams: int = 0
    degraded_streams: int = 0
    viewers: int = 0
