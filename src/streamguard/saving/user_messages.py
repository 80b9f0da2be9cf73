"""The messages that come before a stream's reply: written while it begins, made sure of when it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..deadlines import Deadline
from ..errors import (
    MessageConflictError,
    MessageForbiddenError,
    MessageStoreError,
    MessageSupersededError,
    MessageTimeoutError,
    NotStartedError,
    StoreError,
)
from ..loops import StartTask
from ..messages import Message, Role, Supersedes
from ..settings import Settings
from ..values import StreamRef
from ..wire.folding import Json
from ..wire.ui_message.tool_results import with_tool_results
from .attempts import Attempts
from .outbox_payload import OutboxSave
from .pending_write import PendingWrite
from .revision import Revision
from .session_writer import ErasedError, SessionWriter, ui_message_of
from .stream_start import StreamStart
from .supersession import Supersession, supersede_request_of

__all__ = ["RESULTS_SUFFIX", "RefusedMessage", "UserMessages"]

RESULTS_SUFFIX: Final = ".input"
"""A stream's id with this is the writer of what the client added before that stream began."""


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """What its store refused for good."""

    message: Message | None
    """None for a superseding without one."""
    error: MessageStoreError


class UserMessages:
    """What is written before one stream's reply: its session, then the messages given to `run.save`, in order.

    They are written at once, in tasks of the runtime; `complete` then makes sure of them.
    """

    def __init__(
        self,
        writer: SessionWriter,
        ref: StreamRef,
        message_id: str,
        settings: Settings,
        *,
        start: StartTask,
        revision: Revision | None = None,
        owed: OutboxSave | None = None,
        answered: Callable[[Sequence[Mapping[str, Json]]], None] = lambda _: None,
    ) -> None:
        """`answered` is told the parts of the message that the stream continues, as its client sent it back."""
        self.writer = writer
        self._ref = ref
        self._message_id = message_id
        self._settings = settings
        self._start = start
        self._told_answered = answered
        self._opened = asyncio.Event()
        self._forbidden: MessageForbiddenError | None = None
        self._revision = revision
        """What the request says that it supersedes, while nothing was entered for it."""
        self._revises = False
        """Whether an entry supersedes."""
        self._entries: list[PendingWrite] = []
        self._attempts: list[Attempts] = []
        self.results: Message | None = None
        """The message that this stream continues, as the client sent it back."""
        self._answered = None if owed is None else owed.replies_to
        if owed is not None:
            writer.branch = owed.branch
            for entry in _entries_of(owed):
                self._enter(entry).tried()

    def open_soon(self) -> None:
        """Open the session, concurrently with whatever the caller does next."""
        if self.writer.messages is None:
            self._opened.set()
        else:
            self._start(self._open)

    def began(self, beginning: StreamStart) -> None:
        """The stream is registered: when it began is known better now."""
        self.writer.began = beginning

    async def forbidden(self, deadline: Deadline) -> bool:
        """Whether the session is known to belong to somebody else; waits for that until `deadline` at most, and not at
        all for a store that never says so, or is not asked at present."""
        if not self.writer.may_forbid:
            return False
        try:
            async with deadline.limit():
                await self._opened.wait()
        except TimeoutError:
            return False
        return self._forbidden is not None

    def add(self, message: Message, *, supersede: bool = False) -> PendingWrite:
        """Have a message written, after those added before; with `supersede`, in place of the one of that id and of all
        that follows it, unless something was superseded for this stream already."""
        said, self._revision = self._revision, None
        revision = said if said is not None and _concerns(said, message) else None
        if supersede and not self._revises:
            revision = _in_place_of(message.message_id, said)
        if revision is None and said is not None:
            self._begin(PendingWrite(None, Supersession(said)))
        return self._begin(PendingWrite(message, None if revision is None else Supersession(revision)))

    def accepted(self) -> None:
        """The endpoint begins to answer: what the request supersedes goes, if no message of its has done that."""
        if self._revision is not None:
            entry, self._revision = PendingWrite(None, Supersession(self._revision)), None
            try:
                self._begin(entry)
            except NotStartedError:  # the process ends: it is done with the reply, or owed like that
                entry.tried()

    def _begin(self, entry: PendingWrite) -> PendingWrite:
        user_messages = self._entries[-1] if self._entries else None
        self._enter(entry)
        self._start(lambda: self._commit(entry, user_messages))
        return entry

    def _enter(self, entry: PendingWrite) -> PendingWrite:
        self._entries.append(entry)
        self._revises = self._revises or entry.supersession is not None
        if self._is_results(entry):
            self.results = entry.message
            if entry.message is not None:
                self._told_answered(entry.message.parts)
        return entry

    @property
    def failing(self) -> bool:
        """Whether an attempt at writing one of them has failed."""
        return any(attempts.failures for attempts in self._attempts)

    def failed_with(self, error: MessageStoreError) -> bool:
        """Whether it is one of these messages that this error is about."""
        return any(
            error is entry.error or (entry.error is not None and error.__cause__ is entry.error)
            for entry in self._entries
        )

    @property
    def last_user_id(self) -> str | None:
        """The id of the last user's message."""
        messages = [entry.message for entry in self._entries]
        ids = [message.message_id for message in messages if message is not None and message.role is Role.USER]
        return ids[-1] if ids else None

    @property
    def replies_to(self) -> str | None:
        """The id of the message that the reply answers: the last user's, unless its store will never hold that."""
        answered = self._answered or self.last_user_id
        for entry in self._entries:
            known = not entry.refused or isinstance(entry.error, MessageConflictError)
            if entry.message is not None and entry.message.message_id == answered and not known:
                return None
        return answered

    def owes(self) -> OutboxSave:
        """What whoever saves the reply later has to know: what is not known to be written, where it belongs, and what
        the message was that it continues."""
        waiting = [entry for entry in self._entries if entry.waits]
        messages = [one.message for one in waiting if one.message is not None and not self._is_results(one)]
        supersession = next((entry for entry in waiting if entry.supersession is not None), None)
        return OutboxSave(
            (*messages, *(() if self.results is None else (self.results,))),
            self.replies_to,
            saves=True,
            branch=self.writer.branch,
            supersession=None if supersession is None else supersession.supersession,
            revised=None if supersession is None or supersession.message is None else supersession.message.message_id,
        )

    async def complete(self, attempts: Attempts) -> list[RefusedMessage]:
        """Have every message written, as far as their store takes them. Returns those it refuses.

        Raises:
            ErasedError, MessageForbiddenError: nothing of this stream may be written.
            MessageStoreError, StoreError: see `Attempts`.
        """
        if self._forbidden is not None:
            raise self._forbidden
        unsaved: list[RefusedMessage] = []
        for entry in self._entries:
            await self._settled(entry, attempts)
            if entry.waits:
                await self._try(entry, attempts, certain=True)
            if isinstance(entry.error, MessageForbiddenError):
                raise entry.error
            if self._is_results(entry) and isinstance(entry.error, MessageSupersededError):
                raise entry.error  # of the reply that would go on from it there is no place either
            if not entry.committed and isinstance(entry.error, MessageStoreError):
                unsaved.append(RefusedMessage(entry.message, entry.error))
        return unsaved

    async def _settled(self, entry: PendingWrite, attempts: Attempts) -> None:
        try:
            async with attempts.deadline.limit():
                await entry.settled()
        except TimeoutError as exc:
            raise MessageTimeoutError("append: an earlier message is still being saved", operation="append") from exc

    async def _open(self) -> None:
        attempts = Attempts(self._settings.save_attempt_seconds, retries=False)
        try:
            await self.writer.open(attempts)
        except MessageForbiddenError as exc:
            self._forbidden = exc
        except MessageStoreError:
            return  # whatever is written opens it
        finally:
            self._opened.set()

    async def _commit(self, entry: PendingWrite, user_messages: PendingWrite | None) -> None:
        attempts = Attempts(self._settings.save_total_seconds)
        self._attempts.append(attempts)
        try:
            await self._opened.wait()
            if user_messages is not None:
                await user_messages.settled()
            if self._forbidden is not None:
                entry.error = self._forbidden
            else:
                await self._try(entry, attempts, certain=False)
        except (MessageStoreError, StoreError, ErasedError) as exc:
            entry.error = exc
        finally:
            entry.tried()

    async def _try(self, entry: PendingWrite, attempts: Attempts, *, certain: bool) -> None:
        """Write one message. What its store refuses for good is noted, not raised."""
        try:
            done = True
            if entry.supersession is not None:
                done = await self._supersede(entry.supersession, entry.message, attempts, certain=certain)
            elif entry.message is not None and self._is_results(entry):
                await self._write_results(entry.message, attempts, certain=certain)
            elif entry.message is not None:
                await self.writer.append(entry.message, attempts, certain=certain)
        except MessageStoreError as exc:
            if exc.retryable:
                raise
            entry.error = exc
        else:
            entry.committed, entry.error = done, None

    async def _supersede(
        self, supersession: Supersession, message: Message | None, attempts: Attempts, *, certain: bool
    ) -> bool:
        if supersession.asked is None:
            supersession.asked = await supersede_request_of(self.writer, supersession.revision, message, attempts)
        asked, kept = supersession.asked, supersession.revision.kept
        await self.writer.mark_earlier(
            self._ref.stream_id,
            None if kept is None else supersession.revision.keeps,
            attempts,
            certain=certain,
        )
        stays = message is not None and not asked.with_message
        done = await self.writer.supersede(
            Supersedes(self._ref.stream_id, asked.start, asked.after),
            None if stays else message,
            attempts,
            certain=certain,
        )
        if message is not None and stays:
            await self.writer.append(message, attempts, certain=certain)
            return True
        return done

    def _is_results(self, entry: PendingWrite) -> bool:
        message = entry.message
        return message is not None and message.role is Role.ASSISTANT and message.message_id == self._message_id

    async def _write_results(self, given: Message, attempts: Attempts, *, certain: bool) -> None:
        """Add what the client brought to the stored message; without one, the reply's own save does it."""
        stored = await self.writer.get(given.message_id, attempts)
        if stored is None and await self.writer.get(given.message_id, attempts, branches=True) is not None:
            raise MessageSupersededError(
                "append: the message that these results are for was superseded", operation="append"
            )
        if stored is None or not stored.streams or self._ref.stream_id in stored.streams:
            return
        base = ui_message_of(stored.message)
        merged = with_tool_results(base, given.parts)
        if merged is base:
            return
        message = Message(
            message_id=given.message_id,
            role=Role.ASSISTANT,
            parts=merged.parts,
            metadata=stored.message.metadata,
            stream_id=self._ref.stream_id + RESULTS_SUFFIX,
            continues=stored.streams[-1],
            outcome=stored.message.outcome,
            usage=stored.message.usage,
            replies_to=stored.message.replies_to,
        )
        await self.writer.append(message, attempts, certain=certain)


def _concerns(said: Revision, message: Message) -> bool:
    """Whether a message is what a request edits, or the question whose answer it has written again."""
    last = said.kept[-1] if said.kept else None
    return message.role is not Role.ASSISTANT and message.message_id in (said.start, last)


def _entries_of(owed: OutboxSave) -> list[PendingWrite]:
    """What another process left to be written."""
    entries = [
        PendingWrite(message, owed.supersession if message.message_id == owed.revised else None)
        for message in owed.user_messages
    ]
    if owed.supersession is not None and all(entry.supersession is None for entry in entries):
        entries.insert(0, PendingWrite(None, owed.supersession))
    return entries


def _in_place_of(message_id: str, said: Revision | None) -> Revision:
    """What a message supersedes that its endpoint says so of; the request may say what stays."""
    kept = None if said is None else said.kept
    if kept is not None and message_id in kept:
        kept = kept[: kept.index(message_id)]
    return Revision(message_id, kept)
