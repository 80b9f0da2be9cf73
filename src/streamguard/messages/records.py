"""Messages, as they are given to a message store and as it gives them back, and what its steps did."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..values import Outcome
from ..wire.folding import Json
from ..wire.large_json import json_pieces

__all__ = [
    "Appended",
    "Message",
    "MessageStatus",
    "Opened",
    "Role",
    "StoredMessage",
    "Superseded",
    "Supersedes",
]


class Role(StrEnum):
    """Who says a message."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class MessageStatus(StrEnum):
    """What is known of a stored message."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    """A reply that was stopped, failed or interrupted; see its outcome."""
    UNANSWERED = "unanswered"
    """A user's message whose reply never came to be."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to store.

    `parts` are AI SDK UI message parts, JSON objects; text is `{"type": "text", "text": …}`.
    """

    message_id: str
    role: Role
    parts: tuple[Mapping[str, Json], ...] = field(repr=False)
    metadata: Mapping[str, Json] | None = field(default=None, repr=False)
    stream_id: str | None = None
    """The stream that said it; None for messages that no stream said (a user's)."""
    continues: str | None = None
    """The stream that last wrote the stored message this one replaces, when it continues one."""
    outcome: Outcome | None = None
    """How its stream ended; None without a stream."""
    usage: Mapping[str, int] = field(default_factory=dict)
    replies_to: str | None = None
    """The id of the message it answers, when that is known. Says where it belongs, not what it is: no content."""
    branch: int | None = field(default=None, compare=False)
    """The session's branch when the message's stream opened it, or the one that its own superseding made: where it
    belongs, if it is saved after a later superseding. None: unknown, taken as the newest. Says where it belongs, not
    what it is: no content. What a store gives back has the branch it was stored in."""

    @property
    def status(self) -> MessageStatus:
        """`PARTIAL` for a stream that did not complete, else `COMPLETE`."""
        return MessageStatus.COMPLETE if self.outcome in (None, Outcome.COMPLETED) else MessageStatus.PARTIAL

    def digest(self) -> str:
        """SHA-256, in hex, of everything that makes two messages the same content: role, parts, metadata, outcome."""
        content = [self.role, list(self.parts), self.metadata, self.outcome]
        digest = hashlib.sha256()
        for piece in json_pieces(content, sort_keys=True, ensure_ascii=True, allow_nan=True):
            digest.update(piece.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as it is stored."""

    message: Message
    position: int
    """Its place among all rows of the session, old branches included: contiguous from 1, never given twice. Continuing
    a message keeps it."""
    status: MessageStatus
    streams: tuple[str, ...]
    """Every stream that wrote it, oldest first."""
    created_at: float
    """Unix time, on the store's clock; so is the next."""
    updated_at: float
    superseded: int | None = None
    """The branch that superseded it, from 1 on: it is part of an old branch. None: it is visible."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What `open_session` found or made."""

    created: bool
    branch: int
    """How often the session's history was superseded so far."""


@dataclass(frozen=True, slots=True)
class Supersedes:
    """What a superseding asks for: see `MessageStore.supersede`."""

    by: str
    """The stream that asks."""
    start: str | None
    """The id of the first message to go."""
    after: str | None
    """The id of the message before that one."""


class Appended(StrEnum):
    """What `append` did."""

    CREATED = "created"
    CONTINUED = "continued"
    DUPLICATE = "duplicate"
    """It was there already, with the same content. A success."""
    SUPERSEDED = "superseded"
    """It is stored, now or before, but in an old branch: what it belongs to was superseded. A success."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """What `supersede` did."""

    branch: int
    """The session's branch from then on."""
    hidden: int
    """How many messages it moved into the old branch."""
    appended: Appended | None
    """What became of the message that came with it: `CREATED`, or `DUPLICATE` if it was there and stayed visible."""
