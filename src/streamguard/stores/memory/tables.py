"""What `MemoryStore` keeps, and how it finds, charges and forgets it.

Pure but for the clock it is given: nothing awaits, nobody is told.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

from ...values import SessionKey, StreamRef
from ..records import StreamMeta
from .entries import SessionEntry, StreamEntry
from .expiring import ExpiringTable
from .requests import Requests
from .stops import Stops

__all__ = ["Tables"]

_StreamKey = tuple[str, str, str]
"""Owner, session, stream: hashing it costs a tenth of hashing a `StreamRef`, and appends do it once per event batch."""


class Tables:
    """The records of a `MemoryStore` and the indexes over them."""

    def __init__(self, *, max_bytes: int, clock: Callable[[], float], wall_us: Callable[[], int]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_us = wall_us
        self._stamped_us = 0
        self._bytes = 0
        self._sessions: dict[SessionKey, SessionEntry] = {}
        self._streams: dict[_StreamKey, StreamEntry] = {}
        self._leased: dict[_StreamKey, StreamEntry] = {}
        """Every stream that is not closed."""
        self._finished: dict[_StreamKey, StreamEntry] = {}
        """Every closed stream that owes nothing or was given up, in the order that came to be."""
        self._due: dict[StreamRef, float] = {}
        """The outbox: when each entry is due. What an entry's stream owes stands in its record."""
        self._dead: dict[StreamRef, float] = {}
        """The dead letters, and when their records expire."""
        self._requests = Requests()
        self._stops = Stops()
        self._slots: dict[str, dict[str, float]] = {}
        """Per owner, its running streams and when their slots expire."""
        self._erased: ExpiringTable[SessionKey, int] = ExpiringTable()
        """The erasure marks: per session, the stamp of its erasure."""
        self._withdrawn: ExpiringTable[StreamRef, bool] = ExpiringTable()
        """Registrations that were taken back, which are refused should they arrive only now."""
        self._expiries: list[tuple[float, int, SessionKey, str | None]] = []
        """A heap of when to look at a stream, or a session, again. Renewals don't touch it: an entry that comes up
        early goes back. It holds names, not records, so that a forgotten log is freed at once."""
        self._ticket = count()

    def _begin(self) -> float:
        """Begin a step: forget what expired, so that whatever is found after this lives. Returns the time."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            when, _, key, stream_id = heapq.heappop(self._expiries)
            self._expire(when, key, stream_id, now)
        self._requests.expire(now)
        self._stops.expire(now)
        self._erased.expire(now)
        self._withdrawn.expire(now)
        return now

    def _now_us(self) -> int:
        """The time that stamps are compared with: microseconds since 1970, never earlier than the last stamp."""
        return max(self._stamped_us, self._wall_us())

    def _stamp(self, *, after: int = 0) -> int:
        """The next stamp: what says when streams began and sessions were erased, and what epochs are. The time in
        microseconds, and always later than any before, whatever becomes of the clock."""
        self._stamped_us = max(self._stamped_us + 1, self._wall_us(), after + 1)
        return self._stamped_us

    def _meta(self, stream: StreamEntry, now: float) -> StreamMeta:
        """A stream's record as callers get it."""
        return stream.meta(now, self._now_us())

    def _find(self, ref: StreamRef) -> StreamEntry | None:
        key = ref.key
        return self._streams.get((key.owner, key.session_id, ref.stream_id))

    def _session_entry(self, key: SessionKey) -> SessionEntry:
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = SessionEntry(key)
        return session

    def _running(self, owner: str, now: float) -> dict[str, float]:
        """An owner's slots, those that expired given up."""
        running = {stream_id: until for stream_id, until in self._slots.get(owner, {}).items() if until > now}
        if running:
            self._slots[owner] = running
        else:
            self._slots.pop(owner, None)
        return running

    def _erased_at(self, key: SessionKey, now: float) -> int | None:
        """The stamp of a session's last erasure, while it is marked."""
        return self._erased.get(key, now)

    def _keep(self, session: SessionEntry, stream: StreamEntry) -> None:
        key = _key(stream.ref)
        session.streams[stream.ref.stream_id] = self._streams[key] = self._leased[key] = stream
        if stream.ordinal > 0:
            session.writers.setdefault(stream.new.message_id, []).append(stream)
        self._charge(stream.size_bytes)

    def _forget(self, session: SessionEntry, stream: StreamEntry) -> None:
        key = _key(stream.ref)
        del session.streams[stream.ref.stream_id], self._streams[key]
        writers = session.writers.get(stream.new.message_id, [])
        if stream in writers:
            writers.remove(stream)
            if not writers:
                del session.writers[stream.new.message_id]
        self._leased.pop(key, None)
        self._finished.pop(key, None)
        self._bytes -= stream.size_bytes

    def _end(self, stream: StreamEntry, retention_seconds: float, now: float) -> None:
        """What closing means outside the stream's own record."""
        session = self._session_entry(stream.ref.key)
        if session.active_id == stream.ref.stream_id:
            session.active_id = None
        del self._leased[_key(stream.ref)]
        self._settle(stream)
        self._expire_in(stream, retention_seconds, now)

    def _settle(self, stream: StreamEntry) -> None:
        """Say whether a closed stream may be forgotten when there is no room: not while somebody will work on it."""
        key = _key(stream.ref)
        if not stream.owes or stream.dead:
            self._finished.setdefault(key, stream)
        else:
            self._finished.pop(key, None)

    def _strike(self, ref: StreamRef) -> None:
        """Take a stream out of the outbox."""
        self._due.pop(ref, None)
        self._dead.pop(ref, None)

    def _charge(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        while self._bytes > self._max_bytes and self._finished:
            oldest = next(iter(self._finished.values()))
            self._forget(self._session_entry(oldest.ref.key), oldest)

    def _expire_in(self, stream: StreamEntry, ttl_seconds: float, now: float) -> None:
        """Let the stream expire in `ttl_seconds`, and its session not before it."""
        stream.expires_at = now + ttl_seconds
        session = self._session_entry(stream.ref.key)
        session.expires_at = max(session.expires_at, stream.expires_at)
        self._look_again(stream, session.key, stream.ref.stream_id)
        self._look_again(session, session.key, None)

    def _look_again(self, record: StreamEntry | SessionEntry, key: SessionKey, stream_id: str | None) -> None:
        if record.expires_at < record.looked_at:
            record.looked_at = record.expires_at
            heapq.heappush(self._expiries, (record.looked_at, next(self._ticket), key, stream_id))

    def _expire(self, when: float, key: SessionKey, stream_id: str | None, now: float) -> None:
        """Forget the stream or session whose look is due, if it was not renewed since."""
        session = self._sessions.get(key)
        record = session if session is None or stream_id is None else session.streams.get(stream_id)
        if session is None or record is None or record.looked_at != when:
            return  # Forgotten before, or looked at sooner.
        if record.expires_at > now:
            record.looked_at = math.inf
            self._look_again(record, key, stream_id)
        elif isinstance(record, StreamEntry):
            self._forget(session, record)
        else:
            # Its streams expired no later than it did.
            for stream in list(session.streams.values()):
                self._forget(session, stream)
            del self._sessions[key]


def _key(ref: StreamRef) -> _StreamKey:
    key = ref.key
    return key.owner, key.session_id, ref.stream_id
