"""What the guard's JSON routes say, as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, cast

from ..decoding import decoding
from ..values import Outcome, Persisted, QuotaState
from ..wire.folding import Json

__all__ = [
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
class SessionStatus:
    """A session: the answer being written, and the one begun last."""

    session_id: str
    active: StreamStatus | None
    last: StreamStatus | None


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
            str(document["session_id"]), _stream_status(document["active"]), _stream_status(document["last"])
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


def _text(value: Json) -> str | None:
    return None if value is None else str(value)


def _optional(kind: type[_E], value: Json) -> _E | None:
    return None if value is None else kind(str(value))
