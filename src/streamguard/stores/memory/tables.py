"""What `MemoryStore` keeps, and how it finds, charges and forgets it.

Pure but for the clock it is given: nothing awaits, no subscriber is told.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from ...locks import step_lock
from ...values import SessionKey, StreamRef
from ..appends import LateDecision
from ..records import StreamMeta
from .entries import SessionEntry, StreamEntry
from .expiring import ExpiringTable
from .ordered_times import OrderedTimes, StreamTimes
from .standing_claims import StandingClaims
from .stops import Stops

__all__ = ["MemoryTables"]

_StreamKey = tuple[str, str, str]
"""Owner, session, stream: hashing it costs a tenth of hashing a `StreamRef`, and appends do it once per event batch."""


class MemoryTables:
    """The records of a `MemoryStore` and the indexes over them."""

    def __init__(self, *, max_bytes: int, clock: Callable[[], float], wall_us: Callable[[], int]) -> None:
        self.lock: Final = step_lock()
        """Held by each step from its first line to its last: event loops of several threads may share the store. One
        step may be made of others, so the same thread takes it again."""
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_us = wall_us
        self._stamped_us = 0
        self._bytes = 0
        self.sessions: dict[SessionKey, SessionEntry] = {}
        self.streams: dict[_StreamKey, StreamEntry] = {}
        self.leased: OrderedTimes[_StreamKey] = OrderedTimes()
        """Every stream that is not closed, and when its lease ends or ended: see `lease`."""
        self.finished: dict[_StreamKey, StreamEntry] = {}
        """Every closed stream that owes nothing or was given up, in the order that came to be."""
        self.due: StreamTimes = StreamTimes()
        """The outbox: when each entry is due. What an entry's stream owes stands in its record."""
        self.dead: StreamTimes = StreamTimes()
        """The dead letters, and when their records expire."""
        self.claims: StandingClaims = StandingClaims()
        self.stops: Stops = Stops()
        self.slots: dict[str, dict[str, float]] = {}
        """Per owner, its running streams and when their slots expire."""
        self.erased: ExpiringTable[SessionKey, int] = ExpiringTable()
        """The erasure marks: per session, the stamp of its erasure."""
        self.withdrawn: ExpiringTable[StreamRef, bool] = ExpiringTable()
        """Registrations that were taken back, which are refused should they arrive only now."""
        self._expiries: list[tuple[float, int, SessionKey, str | None]] = []
        """A heap of when to look at a stream, or a session, again. Renewals don't touch it: an entry that comes up
        early goes back. It holds names, not records, so that a forgotten log is freed at once."""
        self._ticket = count()

    def begin(self) -> float:
        """Begin a step: forget what expired, so that every record found after this is alive. Returns the time."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            when, _, key, stream_id = heapq.heappop(self._expiries)
            self._expire(when, key, stream_id, now)
        self.claims.expire(now)
        self.stops.expire(now)
        self.erased.expire(now)
        self.withdrawn.expire(now)
        return now

    def now_us(self) -> int:
        """The time that stamps are compared with: microseconds since 1970, never earlier than the last stamp."""
        return max(self._stamped_us, self._wall_us())

    def stamp(self, *, after: int = 0) -> int:
        """The next stamp: what says when streams began and sessions were erased, and what epochs are. The time in
        microseconds, and always later than any before, whatever becomes of the clock."""
        self._stamped_us = max(self._stamped_us + 1, self._wall_us(), after + 1)
        return self._stamped_us

    def meta_of(self, stream: StreamEntry, now: float) -> StreamMeta:
        """A stream's record as callers get it."""
        return stream.meta(now, self.now_us())

    def find(self, ref: StreamRef) -> StreamEntry | None:
        """A stream's record and log."""
        key = ref.key
        return self.streams.get((key.owner, key.session_id, ref.stream_id))

    def session_entry(self, key: SessionKey) -> SessionEntry:
        """A session's pointers, made if need be."""
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = SessionEntry(key)
        return session

    def running_slots(self, owner: str, now: float) -> dict[str, float]:
        """An owner's slots, without those that expired."""
        running = {stream_id: until for stream_id, until in self.slots.get(owner, {}).items() if until > now}
        if running:
            self.slots[owner] = running
        else:
            self.slots.pop(owner, None)
        return running

    def release_slot(self, owner: str, stream_id: str) -> None:
        """Take a stream out of its owner's running ones."""
        slots = self.slots.get(owner)
        if slots is not None and slots.pop(stream_id, None) is not None and not slots:
            del self.slots[owner]

    def erased_at(self, key: SessionKey, now: float) -> int | None:
        """The stamp of a session's last erasure, while it is marked."""
        return self.erased.get(key, now)

    def add(self, session: SessionEntry, stream: StreamEntry) -> None:
        """Add a new stream, and charge for it."""
        key = _key(stream.ref)
        session.streams[stream.ref.stream_id] = self.streams[key] = stream
        self.leased.put(key, stream.lease_until)
        if stream.ordinal > 0:
            session.writers.setdefault(stream.message_id, []).append(stream)
        self.charge(stream.size_bytes)

    def lease(self, stream: StreamEntry, until: float) -> None:
        """Lease a stream that is not closed to its worker until then."""
        stream.lease_until = until
        self.leased.put(_key(stream.ref), until)

    def leased_until(self, until: float = math.inf) -> Iterator[StreamEntry]:
        """The streams whose leases end no later, in that order. Nothing may change meanwhile."""
        return (self.streams[key] for key in self.leased.until(until))

    def decide(self, stream: StreamEntry, decided: LateDecision) -> None:
        """Take in what a stream's first item decided."""
        message_id = decided.message_id
        if message_id != stream.message_id:
            session = self.session_entry(stream.ref.key)
            _unlist(session, stream)
            if stream.ordinal > 0:
                insort(session.writers.setdefault(message_id, []), stream, key=lambda one: one.ordinal)
        stream.decided = decided

    def forget(self, session: SessionEntry, stream: StreamEntry) -> None:
        """Remove a stream. Its outbox entry, if any, stays: it says only when to look."""
        key = _key(stream.ref)
        del session.streams[stream.ref.stream_id], self.streams[key]
        stream.forgotten = True
        _unlist(session, stream)
        self.leased.remove(key)
        self.finished.pop(key, None)
        self._bytes -= stream.size_bytes

    def end(self, stream: StreamEntry, retention_seconds: float, now: float) -> None:
        """Do what closing a stream means outside its own record."""
        session = self.session_entry(stream.ref.key)
        if session.active_id == stream.ref.stream_id:
            session.active_id = None
        self.leased.remove(_key(stream.ref))
        self.update_finished(stream)
        self.expire_in(stream, retention_seconds, now)

    def update_finished(self, stream: StreamEntry) -> None:
        """Note whether a closed stream may be forgotten when memory is full: not while a worker will work on it."""
        key = _key(stream.ref)
        if not stream.owes or stream.dead:
            self.finished.setdefault(key, stream)
        else:
            self.finished.pop(key, None)

    def drop_outbox_entry(self, ref: StreamRef) -> None:
        """Take a stream out of the outbox, due or dead."""
        self.due.remove(ref)
        self.dead.remove(ref)

    def charge(self, size_bytes: int) -> None:
        """Count what logs take, and forget finished streams while that is too much."""
        self._bytes += size_bytes
        while self._bytes > self._max_bytes and self.finished:
            oldest = next(iter(self.finished.values()))
            self.forget(self.session_entry(oldest.ref.key), oldest)

    def expire_in(self, stream: StreamEntry, ttl_seconds: float, now: float) -> None:
        """Make the stream expire in `ttl_seconds`, and its session not before it."""
        stream.expires_at = now + ttl_seconds
        session = self.session_entry(stream.ref.key)
        session.expires_at = max(session.expires_at, stream.expires_at)
        self._look_again(stream, session.key, stream.ref.stream_id)
        self._look_again(session, session.key, None)

    def _look_again(self, record: StreamEntry | SessionEntry, key: SessionKey, stream_id: str | None) -> None:
        if record.expires_at < record.looked_at:
            record.looked_at = record.expires_at
            heapq.heappush(self._expiries, (record.looked_at, next(self._ticket), key, stream_id))

    def _expire(self, when: float, key: SessionKey, stream_id: str | None, now: float) -> None:
        """Forget the stream or session whose look is due, if it was not renewed since."""
        session = self.sessions.get(key)
        record = session if session is None or stream_id is None else session.streams.get(stream_id)
        if session is None or record is None or record.looked_at != when:
            return  # Forgotten before, or looked at sooner.
        if record.expires_at > now:
            record.looked_at = math.inf
            self._look_again(record, key, stream_id)
        elif isinstance(record, StreamEntry):
            self.forget(session, record)
        else:
            # Its streams expired no later than it did.
            for stream in list(session.streams.values()):
                self.forget(session, stream)
            del self.sessions[key]


def _unlist(session: SessionEntry, stream: StreamEntry) -> None:
    """Take a stream out of those that write its message."""
    writers = session.writers.get(stream.message_id, [])
    if stream in writers:
        writers.remove(stream)
        if not writers:
            del session.writers[stream.message_id]


def _key(ref: StreamRef) -> _StreamKey:
    key = ref.key
    return key.owner, key.session_id, ref.stream_id
