"""The writing role of `MemoryStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from ...values import EventKind, Persisted, QuotaState, StreamRef, StreamState, Usage
from ..appends import AllAppended, AppendReply, AppendRequest, LateDecision, appended, is_last_append
from ..records import NOTHING_CONSUMED, UNTOLD, Close, LostLog, Seal, Status, TakeoverReply
from ..roles.stream_writes import StreamWrites
from ..worker_hints import WorkerHint
from .entries import EVENT_BYTES, StreamEntry
from .subscribers import Subscribers
from .tables import MemoryTables

__all__ = ["MemoryWrites"]

_DATA = EventKind.DATA
_GONE = AppendReply(Status.GONE, 0, False)


class MemoryWrites(StreamWrites):
    """Appends, leases and ends."""

    def __init__(self, tables: MemoryTables, subscribers: Subscribers) -> None:
        self._tables = tables
        self._subscribers = subscribers

    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        with self._tables.lock:
            now = self._tables.begin()
            if self._subscribers.listening:
                return [self._append(item, now) for item in batch]
            others: dict[int, AppendReply] = {}
            for at, item in enumerate(batch):  # nearly always a lone event that follows the last one
                cache, data = item.cache, item.lone
                stream: StreamEntry | None = cache.value if cache.owner is self else None
                if (
                    stream is not None
                    and data is not None
                    and item.within_seconds > 0
                    and stream.add_next(item.epoch, item.first_seq, (_DATA, data))
                ):
                    self._tables.charge(EVENT_BYTES + len(data))
                else:
                    others[at] = self._append(item, now)
            if not others:
                return AllAppended(batch)
            return [others.get(at) or appended(item.first_seq) for at, item in enumerate(batch)]

    def _append(self, item: AppendRequest, now: float) -> AppendReply:
        stream = self._tables.find(item.ref)
        if stream is None:
            return _GONE
        item.cache.value, item.cache.owner = stream, self
        size_bytes, last_seq = stream.size_bytes, stream.last_seq
        status = stream.append(item.epoch, item.first_seq, item.events, late=item.within_seconds <= 0)
        if item.refresh and (status is Status.OK or status is Status.DUPLICATE):
            self._tables.expire_in(stream, stream.ttl_seconds, now)
        if status is Status.OK:
            if last_seq == 0 and item.decided is not None:
                self._tables.decide(stream, item.decided)
            self._tables.charge(stream.size_bytes - size_bytes)
            self._subscribers.tell(stream, after_seq=last_seq, append=True)
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        with self._tables.lock:
            now = self._tables.begin()
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
        stream = self._tables.find(ref)
        if stream is None:
            return _GONE
        if stream.epoch != epoch:
            status = Status.FENCED
        elif stream.state is StreamState.CLOSED:
            status = Status.SEALED
        else:
            status = Status.OK
            self._tables.lease(stream, now + lease_seconds)
            stream.ttl_seconds = ttl_seconds
            if consumed is not None and stream.state is StreamState.OPEN:
                stream.usage = consumed
            self._tables.expire_in(stream, ttl_seconds, now)
            slots = self._tables.slots.get(ref.key.owner)
            if slots is not None and ref.stream_id in slots:
                slots[ref.stream_id] = now + lease_seconds
        return AppendReply(status, stream.last_seq, stream.stop_requested)

    @asynccontextmanager
    async def subscribe_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AsyncIterator[None]:
        with self._subscribers.subscribed_worker(worker, on_hint):
            yield

    async def take_over(
        self,
        ref: StreamRef,
        *,
        lease_seconds: float,
        expected_epoch: int | None = None,
        force: bool = False,
        worker: str = "",
    ) -> TakeoverReply:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
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
                stream.epoch = self._tables.stamp(after=stream.epoch)
                stream.taken = True
                self._tables.lease(stream, now + lease_seconds)
                self._subscribers.tell_worker(stream)
                stream.worker = worker
                self._subscribers.tell(stream)
            return TakeoverReply(status, self._tables.meta_of(stream, now))

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        with self._tables.lock:
            self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None:
                return Status.GONE, None
            status = stream.decide(epoch, seal)
            if status is Status.OK:
                self._subscribers.tell(stream)
            return status, stream.seal

    async def close(self, close: Close) -> AppendReply:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(close.ref)
            if stream is None:
                return _GONE
            size_bytes, last_seq = stream.size_bytes, stream.last_seq
            status = stream.close(close, now)
            if status is Status.OK:
                self._tables.charge(stream.size_bytes - size_bytes)
                self._tables.end(stream, close.retention_seconds, now)
                self._tables.release_slot(close.ref.key.owner, close.ref.stream_id)
                self._subscribers.tell(stream, after_seq=last_seq)
            return AppendReply(status, stream.last_seq, stream.stop_requested)

    async def seal_and_close(
        self, close: Close, seal: Seal, last: AppendRequest | None = None
    ) -> tuple[Status, Seal | None, AppendReply | None]:
        with self._tables.lock:
            # Nothing comes between these steps: none of them waits.
            if last is not None and not self._append_last(close, seal, last):
                return Status.NOT_SEALED, None, None
            return await super().seal_and_close(close, seal)

    def _append_last(self, close: Close, seal: Seal, last: AppendRequest) -> bool:
        """Add the events that come before a seal, unless the stream is closed already. Returns whether to go on."""
        now = self._tables.begin()
        stream = self._tables.find(close.ref)
        if not is_last_append(close, seal, last) or stream is None or stream.epoch != close.epoch:
            return False
        if stream.state is StreamState.CLOSED:
            return True
        return stream.last_seq + 1 == last.first_seq and self._append(last, now).status is Status.OK

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        with self._tables.lock:
            now = self._tables.begin()
            ref = lost.new.ref
            stream = self._tables.find(ref)
            if stream is None:
                heard, erased = self._tables.stamp(), self._tables.erased_at(ref.key, now)
                began = heard - round(lost.new.age_seconds * 1_000_000)
                # An epoch says when it was issued: the stream seems younger than it is if this was long on its way.
                if erased is not None and (erased >= began or erased >= lost.epoch != UNTOLD):
                    return _GONE
                epoch = heard if lost.epoch == UNTOLD else lost.epoch
                stream = StreamEntry(
                    lost.new, ordinal=0, epoch=epoch, began_us=began, ttl_seconds=lost.retention_seconds
                )
                stream.worker = lost.new.worker
                self._tables.add(self._tables.session_entry(ref.key), stream)
            size_bytes, last_seq = stream.size_bytes, stream.last_seq
            status = stream.declare_lost(lost, now)
            if status is Status.OK:
                if last_seq == 0:
                    new = lost.new
                    self._tables.decide(stream, LateDecision(new.protocol, new.client_version, new.message_id))
                self._tables.charge(stream.size_bytes - size_bytes)
                session = self._tables.session_entry(ref.key)
                if session.last is None or session.last_began_us <= stream.began_us:
                    session.last_id, session.last_began_us = ref.stream_id, stream.began_us
                    if lost.terminal is None:
                        session.active_id = ref.stream_id
                if lost.terminal is None:
                    self._tables.lease(stream, stream.lease_until)
                    self._tables.expire_in(stream, max(lost.retention_seconds, stream.expires_at - now), now)
                else:
                    self._tables.end(stream, lost.retention_seconds, now)
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
        with self._tables.lock:
            self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None:
                return Status.GONE
            stream.persisted = persisted or stream.persisted
            stream.quota = quota or stream.quota
            stream.revised = revised or stream.revised
            return Status.OK
