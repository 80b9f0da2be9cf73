"""The contract of the message store: what was said in a session, saved once.

Every method is one atomic step, safe to repeat: a caller that lost the reply asks again and gets the same answer.
`MemoryMessageStore` is the executable specification; `streamguard.testing.MessageStoreSuite` checks any other store.

Errors mean the same in every adapter; see `streamguard.errors.MessageStoreError` and below it. A driver's exception
never comes through.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..values import SessionKey
from .records import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded

__all__ = ["MessageStore"]


class MessageStore(ABC):
    """Sessions and their messages.

    A session shows its *visible* messages. `supersede` replaces the end of that history: what it hides stays stored, as
    an *old branch*. A message id is unique among the visible messages; old branches may hold other versions of it.

    *Conversation order*: a message stands at its position; but one that names a visible message in `replies_to`, which
    itself names none, stands behind that one, among several by position. So a reply that was saved late is not taken
    for the end of the conversation.

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
    async def open_session(self, key: SessionKey) -> Opened:
        """Create the session unless it is there, and say which branch it is at. One atomic step: of two that race, one
        creates.

        Raises:
            MessageForbiddenError: the store holds this session for another owner (a host's own store, where session
                ids are global). Ours key sessions by owner and never raise it.
        """

    @abstractmethod
    async def append(self, key: SessionKey, message: Message) -> Appended:
        """Store a message, once.

        Which version of the message is meant: the one that its stream has written; else the newest of that id that was
        stored in `message.branch` or before.

        - No such version: created at the session's next position (`continues` must be None).
        - One that this `stream_id` has written (None counts as one): `DUPLICATE` if the digest is that of what it
          wrote, else a conflict, also after a later stream continued it.
        - One that `continues` wrote last: parts, metadata, outcome, usage and status are replaced, `stream_id` joins
          `streams`: `CONTINUED`. In any other case: a conflict.

        Old branches: of a version in one, every success is `SUPERSEDED`; it stays there. A stream that began when it
        was superseded already may not continue it (a conflict), and writes a version of its own instead.

        A message that is created in an older branch than the session's comes late. It is hidden by the first
        superseding since then

        - whose `start` it is,
        - that hid what it answers, or
        - whose first hidden place is before its own: right behind what it answers, or, where that is unknown (no
          `replies_to`, or none that was stored in its branch), at the end of its branch.

        It is stored in that old branch, `SUPERSEDED`. The message that a superseding names as `after` is not hidden by
        it. What answers a message that was in an old branch when its own branch began goes there too.

        Raises:
            MessageNotFoundError: the session does not exist (it was never opened, or has been deleted).
            MessageSupersededError: it continues what was superseded before its stream began; nothing was changed.
            MessageConflictError: see above; nothing was changed.
        """

    @abstractmethod
    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        """Replace the end of the visible history, in one atomic step.

        Hidden are, in conversation order:

        - where `start` is visible, that message and everything behind it;
        - else, where `after` is visible, everything behind it (the reply to go is not saved yet);
        - else, where `after` is None, everything;
        - else nothing: neither was ever stored. Saved late, they are put where they belong.

        Then `message`, an edited question perhaps, is stored as `append` does, in the new branch: at the session's next
        position, unless it is there and stayed visible. `message.branch` does not matter.

        Args:
            key: The session.
            by: The stream that asks. The same `by` again changes nothing and gets the same answer, also after a later
                superseding.
            start: The id of the first message to go; None when it is not known.
            after: The id of the message before it; None when there is none.
            message: What to store after it.

        Raises:
            MessageNotFoundError: the session does not exist.
            MessageSupersededError: `start` or `after` is known, but both are visible no more: somebody else has
                replaced what was to be replaced. Nothing was changed.
            MessageConflictError: `message` is visible with other content, or `continues` one; or the same `by` has
                asked for something else. Nothing was changed.
        """

    @abstractmethod
    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        """One visible message; with `branches`, its version of the highest position where none is visible.

        Raises:
            MessageNotFoundError: no such session, or no such version, for this owner.
        """

    @abstractmethod
    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        """Up to `limit` (1…1000) visible messages past position `after`, by position, which may have gaps.

        With `branches`, those of old branches too: every position. Empty for a session that does not exist.
        """

    async def last(self, key: SessionKey) -> StoredMessage | None:
        """The visible message with the highest position; None without one, or without the session.

        Asked after each reply that said nothing. This default finds the end with `list`, one message at a time, in
        twice as many calls as the highest position has binary digits: override it where the store can do better.
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
        """Set a visible message's status; its content stays.

        Raises:
            MessageNotFoundError: no such session or visible message for this owner.
        """

    @abstractmethod
    async def delete_session(self, key: SessionKey) -> None:
        """Delete the session and every message of it, old branches included. Deleting what is not there is fine."""
