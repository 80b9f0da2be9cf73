"""The contract of the message store: what was said in a session, saved once.

Every method is one atomic step, safe to repeat: a caller whose reply was lost asks again and gets the same answer.
`MemoryMessageStore` is the executable specification; `streamguard.testing.MessageStoreSuite` checks any other store.

Errors mean the same in every adapter; see `streamguard.errors.MessageStoreError` and below it. A driver's exception
never comes through.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..model import MAX_ID_BYTES, MAX_OWNER_BYTES, Outcome, SessionKey
from ..wire.folding import Json
from ..wire.large_json import json_pieces

__all__ = [
    "MAX_ID_BYTES",
    "MAX_OWNER_BYTES",
    "Appended",
    "Message",
    "MessageStatus",
    "MessageStore",
    "Role",
    "StoredMessage",
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
    parts: tuple[Mapping[str, Json], ...]
    metadata: Mapping[str, Json] | None = None
    stream_id: str | None = None
    """The stream that said it; None for messages that no stream said (a user's)."""
    continues: str | None = None
    """The stream that last wrote the stored message this one replaces, when it continues one."""
    outcome: Outcome | None = None
    """How its stream ended; None without a stream."""
    usage: Mapping[str, int] = field(default_factory=dict)
    replies_to: str | None = None
    """The id of the message it answers, when that is known. Says where it belongs, not what it is: no content."""

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
    """Its place in the session, contiguous from 1; continuing a message keeps it."""
    status: MessageStatus
    streams: tuple[str, ...]
    """Every stream that wrote it, oldest first."""
    created_at: float
    """Unix time, on the store's clock; so is the next."""
    updated_at: float


class Appended(StrEnum):
    """What `append` did."""

    CREATED = "created"
    CONTINUED = "continued"
    DUPLICATE = "duplicate"
    """It was there already, with the same content. A success."""


class MessageStore(ABC):
    """Sessions and their messages.

    Every method may raise `MessageUnavailableError` or `MessageTimeoutError`, after which the step may or may not have
    happened, and `MessageInvalidError` for an owner over `MAX_OWNER_BYTES`, an id over `MAX_ID_BYTES` or content the
    store cannot hold. Cancelling a call leaves the same doubt. None retries by itself.
    """

    may_forbid: bool = True
    """Whether `open_session` may answer `MessageForbiddenError`. A reply's model is then called only after the store
    had `registration_seconds` to say so. False where every owner has sessions of its own, as in ours."""

    async def start(self) -> list[str]:
        """Connect, if that needs doing. Returns warnings for the operator. Must not raise for an unreachable
        database."""
        return []

    async def aclose(self) -> None:  # noqa: B027 -- not every store has something to release
        """Release what this object opened. Nothing stored is touched."""

    @abstractmethod
    async def open_session(self, key: SessionKey) -> bool:
        """Create the session unless it is there. Returns whether it was created. One atomic step: of two that race,
        one creates.

        Raises:
            MessageForbiddenError: the store holds this session for another owner (a host's own store, where session
                ids are global). Ours key sessions by owner and never raise it.
        """

    @abstractmethod
    async def append(self, key: SessionKey, message: Message) -> Appended:
        """Store a message, once.

        - No message of that id: created at the session's next position (`continues` must be None).
        - One that this `stream_id` has written (None counts as one): `DUPLICATE` if the digest is that of what it
          wrote, else a conflict, also after a later stream continued it.
        - One that `continues` wrote last: parts, metadata, outcome, usage and status are replaced, `stream_id` joins
          `streams`: `CONTINUED`. In any other case: a conflict.

        Raises:
            MessageNotFoundError: the session does not exist (it was never opened, or has been deleted).
            MessageConflictError: see above; nothing was changed.
        """

    @abstractmethod
    async def get(self, key: SessionKey, message_id: str) -> StoredMessage:
        """One message.

        Raises:
            MessageNotFoundError: no such session or message for this owner.
        """

    @abstractmethod
    async def list(self, key: SessionKey, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """Up to `limit` (1…1000) messages past position `after`, in order. Empty for a session that does not exist."""

    async def last(self, key: SessionKey) -> StoredMessage | None:
        """The session's last message; None without one, or without the session.

        Asked after each reply that said nothing. By itself it finds the end with `list`, one message at a time and
        twice the binary logarithm of the session's length in calls: a store that can go there directly should.
        """
        found: StoredMessage | None = None
        step = 1
        while beyond := await self.list(key, after=0 if found is None else found.position + step - 1, limit=1):
            (found,) = beyond
            step *= 2
        # Nothing lies past `found.position + step - 1`, which was asked last.
        low = 0 if found is None else found.position
        high = low if found is None else low + step - 1
        while low < high:
            middle = (low + high) // 2
            beyond = await self.list(key, after=middle, limit=1)
            if beyond:
                (found,) = beyond
                low = found.position
            else:
                high = middle
        return found

    @abstractmethod
    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        """Set a message's status; its content stays.

        Raises:
            MessageNotFoundError: no such session or message for this owner.
        """

    @abstractmethod
    async def delete_session(self, key: SessionKey) -> None:
        """Delete the session and every message of it. Deleting what is not there is fine."""
