"""Reading one session's messages, and writing into it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from ..errors import MessageNotFoundError, MessageStoreError, MessageSupersededError, StoreError, StreamGuardError
from ..messages import Appended, CallableSaver, Message, MessageStatus, MessageStore, Role, StoredMessage, Supersedes
from ..stores.records import StreamMeta
from ..stores.store import StreamStore
from ..values import Outcome, Persisted, SessionKey, StreamRef, StreamState
from ..wire import UIMessage
from .attempts import Attempts
from .stream_start import StreamStart
from .target_client import TargetClient

__all__ = ["ErasedError", "SessionWriter", "ui_message_of"]

T = TypeVar("T")

EARLIER_STREAMS: Final = 8
"""How many streams before one that supersedes are looked at for those that are not saved yet."""


class ErasedError(StreamGuardError):
    """The session was erased after the stream began: nothing of it is written any more."""


def ui_message_of(message: Message) -> UIMessage:
    """A message in the form from which a fold goes on. Its content is shared: folds copy."""
    metadata = None if message.metadata is None else dict(message.metadata)
    return UIMessage(message.message_id, tuple(dict(part) for part in message.parts), metadata)


class SessionWriter:
    """Writes what one stream brings into its session, as long as that was not erased."""

    def __init__(
        self,
        store: StreamStore,
        client: TargetClient,
        key: SessionKey,
        began: StreamStart,
        *,
        reachable: Callable[[], bool],
    ) -> None:
        self._store = store
        self._client = client
        self._key = key
        self.began = began
        self.branch: int | None = None
        """The session's branch when the stream opened it, or the one that it made itself; None while that is
        unknown."""
        self._unannounced: Supersedes | None = None
        """The supersession that a function is to be told of with the next message."""
        self._announced = False
        """Whether the function was told."""
        self._reachable = reachable
        """Whether asking the stream store has any prospect."""

    @property
    def messages(self) -> MessageStore | None:
        """The message store; None for a function, which cannot be read."""
        target = self._client.target
        return target if isinstance(target, MessageStore) else None

    @property
    def may_forbid(self) -> bool:
        """Whether the message store may say that the session is another owner's, and is asked at present."""
        messages = self.messages
        return messages is not None and messages.may_forbid and not self._client.breaker.open

    async def open(self, attempts: Attempts) -> None:
        """Create the session unless it is there."""
        messages = self.messages
        if messages is not None:
            opened = await attempts(
                lambda: self._client.call(
                    "open_session",
                    lambda: messages.open_session(self._key),
                    deadline=attempts.deadline,
                    key=self._key,
                )
            )
            if self.branch is None:
                self.branch = opened.branch

    async def get(self, message_id: str, attempts: Attempts, *, branches: bool = False) -> StoredMessage | None:
        """A stored message that is visible, or with `branches` the newest of that id; None when there is none, or
        nothing can be read."""
        messages = self.messages
        if messages is None:
            return None
        try:
            return await attempts(
                lambda: self._client.call(
                    "get",
                    lambda: messages.get(self._key, message_id, branches=branches),
                    deadline=attempts.deadline,
                    key=self._key,
                )
            )
        except MessageNotFoundError:
            return None

    async def has_whole(self, meta: StreamMeta, attempts: Attempts) -> bool:
        """Whether the message is stored as this stream left it, and the stream ended by itself. False where the message
        store does not say so."""
        try:
            stored = await self.get(meta.message_id, attempts, branches=True)
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
            lambda: self._client.call(
                "last", lambda: messages.last(self._key), deadline=attempts.deadline, key=self._key
            )
        )

    async def mark(self, message_id: str, status: MessageStatus, attempts: Attempts) -> None:
        """Set a stored message's status, if it is there."""
        messages = self.messages
        if messages is None:
            return
        with suppress(MessageNotFoundError):
            await attempts(
                lambda: self._client.call(
                    "mark",
                    lambda: messages.mark(self._key, message_id, status),
                    deadline=attempts.deadline,
                    key=self._key,
                )
            )

    async def list_after(self, position: int, limit: int, attempts: Attempts) -> list[StoredMessage]:
        """Visible messages past a position; none when nothing can be read."""
        messages = self.messages
        if messages is None:
            return []
        step = partial(messages.list, self._key, after=position, limit=limit)
        return await attempts(lambda: self._client.call("list", step, deadline=attempts.deadline, key=self._key))

    async def append(self, message: Message, attempts: Attempts, *, certain: bool = True) -> bool:
        """Store a message. Opens the session if it is not there, but never one that was erased. A question that is
        asked again is marked as complete again. Returns whether the message is visible: it may belong to an old branch.

        `certain`: wait until the stream store says that the session was not erased; else, if it does not answer, go
        ahead.

        Raises:
            ErasedError: the session was erased.
            MessageStoreError, StoreError: see `Attempts`.
        """
        return await self._in_session(lambda: self._append(message, attempts), attempts, certain=certain)

    async def supersede(
        self, supersedes: Supersedes, message: Message | None, attempts: Attempts, *, certain: bool
    ) -> bool:
        """Replace the end of the session's history, with `message` if there is one. Returns whether that is done: a
        function is told of it with that message, or else with the next one.

        Raises:
            MessageSupersededError: a later request superseded it first.
            ErasedError, MessageStoreError, StoreError: as `append`.
        """
        messages = self.messages
        if messages is None:
            self._unannounced = None if self._announced else supersedes
            if message is not None:
                await self.append(message, attempts, certain=certain)
            return self._announced
        await self._check_latest(supersedes.by, attempts, certain=certain)
        step = partial(
            messages.supersede,
            self._key,
            by=supersedes.by,
            start=supersedes.start,
            after=supersedes.after,
            message=message,
        )
        superseded = await self._in_session(
            lambda: attempts(lambda: self._client.call("supersede", step, deadline=attempts.deadline, key=self._key)),
            attempts,
            certain=certain,
        )
        self.branch = superseded.branch
        return True

    async def find_branch(self, ref: StreamRef, attempts: Attempts) -> None:
        """Find out to which branch the messages of a stream belong, where it is not known in which it began."""
        if self.branch is not None or self.messages is None:
            return
        await self._check_not_erased(attempts, certain=True)
        await self.open(attempts)
        # A request that supersedes the stream marks it first: so this order misses none.
        meta = await attempts(lambda: self._store.meta(ref))
        if meta is not None and meta.revised:
            self.branch = 0

    async def mark_earlier_streams(
        self, stream_id: str, keeps: Callable[[str], bool] | None, attempts: Attempts, *, certain: bool
    ) -> None:
        """Mark the session's earlier streams that are not saved yet and whose replies are superseded, so that whichever
        worker saves them knows. `keeps` says which messages stay; without it only the last stream is marked."""
        found = await self._ask_store(
            lambda: self._store.session_streams(self._key, limit=EARLIER_STREAMS), attempts, certain=certain
        )
        earlier = [meta for meta in found or () if meta.ref.stream_id != stream_id]
        for meta in earlier if keeps is not None else earlier[:1]:
            unsaved = meta.state is not StreamState.CLOSED or meta.persisted is Persisted.PENDING
            if unsaved and not (keeps is not None and keeps(meta.message_id)):
                marking = partial(self._store.update_meta, meta.ref, revised=True)
                await self._ask_store(marking, attempts, certain=certain)

    async def _check_latest(self, stream_id: str, attempts: Attempts, *, certain: bool) -> None:
        """Refuse a supersession that comes late: of two requests that supersede, the later one is right, and nothing
        that was said since may vanish."""
        if self.began.created_at is None:
            return
        record = await self._ask_store(lambda: self._store.session(self._key), attempts, certain=certain)
        if record is not None and record.last_id not in (None, stream_id):
            raise MessageSupersededError(
                "supersede: the conversation has gone on since this was asked for", operation="supersede"
            )

    async def _ask_store(self, step: Callable[[], Awaitable[T]], attempts: Attempts, *, certain: bool) -> T | None:
        """What the stream store says. Without `certain` it is asked once, and not at all where asking has no prospect;
        None when it does not answer."""
        if certain:
            return await attempts(step)
        if not self._reachable():
            return None
        try:
            return await step()
        except StoreError:
            return None

    async def _in_session(self, step: Callable[[], Awaitable[T]], attempts: Attempts, *, certain: bool) -> T:
        """Do a step in the session, which is opened if it is not there, unless it was erased."""
        await self._check_not_erased(attempts, certain=certain)
        try:
            return await step()
        except MessageNotFoundError:
            # The session was never opened, or has expired, or is being erased: the mark of an erasure comes before the
            # deletion. Check again once it is open: it may have been deleted while this call was opening it.
            await self._check_not_erased(attempts, certain=certain)
            await self.open(attempts)
            await self._check_not_erased(attempts, certain=certain)
            return await step()

    async def _append(self, message: Message, attempts: Attempts) -> bool:
        target = self._client.target
        placed = replace(message, branch=self.branch)

        async def step() -> Appended | None:
            if isinstance(target, CallableSaver):
                await target.append(self._key, placed, supersedes=self._unannounced)
                return None
            return await target.append(self._key, placed)

        appended = await attempts(lambda: self._client.call("append", step, deadline=attempts.deadline, key=self._key))
        self._announced = self._announced or self._unannounced is not None
        self._unannounced = None
        if appended is Appended.DUPLICATE and message.role is Role.USER:
            stored = await self.get(message.message_id, attempts)
            if stored is not None and stored.status is MessageStatus.UNANSWERED:
                await self.mark(message.message_id, MessageStatus.COMPLETE, attempts)
        return appended is not Appended.SUPERSEDED

    async def _check_not_erased(self, attempts: Attempts, *, certain: bool) -> None:
        erasure = await self._ask_store(lambda: self._store.erasure(self._key), attempts, certain=certain)
        if erasure is not None and self.began.precedes(erasure):
            raise ErasedError("the session was erased after this stream began")
