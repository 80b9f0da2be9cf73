"""The messages that come before a stream's reply: written while it begins, made sure of when the reply is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

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
from ..messages import Message, Role
from ..settings import Settings
from ..values import StreamRef
from ..wire.folding import Json
from .attempts import Attempts
from .outbox_payload import OutboxSave
from .pending_write import PendingWrite
from .revision import Revision
from .session_writer import ErasedError, SessionWriter
from .stream_start import StreamStart
from .supersession import Supersession
from .user_message_writer import UserMessageWriter

__all__ = ["RefusedMessage", "UserMessages"]


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """What its store refused for good."""

    message: Message | None
    """None for a supersession without one."""
    error: MessageStoreError


class UserMessages:
    """What is written before one stream's reply: its session, then the messages given to `run.save`, in order.

    Each is written at once, in a task of the runtime; `complete` then makes sure of all.
    """

    def __init__(
        self,
        session: SessionWriter,
        ref: StreamRef,
        message_id: str,
        settings: Settings,
        *,
        start: StartTask,
        revision: Revision | None = None,
        owed: OutboxSave | None = None,
        on_continued: Callable[[Sequence[Mapping[str, Json]]], None] = lambda _: None,
        on_failure: Callable[[Attempts], None] | None = None,
    ) -> None:
        """`message_id` is the reply's. `owed` is what another process left to be written. `on_continued` is told the
        parts of the message that the stream continues, as its client sent it back; `on_failure` of each attempt that
        failed and may be made again."""
        self.session = session
        self._message_id = message_id
        self._settings = settings
        self._start = start
        self._on_continued = on_continued
        self._on_failure = on_failure
        self._writer = UserMessageWriter(session, ref)
        self._opened = asyncio.Event()
        self._forbidden: MessageForbiddenError | None = None
        self._revision = revision
        """What the request says that it supersedes, until a write does that."""
        self._supersedes = False
        """Whether a write supersedes."""
        self._writes: list[PendingWrite] = []
        self._attempts: list[Attempts] = []
        self.tool_results: Message | None = None
        """The message that this stream continues, as its client sent it back."""
        self._replies_to = None if owed is None else owed.replies_to
        if owed is not None:
            session.branch = owed.branch
            for message, supersession in owed.writes():
                self._enqueue(message, supersession).mark_attempted()

    def open_soon(self) -> None:
        """Open the session, concurrently with whatever the caller does next."""
        if self.session.messages is None:
            self._opened.set()
        else:
            self._start(self._open)

    def began(self, began: StreamStart) -> None:
        """The stream is registered: when it began is known better now."""
        self.session.began = began

    def reply_named(self, message_id: str) -> None:
        """The reply's id is known better now: of what is added from here on, this message is the one that it
        continues."""
        if message_id != self._message_id:
            self._message_id, self.tool_results = message_id, None

    async def forbidden(self, deadline: Deadline) -> bool:
        """Whether the session is known to belong to another owner. Waits for that until `deadline` at most, and not at
        all for a store that never says so, or is not asked at present."""
        if not self.session.may_forbid:
            return False
        try:
            async with deadline.limit():
                await self._opened.wait()
        except TimeoutError:
            return False
        return self._forbidden is not None

    def add(self, message: Message, *, supersede: bool = False) -> PendingWrite:
        """Write a message, after those added before. With `supersede` it takes the place of the one of that id and of
        all that follows it, unless something was superseded for this stream already."""
        requested, self._revision = self._revision, None
        revision = requested if requested is not None and _concerns(requested, message) else None
        if supersede and not self._supersedes:
            revision = _in_place_of(message.message_id, requested)
        if revision is None and requested is not None:
            self._begin(None, Supersession(requested))
        return self._begin(message, None if revision is None else Supersession(revision))

    def accepted(self) -> None:
        """The endpoint begins to answer: supersede what the request says, unless a message has done that."""
        if self._revision is not None:
            supersession, self._revision = Supersession(self._revision), None
            try:
                self._begin(None, supersession)
            except NotStartedError:  # the process ends: it is done with the reply, or owed like that
                self._writes[-1].mark_attempted()

    def _begin(self, message: Message | None, supersession: Supersession | None) -> PendingWrite:
        previous = self._writes[-1] if self._writes else None
        write = self._enqueue(message, supersession)
        self._start(partial(self._attempt, write, previous))
        return write

    def _enqueue(self, message: Message | None, supersession: Supersession | None) -> PendingWrite:
        continued = message is not None and self._is_continued(message)
        write = PendingWrite(message, supersession, has_tool_results=continued)
        self._writes.append(write)
        self._supersedes = self._supersedes or supersession is not None
        if message is not None and continued:
            self.tool_results = message
            self._on_continued(message.parts)
        return write

    def _is_continued(self, message: Message) -> bool:
        """Whether it is the message that the reply continues."""
        return message.role is Role.ASSISTANT and message.message_id == self._message_id

    async def are_written(self, timeout_seconds: float) -> bool:
        """Whether nothing of what was given to be saved may yet be written. Waits for that until `timeout_seconds` are
        over, and for one attempt at each."""
        with suppress(TimeoutError):
            async with Deadline.after(timeout_seconds).limit():
                for write in self._writes:
                    await write.attempted()
        return not any(write.pending for write in self._writes)

    @property
    def last_error(self) -> Exception | None:
        """The last failure of an attempt at writing the last of them that failed; None when none has."""
        return next((attempts.error for attempts in reversed(self._attempts) if attempts.error is not None), None)

    def failed_with(self, error: MessageStoreError) -> bool:
        """Whether it is one of these messages that this error is about."""
        return any(
            error is write.error or (write.error is not None and error.__cause__ is write.error)
            for write in self._writes
        )

    @property
    def last_user_id(self) -> str | None:
        """The id of the last user's message."""
        messages = [write.message for write in self._writes]
        ids = [message.message_id for message in messages if message is not None and message.role is Role.USER]
        return ids[-1] if ids else None

    @property
    def replies_to(self) -> str | None:
        """The id of the message that the reply answers: the last user's, unless its store will never hold that."""
        replies_to = self._replies_to or self.last_user_id
        for write in self._writes:
            stored = not write.refused or isinstance(write.error, MessageConflictError)
            if write.message is not None and write.message.message_id == replies_to and not stored:
                return None
        return replies_to

    def to_outbox(self) -> OutboxSave:
        """What any worker that saves the reply later has to know: what is not known to be written, where it belongs,
        and how the message that the reply continues was sent back."""
        pending = [write for write in self._writes if write.pending]
        messages = [one.message for one in pending if one.message is not None and not one.has_tool_results]
        superseding = next((write for write in pending if write.supersession is not None), None)
        return OutboxSave(
            (*messages, *(() if self.tool_results is None else (self.tool_results,))),
            self.replies_to,
            saves=True,
            branch=self.session.branch,
            supersession=None if superseding is None else superseding.supersession,
            superseding_id=(
                None if superseding is None or superseding.message is None else superseding.message.message_id
            ),
        )

    async def complete(self, attempts: Attempts) -> list[RefusedMessage]:
        """Write every message that its store takes. Returns those it refuses.

        Raises:
            ErasedError, MessageForbiddenError: nothing of this stream may be written.
            MessageStoreError, StoreError: see `Attempts`.
        """
        if self._forbidden is not None:
            raise self._forbidden
        refused: list[RefusedMessage] = []
        for write in self._writes:
            await self._wait_attempted(write, attempts)
            if write.pending:
                await self._writer.write(write, attempts, certain=True)
            if isinstance(write.error, MessageForbiddenError):
                raise write.error
            if write.has_tool_results and isinstance(write.error, MessageSupersededError):
                raise write.error  # of the reply that would go on from it there is no place either
            if not write.committed and isinstance(write.error, MessageStoreError):
                refused.append(RefusedMessage(write.message, write.error))
        return refused

    async def _wait_attempted(self, write: PendingWrite, attempts: Attempts) -> None:
        try:
            async with attempts.deadline.limit():
                await write.attempted()
        except TimeoutError as exc:
            raise MessageTimeoutError("append: an earlier message is still being saved", operation="append") from exc

    async def _open(self) -> None:
        attempts = Attempts(self._settings.save_attempt_seconds, retries=False)
        try:
            await self.session.open(attempts)
        except MessageForbiddenError as exc:
            self._forbidden = exc
        except MessageStoreError:
            return  # the first write opens it
        finally:
            self._opened.set()

    async def _attempt(self, write: PendingWrite, previous: PendingWrite | None) -> None:
        attempts = Attempts(self._settings.save_total_seconds, on_retry=self._on_failure)
        self._attempts.append(attempts)
        try:
            await self._opened.wait()
            if previous is not None:
                await previous.attempted()
            if self._forbidden is not None:
                write.error = self._forbidden
            else:
                await self._writer.write(write, attempts, certain=False)
        except (MessageStoreError, StoreError, ErasedError) as exc:
            write.error = exc
            if self._on_failure is not None and exc is attempts.error:
                self._on_failure(attempts)
        finally:
            write.mark_attempted()


def _concerns(revision: Revision, message: Message) -> bool:
    """Whether a message is what a request edits, or the question that it wants to be answered again."""
    last = revision.kept[-1] if revision.kept else None
    return message.role is not Role.ASSISTANT and message.message_id in (revision.start, last)


def _in_place_of(message_id: str, requested: Revision | None) -> Revision:
    """What a message supersedes whose endpoint says that it does; the request may say what stays."""
    kept = None if requested is None else requested.kept
    if kept is not None and message_id in kept:
        kept = kept[: kept.index(message_id)]
    return Revision(message_id, kept)
