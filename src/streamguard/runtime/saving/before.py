"""The messages that come before a stream's reply: written while it begins, made sure of when it is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...deadlines import Deadline
from ...errors import (
    MessageConflictError,
    MessageForbiddenError,
    MessageStoreError,
    MessageTimeoutError,
    MessageUnavailableError,
    StoreError,
    StreamGuardError,
)
from ...messages import Message, Role
from ...model import StreamRef
from ...settings import Settings
from ...wire.folding import Json
from ...wire.tool_results import with_tool_results
from ..beginning import Beginning
from .calls import Attempts
from .payload import OwedSave
from .session import ErasedError, SessionWriter, ui_message_of

__all__ = ["RESULTS_SUFFIX", "Before", "Start", "Unsaved", "UserMessage"]

Start = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs something once, in the runtime's own task group."""

RESULTS_SUFFIX: Final = ".input"
"""A stream's id with this is the writer of what the client added before that stream began."""


class UserMessage:
    """A message to be saved before the reply, and what became of it."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.committed: bool = False
        self.error: StreamGuardError | None = None
        """Why it is not, as far as it was tried."""
        self._tried = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []

    def tried(self) -> None:
        """The first attempts are over."""
        self._tried.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def when_tried(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop once the first attempts are over."""
        if self._tried.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    async def settled(self) -> None:
        """Wait until it is committed, or was tried without success."""
        await self._tried.wait()

    def failure(self) -> MessageStoreError | None:
        """Why it is not committed, now that it was tried; None when it is. It is tried again before the reply is saved,
        if that can help."""
        if self.committed:
            return None
        if isinstance(self.error, MessageStoreError):
            return self.error
        unsaved = MessageUnavailableError("append: the message was not saved", operation="append")
        unsaved.__cause__ = self.error
        return unsaved

    @property
    def refused(self) -> bool:
        """Whether it was refused for good."""
        return isinstance(self.error, MessageStoreError) and not self.error.retryable


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A message that its store refused for good."""

    message: Message
    error: MessageStoreError


class Before:
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
        start: Start,
        owed: OwedSave | None = None,
        answered: Callable[[Sequence[Mapping[str, Json]]], None] = lambda _: None,
    ) -> None:
        """`answered` is told the parts of the message that the stream continues, as its client sent it back."""
        self._writer = writer
        self._ref = ref
        self._message_id = message_id
        self._settings = settings
        self._start = start
        self._told_answered = answered
        self._opened = asyncio.Event()
        self._forbidden: MessageForbiddenError | None = None
        self._entries: list[UserMessage] = []
        self._attempts: list[Attempts] = []
        self.results: Message | None = None
        """The message that this stream continues, as the client sent it back."""
        self._answered = None if owed is None else owed.replies_to
        for message in () if owed is None else owed.before:
            self._enter(message).tried()

    def open_soon(self) -> None:
        """Open the session, concurrently with whatever the caller does next."""
        if self._writer.messages is None:
            self._opened.set()
        else:
            self._start(self._open)

    def began(self, beginning: Beginning) -> None:
        """The stream is registered: when it began is known better now."""
        self._writer.began = beginning

    async def forbidden(self, deadline: Deadline) -> bool:
        """Whether the session is known to belong to somebody else; waits for that until `deadline` at most, and not at
        all for a store that never says so, or is not asked at present."""
        if not self._writer.may_forbid:
            return False
        try:
            async with deadline.limit():
                await self._opened.wait()
        except TimeoutError:
            return False
        return self._forbidden is not None

    def add(self, message: Message) -> UserMessage:
        """Have a message written, after those added before."""
        before = self._entries[-1] if self._entries else None
        entry = self._enter(message)
        self._start(lambda: self._commit(entry, before))
        return entry

    def _enter(self, message: Message) -> UserMessage:
        entry = UserMessage(message)
        self._entries.append(entry)
        if self._is_results(entry):
            self.results = message
            self._told_answered(message.parts)
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
        ids = [entry.message.message_id for entry in self._entries if entry.message.role is Role.USER]
        return ids[-1] if ids else None

    @property
    def replies_to(self) -> str | None:
        """The id of the message that the reply answers: the last user's, unless its store will never hold that."""
        answered = self._answered or self.last_user_id
        for entry in self._entries:
            known = not entry.refused or isinstance(entry.error, MessageConflictError)
            if entry.message.message_id == answered and not known:
                return None
        return answered

    @property
    def uncommitted(self) -> tuple[Message, ...]:
        """What is not known to be written, and what the reply needs to know of the message it continues."""
        waiting = [entry for entry in self._entries if not (entry.committed or entry.refused)]
        messages = [entry.message for entry in waiting if not self._is_results(entry)]
        return (*messages, *(() if self.results is None else (self.results,)))

    async def complete(self, attempts: Attempts) -> list[Unsaved]:
        """Have every message written, as far as their store takes them. Returns those it refuses.

        Raises:
            ErasedError, MessageForbiddenError: nothing of this stream may be written.
            MessageStoreError, StoreError: see `Attempts`.
        """
        if self._forbidden is not None:
            raise self._forbidden
        unsaved: list[Unsaved] = []
        for entry in self._entries:
            await self._settled(entry, attempts)
            if not (entry.committed or entry.refused):
                await self._try(entry, attempts, certain=True)
            if isinstance(entry.error, MessageForbiddenError):
                raise entry.error
            if not entry.committed and isinstance(entry.error, MessageStoreError):
                unsaved.append(Unsaved(entry.message, entry.error))
        return unsaved

    async def _settled(self, entry: UserMessage, attempts: Attempts) -> None:
        try:
            async with attempts.deadline.limit():
                await entry.settled()
        except TimeoutError as exc:
            raise MessageTimeoutError("append: an earlier message is still being saved", operation="append") from exc

    async def _open(self) -> None:
        attempts = Attempts(self._settings.save_attempt_seconds, retries=False)
        try:
            await self._writer.open(attempts)
        except MessageForbiddenError as exc:
            self._forbidden = exc
        except MessageStoreError:
            return  # whatever is written opens it
        finally:
            self._opened.set()

    async def _commit(self, entry: UserMessage, before: UserMessage | None) -> None:
        attempts = Attempts(self._settings.save_total_seconds)
        self._attempts.append(attempts)
        try:
            await self._opened.wait()
            if before is not None:
                await before.settled()
            if self._forbidden is not None:
                entry.error = self._forbidden
            else:
                await self._try(entry, attempts, certain=False)
        except (MessageStoreError, StoreError, ErasedError) as exc:
            entry.error = exc
        finally:
            entry.tried()

    async def _try(self, entry: UserMessage, attempts: Attempts, *, certain: bool) -> None:
        """Write one message. What its store refuses for good is noted, not raised."""
        try:
            if self._is_results(entry):
                await self._write_results(entry.message, attempts, certain=certain)
            else:
                await self._writer.append(entry.message, attempts, certain=certain)
        except MessageStoreError as exc:
            if exc.retryable:
                raise
            entry.error = exc
        else:
            entry.committed, entry.error = True, None

    def _is_results(self, entry: UserMessage) -> bool:
        return entry.message.role is Role.ASSISTANT and entry.message.message_id == self._message_id

    async def _write_results(self, given: Message, attempts: Attempts, *, certain: bool) -> None:
        """Add what the client brought to the stored message; without one, the reply's own save does it."""
        stored = await self._writer.get(given.message_id, attempts)
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
        await self._writer.append(message, attempts, certain=certain)
