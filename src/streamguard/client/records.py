"""What the guard's JSON routes say, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar, cast

from ..decoding import decoding
from ..values import Outcome, Persisted, QuotaState
from ..wire.folding import Json

__all__ = [
    "QuotaLimit",
    "QuotaStatus",
    "SavedMessage",
    "SessionStatus",
    "StoppedStream",
    "StreamStatus",
    "read_saved_message",
    "read_session_status",
    "read_stopped_stream",
]

_E = TypeVar("_E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream, as `GET {prefix}/{session}` tells of it. Of a stream whose record is gone only the id is known."""

    stream_id: str
    message_id: str | None
    outcome: Outcome | None
    """None while it runs."""
    persisted: Persisted | None
    quota: QuotaState | None
    cursor: str | None


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """The owner's usage under one limit. Amounts are in `unit`."""

    name: str
    unit: str
    per_seconds: int
    limit: int
    used: int
    reserved: int
    """What running answers hold."""
    remaining: int
    resets_in_seconds: float


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """The owner's usage under the limits of the session's endpoint."""

    limits: tuple[QuotaLimit, ...]
    pending_release: int
    """How many reservations no worker renews: until they are settled or expire, limits look stricter."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session: the answer being written, and the one begun last."""

    session_id: str
    active: StreamStatus | None
    last: StreamStatus | None
    quota: QuotaStatus | None = None
    """None if nothing is limited, a service of the host's counts, or the quota did not answer."""


@dataclass(frozen=True, slots=True)
class StoppedStream:
    """The answer that a stop ends."""

    session_id: str
    stream_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class SavedMessage:
    """A message, as `GET {prefix}/{session}/messages` gives it."""

    id: str
    role: str
    parts: tuple[Mapping[str, Json], ...]
    metadata: Mapping[str, Json] | None
    status: str
    """`complete`, `partial` or `unanswered`."""
    persisted: Persisted
    outcome: Outcome | None
    stream_id: str | None
    position: int | None
    """None for a reply that is not saved yet."""
    replies_to: str | None
    """The id of the message it answers, where that is known."""
    created_at: datetime
    """With a time zone, like `updated_at`."""
    updated_at: datetime
    usage: Mapping[str, int]
    """What it consumed, by unit; empty where nothing is known."""

    @property
    def text(self) -> str:
        """Its text parts, put together."""
        return "".join(str(part["text"]) for part in self.parts if part.get("type") == "text")


def read_session_status(document: Mapping[str, Json]) -> SessionStatus:
    """The status document of a session.

    Raises:
        ValueError: it is none.
    """
    with decoding(lambda: ValueError("not the status of a session")):
        return SessionStatus(
            str(document["session_id"]),
            _stream_status(document["active"]),
            _stream_status(document["last"]),
            _quota_status(document.get("quota")),
        )


def read_stopped_stream(document: Mapping[str, Json]) -> StoppedStream:
    """The answer to a stop.

    Raises:
        ValueError: it is none.
    """
    with decoding(lambda: ValueError("not the answer to a stop")):
        return StoppedStream(str(document["session_id"]), str(document["stream_id"]), str(document["message_id"]))


def read_saved_message(document: Json) -> SavedMessage:
    """One entry of a session's messages.

    Raises:
        ValueError: it is none.
    """
    with decoding(lambda: ValueError("not a saved message")):
        raw = cast("Mapping[str, Json]", document)
        position = raw["position"]
        return SavedMessage(
            id=str(raw["id"]),
            role=str(raw["role"]),
            parts=tuple(cast("list[dict[str, Json]]", raw["parts"])),
            metadata=cast("dict[str, Json] | None", raw.get("metadata")),
            status=str(raw["status"]),
            persisted=Persisted(str(raw["persisted"])),
            outcome=_optional(Outcome, raw["outcome"]),
            stream_id=_text(raw["stream_id"]),
            position=position if isinstance(position, int) else None,
            replies_to=_text(raw["replies_to"]),
            created_at=datetime.fromisoformat(str(raw["created_at"])),
            updated_at=datetime.fromisoformat(str(raw["updated_at"])),
            usage={unit: int(cast("int", amount)) for unit, amount in cast("dict[str, Json]", raw["usage"]).items()},
        )


def _stream_status(raw: Json) -> StreamStatus | None:
    if not isinstance(raw, dict):
        return None
    return StreamStatus(
        stream_id=str(raw["stream_id"]),
        message_id=_text(raw["message_id"]),
        outcome=_optional(Outcome, raw["outcome"]),
        persisted=_optional(Persisted, raw["persisted"]),
        quota=_optional(QuotaState, raw["quota"]),
        cursor=_text(raw["cursor"]),
    )


def _quota_status(raw: Json) -> QuotaStatus | None:
    if not isinstance(raw, dict):
        return None
    limits = cast("list[dict[str, Json]]", raw["limits"])
    return QuotaStatus(tuple(map(_quota_limit, limits)), int(cast("int", raw["pending_release"])))


def _quota_limit(raw: Mapping[str, Json]) -> QuotaLimit:
    amounts = {name: int(cast("int", raw[name])) for name in ("per_seconds", "limit", "used", "reserved", "remaining")}
    resets = float(cast("float", raw["resets_in_seconds"]))
    return QuotaLimit(str(raw["name"]), str(raw["unit"]), **amounts, resets_in_seconds=resets)


def _text(value: Json) -> str | None:
    return None if value is None else str(value)


def _optional(kind: type[_E], value: Json) -> _E | None:
    return None if value is None else kind(str(value))
