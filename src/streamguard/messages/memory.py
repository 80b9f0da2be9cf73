"""`MemoryMessageStore`: the message store of one process, and the executable specification of the contract.

No method awaits anything between its first and last line, so each is one step on the event loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import ConfigurationError, MessageNotFoundError, MessageUnavailableError
from ..model import SessionKey
from ..offloading import offloaded
from ..wire.large_json import LARGE
from .base import Appended, Message, MessageStatus, MessageStore, StoredMessage
from .content import Clash, check_ids, check_limit, conflict, decode_content, encoded

__all__ = ["MemoryMessageStore"]

_FLAT_BYTES: Final = 1024
"""What a session, or a message besides its content, takes in entries, ids and digests, rounded up."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One message."""

    message_id: str
    position: int
    content: bytes
    """What its last writer wrote. Bytes, so that nobody who was given the message can change it."""
    status: MessageStatus
    writers: list[tuple[str | None, str]]
    """Every stream that wrote it, oldest first, with the digest of what it wrote; None for no stream."""
    created_at: float
    updated_at: float

    def copy(self) -> _Entry:
        """As it stands: others may write it while it is read in a thread."""
        return replace(self, writers=list(self.writers))

    def stored(self) -> StoredMessage:
        return StoredMessage(
            message=decode_content(self.message_id, self.content),
            position=self.position,
            status=self.status,
            streams=tuple(stream_id for stream_id, _ in self.writers if stream_id is not None),
            created_at=self.created_at,
            updated_at=self.updated_at,
        )


@dataclass(slots=True, eq=False)
class _Session:
    """One session. Message `n` is `entries[n - 1]`."""

    expires_at: float = math.inf
    entries: list[_Entry] = field(default_factory=list)
    by_id: dict[str, _Entry] = field(default_factory=dict)
    size_bytes: int = _FLAT_BYTES


class MemoryMessageStore(MessageStore):
    """Keeps messages in this process's memory: for development, tests and throw-away chats.

    Args:
        ttl_seconds: How long a session lives after the last write to it, in seconds; None for as long as the process.
        max_bytes: What all sessions together may take, in bytes of content plus a flat cost per session and message.
            Past it, writes raise `MessageUnavailableError`: a message that was accepted is never forgotten for
            another.
        clock: Unix time in seconds; for tests.

    Raises:
        ConfigurationError: `ttl_seconds` is not positive.
    """

    may_forbid: bool = False

    def __init__(
        self,
        *,
        ttl_seconds: float | None = None,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if ttl_seconds is not None and not ttl_seconds > 0:
            raise ConfigurationError("ttl_seconds is a positive number of seconds, or None")
        self._ttl_seconds = math.inf if ttl_seconds is None else ttl_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._bytes = 0
        self._sessions: dict[SessionKey, _Session] = {}
        """In the order of their last writes, and so of their ends."""

    async def open_session(self, key: SessionKey) -> bool:
        check_ids("open_session", key)
        now = self._begin()
        session = self._sessions.get(key)
        if session is not None:
            self._renew(key, session, now)
            return False
        self._claim("open_session", _FLAT_BYTES)
        self._renew(key, _Session(), now)
        return True

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        content, digest = await encoded("append", message)
        now = self._begin()
        session = self._sessions.get(key)
        if session is None:
            raise MessageNotFoundError("append: there is no such session; open it first", operation="append")
        entry = session.by_id.get(message.message_id)
        writer = (message.stream_id, digest)
        if entry is None:
            if message.continues is not None:
                raise conflict(Clash.ABSENT)
            self._grow(session, _FLAT_BYTES + len(content))
            position = len(session.entries) + 1
            entry = _Entry(message.message_id, position, content, message.status, [writer], now, now)
            session.entries.append(entry)
            session.by_id[message.message_id] = entry
            answer = Appended.CREATED
        elif message.stream_id in dict(entry.writers):
            if writer not in entry.writers:
                raise conflict(Clash.DIFFERS)
            answer = Appended.DUPLICATE
        elif message.continues is None or message.continues != entry.writers[-1][0]:
            raise conflict(Clash.TAKEN)
        else:
            self._grow(session, len(content) - len(entry.content))
            entry.writers.append(writer)
            entry.content, entry.status, entry.updated_at = content, message.status, now
            answer = Appended.CONTINUED
        self._renew(key, session, now)
        return answer

    async def get(self, key: SessionKey, message_id: str) -> StoredMessage:
        check_ids("get", key, message_id)
        self._begin()
        entry = self._entry("get", key, message_id).copy()
        return await offloaded(entry.stored, large=len(entry.content) >= LARGE)

    async def list(self, key: SessionKey, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        check_ids("list", key)
        check_limit(limit)
        self._begin()
        session = self._sessions.get(key)
        if session is None:
            return []
        start = max(after, 0)
        entries = [entry.copy() for entry in session.entries[start : start + limit]]
        large = sum(len(entry.content) for entry in entries) >= LARGE
        return await offloaded(lambda: [entry.stored() for entry in entries], large=large)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        check_ids("last", key)
        self._begin()
        session = self._sessions.get(key)
        if session is None or not session.entries:
            return None
        entry = session.entries[-1].copy()
        return await offloaded(entry.stored, large=len(entry.content) >= LARGE)

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        now = self._begin()
        entry = self._entry("mark", key, message_id)
        entry.status, entry.updated_at = status, now
        self._renew(key, self._sessions[key], now)

    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        self._begin()
        self._forget(key)

    def _begin(self) -> float:
        """The time, after sessions that ended by then are forgotten."""
        now = self._clock()
        while self._sessions and (first := next(iter(self._sessions.items())))[1].expires_at <= now:
            self._forget(first[0])
        return now

    def _entry(self, operation: str, key: SessionKey, message_id: str) -> _Entry:
        session = self._sessions.get(key)
        entry = None if session is None else session.by_id.get(message_id)
        if entry is None:
            raise MessageNotFoundError(f"{operation}: there is no such message", operation=operation)
        return entry

    def _renew(self, key: SessionKey, session: _Session, now: float) -> None:
        session.expires_at = now + self._ttl_seconds
        self._sessions.pop(key, None)
        self._sessions[key] = session

    def _forget(self, key: SessionKey) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            self._bytes -= session.size_bytes

    def _grow(self, session: _Session, size_bytes: int) -> None:
        self._claim("append", size_bytes)
        session.size_bytes += size_bytes

    def _claim(self, operation: str, size_bytes: int) -> None:
        if size_bytes > 0 and self._bytes + size_bytes > self._max_bytes:
            raise MessageUnavailableError(
                f"{operation}: this store is full (max_bytes={self._max_bytes})", operation=operation
            )
        self._bytes += size_bytes
