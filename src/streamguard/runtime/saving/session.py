"""Reading one session's messages, and writing into it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ...errors import MessageNotFoundError, MessageStoreError, StoreError, StreamGuardError
from ...messages import Appended, Message, MessageStatus, MessageStore, Role, StoredMessage
from ...model import Outcome, SessionKey
from ...stores.base import StreamMeta, StreamStore
from ...wire import UIMessage
from ..beginning import Beginning
from .calls import Attempts, Saver

__all__ = ["ErasedError", "SessionWriter", "ui_message_of"]


class ErasedError(StreamGuardError):
    """The session was erased after the stream began: nothing of it is written any more."""


def ui_message_of(message: Message) -> UIMessage:
    """A message as a fold goes on from it. What it holds is shared: folds copy."""
    metadata = None if message.metadata is None else dict(message.metadata)
    return UIMessage(message.message_id, tuple(dict(part) for part in message.parts), metadata)


class SessionWriter:
    """Writes what one stream brings into its session, as long as that was not erased."""

    def __init__(
        self,
        store: StreamStore,
        saver: Saver,
        key: SessionKey,
        began: Beginning,
        *,
        reachable: Callable[[], bool],
    ) -> None:
        self._store = store
        self._saver = saver
        self._key = key
        self.began = began
        self._reachable = reachable
        """Whether asking the stream store has any prospect."""

    @property
    def messages(self) -> MessageStore | None:
        """The message store; None for a function, which cannot be read."""
        target = self._saver.target
        return target if isinstance(target, MessageStore) else None

    @property
    def may_forbid(self) -> bool:
        """Whether the message store may say that the session is somebody else's, and is asked at present."""
        messages = self.messages
        return messages is not None and messages.may_forbid and not self._saver.breaker.open

    async def open(self, attempts: Attempts) -> None:
        """Create the session unless it is there."""
        messages = self.messages
        if messages is not None:
            await attempts(
                lambda: self._saver.call(
                    "open_session", lambda: messages.open_session(self._key), deadline=attempts.deadline
                )
            )

    async def get(self, message_id: str, attempts: Attempts) -> StoredMessage | None:
        """A stored message; None when there is none, or nothing can be read."""
        messages = self.messages
        if messages is None:
            return None
        try:
            return await attempts(
                lambda: self._saver.call("get", lambda: messages.get(self._key, message_id), deadline=attempts.deadline)
            )
        except MessageNotFoundError:
            return None

    async def has_whole(self, meta: StreamMeta, attempts: Attempts) -> bool:
        """Whether the message is stored as this stream left it, and the stream ended by itself. False where the message
        store does not say so."""
        try:
            stored = await self.get(meta.message_id, attempts)
        except (MessageStoreError, StoreError):
            return False
        if stored is None or stored.streams[-1:] != (meta.ref.stream_id,):
            return False
        return stored.message.outcome is Outcome.COMPLETED

    async def last(self, attempts: Attempts) -> StoredMessage | None:
        """The session's last message; None when there is none, or nothing can be read."""
        messages = self.messages
        if messages is None:
            return None

        return await attempts(
            lambda: self._saver.call("last", lambda: messages.last(self._key), deadline=attempts.deadline)
        )

    async def mark(self, message_id: str, status: MessageStatus, attempts: Attempts) -> None:
        """Set a stored message's status, if it is there."""
        messages = self.messages
        if messages is None:
            return
        with suppress(MessageNotFoundError):
            await attempts(
                lambda: self._saver.call(
                    "mark", lambda: messages.mark(self._key, message_id, status), deadline=attempts.deadline
                )
            )

    async def append(self, message: Message, attempts: Attempts, *, certain: bool = True) -> None:
        """Store a message. Opens the session if it is not there, but never one that was erased. A question asked again
        is not unanswered any more.

        `certain`: wait for the stream store to say that it was not; else, when that does not answer, go ahead.

        Raises:
            ErasedError: the session was erased.
            MessageStoreError, StoreError: see `Attempts`.
        """
        await self._check(attempts, certain=certain)
        try:
            await self._append(message, attempts)
        except MessageNotFoundError:
            # Never opened, or expired; or erased this moment: the mark comes before the deletion. Asked again once it
            # is open, since it may have been deleted while this call was on its way to open it.
            await self._check(attempts, certain=certain)
            await self.open(attempts)
            await self._check(attempts, certain=certain)
            await self._append(message, attempts)

    async def _append(self, message: Message, attempts: Attempts) -> None:
        async def step() -> object:
            return await self._saver.target.append(self._key, message)

        appended = await attempts(lambda: self._saver.call("append", step, deadline=attempts.deadline))
        if appended is Appended.DUPLICATE and message.role is Role.USER:
            stored = await self.get(message.message_id, attempts)
            if stored is not None and stored.status is MessageStatus.UNANSWERED:
                await self.mark(message.message_id, MessageStatus.COMPLETE, attempts)

    async def _check(self, attempts: Attempts, *, certain: bool) -> None:
        if certain:
            erasure = await attempts(lambda: self._store.erased(self._key))
        elif not self._reachable():
            return
        else:
            try:
                erasure = await self._store.erased(self._key)
            except StoreError:
                return
        if erasure is not None and self.began.precedes(erasure):
            raise ErasedError("the session was erased after this stream began")
