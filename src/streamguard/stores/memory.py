"""`MemoryStore`: the stream store of one process, and the executable specification of the contract.

No method awaits anything between its first and last line, so each is one step on the event loop.
What a record's rules are stands in `_records`; this module finds records, lets them expire and tells watchers.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

from ..model import Event, Persisted, QuotaState, SessionKey, StreamRef, StreamState
from ._records import SessionEntry, StreamEntry
from ._watchers import Watchers
from .base import (
    Append,
    AppendReply,
    Close,
    Hint,
    Lost,
    NewStream,
    Occupied,
    Registered,
    Seal,
    SessionRecord,
    Status,
    StopReply,
    StreamMeta,
    StreamStore,
    TakeReply,
)

__all__ = ["MemoryStore"]

_GONE = AppendReply(Status.GONE, 0, False)

_StreamKey = tuple[str, str, str]
"""Owner, session, stream: hashing it costs a tenth of hashing a `StreamRef`, and appends do it once per event batch."""


class MemoryStore(StreamStore):
    """Keeps streams in this process's memory.

    Args:
        max_bytes: What all logs together may take, in bytes of payload plus a flat cost per event and stream. Past
            it, the streams that finished first are forgotten; running streams never are.
        clock: Seconds on any monotonic scale; leases and TTLs are measured on it.
    """

    shared = False

    def __init__(self, *, max_bytes: int = 268_435_456, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._bytes = 0
        self._sessions: dict[SessionKey, SessionEntry] = {}
        self._streams: dict[_StreamKey, StreamEntry] = {}
        self._leased: dict[_StreamKey, StreamEntry] = {}
        """Every stream that is not closed."""
        self._finished: dict[_StreamKey, StreamEntry] = {}
        """Every closed stream, in the order they closed."""
        self._slots: dict[str, dict[str, float]] = {}
        """Per owner, its running streams and when their slots expire."""
        self._erased: dict[SessionKey, tuple[float, float]] = {}
        """Per erased session, the Unix time of its erasure and when the mark expires."""
        self._watchers = Watchers()
        self._expiries: list[tuple[float, int, SessionKey, str | None]] = []
        """A heap of when to look at a stream, or a session, again. Renewals don't touch it: an entry that comes up
        early goes back. It holds names, not records, so that a forgotten log is freed at once."""
        self._ticket = count()

    async def start(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to release."""

    async def ping(self) -> None:
        """Memory always answers."""

    # -- the registry ---------------------------------------------------------------------------------------------

    async def admit(self, owner: str, stream_id: str, *, limit: int, lease_seconds: float) -> bool:
        now = self._begin()
        slots = self._slots.get(owner, {})
        running = {other: until for other, until in slots.items() if until > now}
        admitted = stream_id in running or len(running) < limit
        if admitted:
            running[stream_id] = now + lease_seconds
        if running:
            self._slots[owner] = running
        else:
            self._slots.pop(owner, None)
        return admitted

    async def dismiss(self, owner: str, stream_id: str) -> None:
        slots = self._slots.get(owner)
        if slots is not None and slots.pop(stream_id, None) is not None and not slots:
            del self._slots[owner]

    async def register(self, new: NewStream, *, lease_seconds: float, ttl_seconds: float) -> Registered | Occupied:
        now = self._begin()
        known = self._find(new.ref)
        if known is not None:
            return Registered(known.meta(now))
        session = self._session_entry(new.ref.key)
        active = session.active
        if active is not None and active.state is StreamState.OPEN:
            return Occupied(active.meta(now))
        session.ordinal += 1
        stream = StreamEntry(new, ordinal=session.ordinal, epoch=1, ttl_seconds=ttl_seconds)
        stream.lease_until = now + lease_seconds
        session.active_id = session.last_id = new.ref.stream_id
        session.last_created_at = new.created_at
        self._keep(session, stream)
        self._expire_in(stream, ttl_seconds, now)
        return Registered(stream.meta(now))

    async def session(self, key: SessionKey) -> SessionRecord:
        now = self._begin()
        entry = self._sessions.get(key)
        if entry is None:
            return SessionRecord(None, None, None, None)
        active, last = entry.active, entry.last
        return SessionRecord(
            active_id=entry.active_id,
            active=None if active is None else active.meta(now),
            last_id=entry.last_id,
            last=None if last is None else last.meta(now),
        )

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        now = self._begin()
        stream = self._find(ref)
        return None if stream is None else stream.meta(now)

    # -- the log ----------------------------------------------------------------------------------------------------

    async def append(self, batch: Sequence[Append]) -> list[AppendReply]:
        now = self._begin()
        return [self._append(item, now) for item in batch]

    def _append(self, item: Append, now: float) -> AppendReply:
        stream = self._find(item.ref)
        if stream is None:
            return _GONE
        size_bytes, last_seq = stream.size_bytes, stream.last_seq
        status = stream.append(item.epoch, item.first_seq, item.events)
        if item.refresh and (status is Status.OK or status is Status.DUPLICATE):
            self._expire_in(stream, stream.ttl_seconds, now)
        if status is Status.OK:
            self._charge(stream.size_bytes - size_bytes)
            self._watchers.tell(stream, after_seq=last_seq, append=True)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def read(self, ref: StreamRef, after_seq: int, *, max_bytes: int) -> list[Event]:
        self._begin()
        stream = self._find(ref)
        if stream is None:
            return []
        found: list[Event] = []
        room = max_bytes
        start = max(after_seq, 0)
        for index in range(start, stream.last_seq):  # not a slice: a replay would copy the rest of the log each time
            kind, data = stream.events[index]
            room -= len(data)
            if room < 0 and found:
                break
            found.append(Event(index + 1, kind, data))
        return found

    @asynccontextmanager
    async def watch(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True) -> AsyncIterator[None]:
        with self._watchers.watching(ref, on_hint, data=data):
            yield

    # -- the writer's claim -----------------------------------------------------------------------------------------

    async def heartbeat(
        self, claims: Sequence[tuple[StreamRef, int]], *, lease_seconds: float, ttl_seconds: float
    ) -> list[AppendReply]:
        now = self._begin()
        return [self._beat(ref, epoch, lease_seconds, ttl_seconds, now) for ref, epoch in claims]

    def _beat(self, ref: StreamRef, epoch: int, lease_seconds: float, ttl_seconds: float, now: float) -> AppendReply:
        stream = self._find(ref)
        if stream is None:
            return _GONE
        if stream.epoch != epoch:
            status = Status.FENCED
        elif stream.state is StreamState.CLOSED:
            status = Status.SEALED
        else:
            status = Status.OK
            stream.lease_until = now + lease_seconds
            stream.ttl_seconds = ttl_seconds
            self._expire_in(stream, ttl_seconds, now)
            slots = self._slots.get(ref.key.owner)
            if slots is not None and ref.stream_id in slots:
                slots[ref.stream_id] = now + lease_seconds
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def take(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeReply:
        now = self._begin()
        stream = self._find(ref)
        if stream is None:
            return TakeReply(Status.GONE, None)
        if stream.state is StreamState.CLOSED:
            status = Status.SEALED
        elif expected_epoch is not None and expected_epoch != stream.epoch:
            status = Status.FENCED
        elif stream.lease_until > now and not force:
            status = Status.LEASED
        else:
            status = Status.OK
            stream.epoch += 1
            stream.lease_until = now + lease_seconds
            self._watchers.tell(stream)
        return TakeReply(status, stream.meta(now))

    async def request_stop(self, ref: StreamRef) -> StopReply:
        now = self._begin()
        stream = self._find(ref)
        if stream is None or stream.state is not StreamState.OPEN:
            return StopReply.ENDED
        stream.stop_requested = True
        self._watchers.tell(stream)
        return StopReply.REQUESTED if stream.lease_until > now else StopReply.EXPIRED

    async def due(self, *, limit: int) -> list[StreamRef]:
        now = self._begin()
        late = [stream for stream in self._leased.values() if stream.lease_until <= now]
        return [stream.ref for stream in heapq.nsmallest(limit, late, key=lambda stream: stream.lease_until)]

    # -- the end ----------------------------------------------------------------------------------------------------

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        self._begin()
        stream = self._find(ref)
        if stream is None:
            return Status.GONE, None
        status = stream.decide(epoch, seal)
        if status is Status.OK:
            self._watchers.tell(stream)
        return status, stream.seal

    async def close(self, close: Close) -> AppendReply:
        now = self._begin()
        stream = self._find(close.ref)
        if stream is None:
            return _GONE
        size_bytes, last_seq = stream.size_bytes, stream.last_seq
        status = stream.close(close, now)
        if status is Status.OK:
            self._charge(stream.size_bytes - size_bytes)
            self._end(stream, close.retention_seconds, now)
            self._watchers.tell(stream, after_seq=last_seq)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def lose(self, lost: Lost) -> AppendReply:
        now = self._begin()
        ref = lost.new.ref
        stream = self._find(ref)
        if stream is None:
            if self._erased_since(ref.key, lost.new.created_at, now):
                return _GONE
            stream = StreamEntry(lost.new, ordinal=0, epoch=lost.epoch, ttl_seconds=lost.retention_seconds)
            self._keep(self._session_entry(ref.key), stream)
        size_bytes, last_seq = stream.size_bytes, stream.last_seq
        status = stream.lose(lost, now)
        if status is Status.OK:
            self._charge(stream.size_bytes - size_bytes)
            session = self._session_entry(ref.key)
            if session.last is None or session.last_created_at <= lost.new.created_at:
                session.last_id, session.last_created_at = ref.stream_id, lost.new.created_at
                if lost.terminal is None:
                    session.active_id = ref.stream_id
            if lost.terminal is None:
                self._expire_in(stream, max(lost.retention_seconds, stream.expires_at - now), now)
            else:
                self._end(stream, lost.retention_seconds, now)
            self._watchers.tell(stream, after_seq=last_seq)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def mark(
        self, ref: StreamRef, *, persisted: Persisted | None = None, quota: QuotaState | None = None
    ) -> Status:
        self._begin()
        stream = self._find(ref)
        if stream is None:
            return Status.GONE
        stream.persisted = persisted or stream.persisted
        stream.quota = quota or stream.quota
        return Status.OK

    async def erase(self, key: SessionKey, *, mark_seconds: float) -> None:
        now = self._begin()
        while self._erased:
            oldest = next(iter(self._erased))
            if self._erased[oldest][1] > now:
                break
            del self._erased[oldest]
        self._erased.pop(key, None)
        self._erased[key] = (time.time(), now + mark_seconds)
        session = self._sessions.pop(key, None)
        if session is not None:
            for stream in list(session.streams.values()):
                self._forget(session, stream)
                self._watchers.tell(stream)

    # -- records: finding, keeping, forgetting ------------------------------------------------------------------------

    def _begin(self) -> float:
        """Begin a step: forget what expired, so that whatever is found after this lives. Returns the time."""
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            when, _, key, stream_id = heapq.heappop(self._expiries)
            self._expire(when, key, stream_id, now)
        return now

    def _find(self, ref: StreamRef) -> StreamEntry | None:
        key = ref.key
        return self._streams.get((key.owner, key.session_id, ref.stream_id))

    def _session_entry(self, key: SessionKey) -> SessionEntry:
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = SessionEntry(key)
        return session

    def _erased_since(self, key: SessionKey, created_at: float, now: float) -> bool:
        erased_at, until = self._erased.get(key, (-math.inf, -math.inf))
        return until > now and erased_at >= created_at

    def _keep(self, session: SessionEntry, stream: StreamEntry) -> None:
        key = _key(stream.ref)
        session.streams[stream.ref.stream_id] = self._streams[key] = self._leased[key] = stream
        self._charge(stream.size_bytes)

    def _forget(self, session: SessionEntry, stream: StreamEntry) -> None:
        key = _key(stream.ref)
        del session.streams[stream.ref.stream_id], self._streams[key]
        self._leased.pop(key, None)
        self._finished.pop(key, None)
        self._bytes -= stream.size_bytes

    def _end(self, stream: StreamEntry, retention_seconds: float, now: float) -> None:
        """What closing means outside the stream's own record."""
        session = self._session_entry(stream.ref.key)
        if session.active_id == stream.ref.stream_id:
            session.active_id = None
        key = _key(stream.ref)
        self._finished[key] = self._leased.pop(key)
        self._expire_in(stream, retention_seconds, now)

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
