"""`MemoryStore`: the stream store of one process, and the executable specification of the contract.

No method awaits anything between its first and last line, so each is one step on the event loop.
What a record's rules are stands in `_records`, where records are kept in `_tables`, the outbox in `_outbox`; this
module has the other steps and tells subscribers.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from zlib import crc32

from ...errors import LogBrokenError
from ...values import Event, Persisted, Position, QuotaState, SessionKey, StreamRef, StreamState, Usage
from ..records import (
    NOTHING_CONSUMED,
    UNTOLD,
    AppendReply,
    AppendRequest,
    Close,
    Erasure,
    Hint,
    LostLog,
    Partition,
    Seal,
    Status,
    StreamMeta,
    TakeoverReply,
)
from .entries import StreamEntry
from .registry import RegistrySteps
from .subscribers import Subscribers

__all__ = ["MemoryStore"]

_GONE = AppendReply(Status.GONE, 0, False)


class MemoryStore(RegistrySteps):
    """Keeps streams in this process's memory.

    Args:
        max_bytes: What all logs together may take, in bytes of payload plus a flat cost per event and stream. Past
            it, the streams that finished first are forgotten; running ones and those with work owed never are. A dead
            letter counts as finished.
        clock: Seconds on any monotonic scale; leases and TTLs are measured on it.
        wall_us: Microseconds since 1970; stamps and epochs are made of it. It may jump.
    """

    shared = False

    def __init__(
        self,
        *,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        super().__init__(max_bytes=max_bytes, clock=clock, wall_us=wall_us)
        self._subscribers = Subscribers()
        self._workers: dict[str, float] = {}
        """Until when each worker counts among those that share the work."""
        self._viewers: dict[str, tuple[float, Mapping[str, int]]] = {}
        """Per worker how many view which stream, and until when that stands."""

    async def start(self) -> list[str]:
        return []

    async def aclose(self) -> None:
        """Nothing to release."""

    async def ping(self) -> None:
        """Memory always answers."""

    # -- the registry ---------------------------------------------------------------------------------------------

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        now = self._begin()
        stream = self._find(ref)
        return None if stream is None else self._meta(stream, now)

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        now = self._begin()
        stream = self._find(ref)
        return (None, at.seq == 0) if stream is None else (self._meta(stream, now), stream.holds(at))

    # -- the log ----------------------------------------------------------------------------------------------------

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        now = self._begin()
        return [self._append(item, now) for item in batch]

    def _append(self, item: AppendRequest, now: float) -> AppendReply:
        stream = self._find(item.ref)
        if stream is None:
            return _GONE
        size_bytes, last_seq = stream.size_bytes, stream.last_seq
        status = stream.append(item.epoch, item.first_seq, item.events, late=item.within_seconds <= 0)
        if item.refresh and (status is Status.OK or status is Status.DUPLICATE):
            self._expire_in(stream, stream.ttl_seconds, now)
        if status is Status.OK:
            self._charge(stream.size_bytes - size_bytes)
            self._subscribers.tell(stream, after_seq=last_seq, append=True)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        self._begin()
        stream = self._find(ref)
        if after.seq != 0 and (stream is None or not stream.holds(after)):
            raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
        found: list[Event] = []
        if stream is None:
            return found
        room = max_bytes
        for index in range(after.seq, stream.last_seq):  # no slice: a replay would copy the rest of the log each time
            kind, data = stream.events[index]
            room -= len(data)
            if room < 0 and found:
                break
            found.append(Event(index + 1, kind, data, stream.epoch_of(index + 1)))
        return found

    @asynccontextmanager
    async def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AsyncIterator[None]:
        with self._subscribers.watching(ref, on_hint, data=data):
            yield

    # -- the writer's claim -----------------------------------------------------------------------------------------

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        now = self._begin()
        return [self._beat(ref, epoch, lease_seconds, ttl_seconds, consumed.get(ref), now) for ref, epoch in claims]

    def _beat(
        self,
        ref: StreamRef,
        epoch: int,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Usage | None,
        now: float,
    ) -> AppendReply:
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
            if consumed is not None and stream.state is StreamState.OPEN:
                stream.usage = consumed
            self._expire_in(stream, ttl_seconds, now)
            slots = self._slots.get(ref.key.owner)
            if slots is not None and ref.stream_id in slots:
                slots[ref.stream_id] = now + lease_seconds
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def take_over(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeoverReply:
        now = self._begin()
        stream = self._find(ref)
        if stream is None:
            return TakeoverReply(Status.GONE, None)
        if stream.state is StreamState.CLOSED:
            status = Status.SEALED
        elif expected_epoch is not None and expected_epoch != stream.epoch:
            status = Status.FENCED
        elif stream.lease_until > now and not force:
            status = Status.LEASED
        else:
            status = Status.OK
            stream.epoch = self._stamp(after=stream.epoch)
            stream.taken = True
            stream.lease_until = now + lease_seconds
            self._subscribers.tell(stream)
        return TakeoverReply(status, self._meta(stream, now))

    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        now = self._begin()
        late = [
            stream
            for stream in self._leased.values()
            if stream.lease_until <= now
            and (partition is None or _place_of(stream.ref, partition.of) == partition.place)
        ]
        return [stream.ref for stream in heapq.nsmallest(limit, late, key=lambda stream: stream.lease_until)]

    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        now = self._begin()
        self._workers[worker] = now + lease_seconds
        self._workers = {name: until for name, until in self._workers.items() if until > now}
        return Partition(sum(name < worker for name in self._workers), max(1, len(self._workers)))

    # -- the end ----------------------------------------------------------------------------------------------------

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        self._begin()
        stream = self._find(ref)
        if stream is None:
            return Status.GONE, None
        status = stream.decide(epoch, seal)
        if status is Status.OK:
            self._subscribers.tell(stream)
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
            await self.release_slot(close.ref.key.owner, close.ref.stream_id)
            self._subscribers.tell(stream, after_seq=last_seq)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        now = self._begin()
        ref = lost.new.ref
        stream = self._find(ref)
        if stream is None:
            heard, erased = self._stamp(), self._erased_at(ref.key, now)
            began = heard - round(lost.new.age_seconds * 1_000_000)
            if erased is not None and erased >= began:
                return _GONE
            epoch = heard if lost.epoch == UNTOLD else lost.epoch
            stream = StreamEntry(lost.new, ordinal=0, epoch=epoch, began_us=began, ttl_seconds=lost.retention_seconds)
            self._keep(self._session_entry(ref.key), stream)
        size_bytes, last_seq = stream.size_bytes, stream.last_seq
        status = stream.lose(lost, now)
        if status is Status.OK:
            self._charge(stream.size_bytes - size_bytes)
            session = self._session_entry(ref.key)
            if session.last is None or session.last_began_us <= stream.began_us:
                session.last_id, session.last_began_us = ref.stream_id, stream.began_us
                if lost.terminal is None:
                    session.active_id = ref.stream_id
            if lost.terminal is None:
                self._expire_in(stream, max(lost.retention_seconds, stream.expires_at - now), now)
            else:
                self._end(stream, lost.retention_seconds, now)
            self._subscribers.tell(stream, after_seq=last_seq)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def update_meta(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        revised: bool = False,
    ) -> Status:
        self._begin()
        stream = self._find(ref)
        if stream is None:
            return Status.GONE
        stream.persisted = persisted or stream.persisted
        stream.quota = quota or stream.quota
        stream.revised = revised or stream.revised
        return Status.OK

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        now = self._begin()
        session = self._sessions.pop(key, None)
        self._stops.forget(key, now)
        lasting = mark_seconds if session is not None or unknown_seconds is None else unknown_seconds
        self._erased.put(key, self._stamp(), max(now + lasting, self._erased.until(key)))
        if session is not None:
            for stream in list(session.streams.values()):
                self._forget(session, stream)
                self._strike(stream.ref)
                self._subscribers.tell(stream)

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        now = self._begin()
        first = heapq.nsmallest(limit, self._leased.values(), key=lambda stream: stream.lease_until)
        return [self._meta(stream, now) for stream in first]

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        now = self._begin()
        session = self._sessions.get(key)
        if session is None:
            return []
        latest = list(islice((one for one in reversed(session.streams.values()) if one.ordinal > 0), limit))
        if len(latest) < limit:
            unregistered = (one for one in session.streams.values() if one.ordinal == 0)
            by_id = sorted(unregistered, key=lambda one: one.ref.stream_id, reverse=True)
            latest += by_id[: limit - len(latest)]
        return [self._meta(stream, now) for stream in latest]

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        now = self._begin()
        self._viewers[worker] = now + seconds if viewers else now, dict(viewers)
        self._viewers = {name: said for name, said in self._viewers.items() if said[0] > now}

    async def viewer_counts(self) -> Mapping[str, int]:
        now = self._begin()
        found: Counter[str] = Counter()
        for until, said in self._viewers.values():
            if until > now:
                found.update(said)
        return dict(found)

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        now = self._begin()
        for ref in refs:
            stream = self._find(ref)
            if stream is not None and stream.state is StreamState.OPEN:
                stream.viewed_at = now

    async def erasure(self, key: SessionKey) -> Erasure | None:
        erased_us = self._erased_at(key, self._begin())
        if erased_us is None:
            return None
        return Erasure(erased_us / 1_000_000, (self._now_us() - erased_us) / 1_000_000)


def _place_of(ref: StreamRef, of: int) -> int:
    """Whose share a stream belongs to; every stream of a session to the same."""
    return crc32(f"{ref.key.owner}\0{ref.key.session_id}".encode("utf-8", "surrogatepass")) % of
