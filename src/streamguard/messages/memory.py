"""`MemoryMessageStore`: the message store of one process, and the executable specification of the contract.

What reads or writes sessions is done without an await and under one lock, so it is one step for all event loops that
share a store. Encoding comes before it, decoding after it: both may take a while, and are done in a thread then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from ..durations import check_duration
from ..errors import ConfigurationError, MessageNotFoundError, MessageUnavailableError
from ..locks import step_lock
from ..offloading import offloaded
from ..values import SessionKey
from ..wire.large_json import LARGE
from .branches import (
    Superseding,
    Version,
    addressed,
    appended_with,
    continues,
    cut_of,
    places,
    request_of,
    superseded_late,
    version_of,
)
from .content import check_ids, check_limit, check_superseding, decode_content, encoded
from .records import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded
from .store import MessageStore

__all__ = ["MemoryMessageStore"]

_FLAT_BYTES: Final = 1024
"""The memory that a session takes, or a message in addition to its content, in entries, ids and digests; rounded up."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A message to be written."""

    message: Message
    content: bytes = field(repr=False)
    digest: str


@dataclass(slots=True, eq=False)
class _Entry(Version):
    """One version of a message."""

    content: bytes = field(repr=False)
    """What its last writer wrote. Bytes, so that a caller cannot change what is stored."""
    status: MessageStatus
    created_at: float
    updated_at: float

    def copy(self) -> _Entry:
        """A copy of its present state: other calls may write it while it is read in a thread."""
        return replace(self, writers=list(self.writers))

    def stored(self) -> StoredMessage:
        return StoredMessage(
            message=replace(decode_content(self.message_id, self.content), branch=self.branch),
            position=self.position,
            status=self.status,
            streams=tuple(stream_id for stream_id, _ in self.writers if stream_id is not None),
            created_at=self.created_at,
            updated_at=self.updated_at,
            superseded=self.superseded,
        )


@dataclass(slots=True, eq=False)
class _Session:
    """One session. The message at position `n` is `entries[n - 1]`."""

    expires_at: float = math.inf
    entries: list[_Entry] = field(default_factory=list)
    versions: dict[str, list[_Entry]] = field(default_factory=dict)
    """Per message id, by position. At most one is visible."""
    supersedings: dict[str, Superseding] = field(default_factory=dict)
    """By the stream that asked, oldest first. The superseding at index `n - 1` made branch `n`."""
    size_bytes: int = _FLAT_BYTES

    @property
    def branch(self) -> int:
        return len(self.supersedings)

    def visible(self, message_id: str) -> _Entry | None:
        return next((entry for entry in self.versions.get(message_id, ()) if entry.superseded is None), None)

    def add(self, draft: _Draft, now: float, *, branch: int, superseded: int | None) -> None:
        message = draft.message
        entry = _Entry(
            message_id=message.message_id,
            position=len(self.entries) + 1,
            branch=branch,
            superseded=superseded,
            replies_to=message.replies_to,
            writers=[(message.stream_id, draft.digest)],
            content=draft.content,
            status=message.status,
            created_at=now,
            updated_at=now,
        )
        self.entries.append(entry)
        self.versions.setdefault(message.message_id, []).append(entry)


class MemoryMessageStore(MessageStore):
    """Keeps messages in this process's memory: for development, tests and throw-away chats. Event loops of several
    threads may share a store.

    Args:
        ttl_seconds: How long a session lives after the last write to it, in seconds; None for as long as the process.
        max_bytes: What all sessions together may take, in bytes of content plus a flat cost per session and message.
            Past it, writes raise `MessageUnavailableError`: a message that was accepted is never forgotten for
            another.
        clock: Unix time in seconds; for tests.

    Raises:
        ConfigurationError: a number is not positive, or the time over a hundred years.
    """

    may_forbid: bool = False

    def __init__(
        self,
        *,
        ttl_seconds: float | None = None,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_duration("ttl_seconds", ttl_seconds, or_none=True)
        size: object = max_bytes
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigurationError(f"max_bytes is a positive number of bytes, not {max_bytes!r}")
        self._ttl_seconds = math.inf if ttl_seconds is None else ttl_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = step_lock()
        """Held by each step."""
        self._bytes = 0
        self._sessions: dict[SessionKey, _Session] = {}
        """In the order of their last writes, which is the order in which they end."""

    async def open_session(self, key: SessionKey) -> Opened:
        check_ids("open_session", key)
        with self._lock:
            now = self._begin()
            session = self._sessions.get(key)
            if session is not None:
                self._renew(key, session, now)
                return Opened(created=False, branch=session.branch)
            self._claim("open_session", _FLAT_BYTES)
            self._renew(key, _Session(), now)
            return Opened(created=True, branch=0)

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        draft = _Draft(message, *await encoded("append", message))
        with self._lock:
            now = self._begin()
            session = self._session("append", key)
            answer = self._append(session, draft, now)
            self._renew(key, session, now)
            return answer

    def _append(self, session: _Session, draft: _Draft, now: float) -> Appended:
        message = draft.message
        branch = session.branch if message.branch is None else min(message.branch, session.branch)
        versions = session.versions.get(message.message_id, [])
        entry = version_of(message, branch, versions)
        if entry is None:
            superseded = self._superseded(session, message, branch)
            entry = next((one for one in versions if one.superseded == superseded), None)
            if entry is None:
                self._grow("append", session, _FLAT_BYTES + len(draft.content))
                session.add(draft, now, branch=branch, superseded=superseded)
                return Appended.CREATED if superseded is None else Appended.SUPERSEDED
        answer = Appended.DUPLICATE
        if continues(message, draft.digest, entry):
            self._grow("append", session, len(draft.content) - len(entry.content))
            entry.writers.append((message.stream_id, draft.digest))
            entry.content, entry.status, entry.updated_at = draft.content, message.status, now
            entry.replies_to = message.replies_to
            answer = Appended.CONTINUED
        return answer if entry.superseded is None else Appended.SUPERSEDED

    def _superseded(self, session: _Session, message: Message, branch: int) -> int | None:
        """The superseding that hides a message which is created in `branch`; None for a visible one."""
        versions = () if message.replies_to is None else session.versions.get(message.replies_to, ())
        later = islice(session.supersedings.values(), branch, None)
        return superseded_late(message.message_id, branch, addressed(versions, branch), later)

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        check_superseding(key, by, start, after, message)
        draft = None if message is None else _Draft(message, *await encoded("supersede", message))
        request = request_of(start, after, message, None if draft is None else draft.digest)
        with self._lock:
            now = self._begin()
            session = self._session("supersede", key)
            if by not in session.supersedings:
                self._supersede(session, by, start, after, draft, request, now)
            answer = session.supersedings[by].answer(request)
            self._renew(key, session, now)
            return answer

    def _supersede(
        self,
        session: _Session,
        by: str,
        start: str | None,
        after: str | None,
        draft: _Draft | None,
        request: str,
        now: float,
    ) -> None:
        shown = [entry for entry in session.entries if entry.superseded is None]
        standing = list(zip(places(shown), shown, strict=True))
        cut = cut_of(standing, start, after, known=session.versions)
        hidden = [entry for place, entry in standing if place > cut]
        appended, size_bytes = None, _FLAT_BYTES
        if draft is not None:
            there = session.visible(draft.message.message_id)
            staying = None if there is None or there in hidden else there
            appended = appended_with(draft.message, draft.digest, staying)
            size_bytes += 0 if staying is not None else _FLAT_BYTES + len(draft.content)
        self._grow("supersede", session, size_bytes)
        # Nothing is refused from here on.
        branch = session.branch + 1
        for entry in hidden:
            entry.superseded = branch
        session.supersedings[by] = Superseding(branch, start, after, request, cut, len(hidden), appended)
        if draft is not None and appended is Appended.CREATED:
            session.add(draft, now, branch=branch, superseded=None)

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key, message_id)
        with self._lock:
            self._begin()
            entry = self._entry("get", key, message_id, branches=branches).copy()
        return await offloaded(entry.stored, large=len(entry.content) >= LARGE)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        check_ids("list", key)
        check_limit(limit)
        with self._lock:
            self._begin()
            session = self._sessions.get(key)
            if session is None:
                return []
            past = islice(session.entries, max(after, 0), None)
            found = (entry for entry in past if branches or entry.superseded is None)
            entries = [entry.copy() for entry in islice(found, limit)]
        large = sum(len(entry.content) for entry in entries) >= LARGE
        return await offloaded(lambda: [entry.stored() for entry in entries], large=large)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        check_ids("last", key)
        with self._lock:
            self._begin()
            session = self._sessions.get(key)
            shown = () if session is None else (one for one in reversed(session.entries) if one.superseded is None)
            found = next(iter(shown), None)
            if found is None:
                return None
            entry = found.copy()
        return await offloaded(entry.stored, large=len(entry.content) >= LARGE)

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        with self._lock:
            now = self._begin()
            entry = self._entry("mark", key, message_id)
            entry.status, entry.updated_at = status, now
            self._renew(key, self._sessions[key], now)

    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        with self._lock:
            self._begin()
            self._forget(key)

    def _begin(self) -> float:
        """The present time. Forgets the sessions that have ended by then."""
        now = self._clock()
        while self._sessions and (first := next(iter(self._sessions.items())))[1].expires_at <= now:
            self._forget(first[0])
        return now

    def _entry(self, operation: str, key: SessionKey, message_id: str, *, branches: bool = False) -> _Entry:
        session = self._sessions.get(key)
        entry = None if session is None else session.visible(message_id)
        if entry is None and session is not None and branches:
            entry = next(reversed(session.versions.get(message_id, [])), None)
        if entry is None:
            raise MessageNotFoundError(f"{operation}: there is no such message", operation=operation)
        return entry

    def _session(self, operation: str, key: SessionKey) -> _Session:
        session = self._sessions.get(key)
        if session is None:
            raise MessageNotFoundError(f"{operation}: there is no such session; open it first", operation=operation)
        return session

    def _renew(self, key: SessionKey, session: _Session, now: float) -> None:
        session.expires_at = now + self._ttl_seconds
        self._sessions.pop(key, None)
        self._sessions[key] = session

    def _forget(self, key: SessionKey) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            self._bytes -= session.size_bytes

    def _grow(self, operation: str, session: _Session, size_bytes: int) -> None:
        self._claim(operation, size_bytes)
        session.size_bytes += size_bytes

    def _claim(self, operation: str, size_bytes: int) -> None:
        if size_bytes > 0 and self._bytes + size_bytes > self._max_bytes:
            raise MessageUnavailableError(
                f"{operation}: this store is full (max_bytes={self._max_bytes})", operation=operation
            )
        self._bytes += size_bytes
