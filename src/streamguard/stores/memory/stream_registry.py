"""The registry role of `MemoryStore`: how streams begin, are stopped and are erased."""

from __future__ import annotations

from itertools import islice

from ...values import SessionKey, StreamRef, StreamState
from ..records import Erasure, NewStream, Status, StreamMeta
from ..registrations import ENDED_UNCOUNTED, Full, Occupied, Registered, StopReply, Withdrawn
from ..roles.stream_registry import StreamRegistry
from .entries import StreamEntry
from .subscribers import Subscribers
from .tables import MemoryTables

__all__ = ["MemoryRegistry"]


class MemoryRegistry(StreamRegistry):
    """Which streams a session has, and which of them runs."""

    def __init__(self, tables: MemoryTables, subscribers: Subscribers) -> None:
        self._tables = tables
        self._subscribers = subscribers

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        with self._tables.lock:
            now = self._tables.begin()
            known = self._tables.find(new.ref)
            if known is not None:
                return Registered(self._tables.meta_of(known, now))
            if self._tables.withdrawn.get(new.ref, now):
                return Withdrawn()
            owner, stream_id = new.ref.key.owner, new.ref.stream_id
            found = self._tables.sessions.get(new.ref.key)
            active = None if found is None else found.active
            if active is not None and active.state is StreamState.OPEN:
                return Occupied(self._tables.meta_of(active, now))
            running = self._tables.running_slots(owner, now)
            of_session = {} if found is None else found.streams
            ended = [one for one in running if one in of_session and of_session[one].state is not StreamState.OPEN]
            others = len(running) - (stream_id in running) - min(len(ended), ENDED_UNCOUNTED)
            if limit is not None and others >= limit:
                return Full()
            session = self._tables.session_entry(new.ref.key)
            session.ordinal += 1
            epoch = self._tables.stamp()
            stream = StreamEntry(new, ordinal=session.ordinal, epoch=epoch, began_us=epoch, ttl_seconds=ttl_seconds)
            stream.lease_until = now + lease_seconds
            stream.worker = new.worker
            stream.stop_requested = self._tables.stops.concern(new.ref.key, now, arrived=now - arrived_seconds)
            if session.last_id != stream_id:  # else it is registered once more, after its record expired
                stream.before = session.last_id, session.last_began_us
            session.active_id = session.last_id = stream_id
            session.last_began_us = stream.began_us
            self._tables.add(session, stream)
            self._tables.expire_in(stream, ttl_seconds, now)
            running[stream_id] = stream.lease_until
            self._tables.slots[owner] = running
            return Registered(self._tables.meta_of(stream, now))

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            if stream is not None and not stream.untouched:
                return Status.FENCED
            self._tables.withdrawn.put(ref, True, now + refuse_seconds)
            self._tables.release_slot(ref.key.owner, ref.stream_id)
            if stream is None:
                return Status.GONE
            session = self._tables.session_entry(ref.key)
            if session.active_id == ref.stream_id:
                session.active_id = None
            if session.last_id == ref.stream_id:
                session.last_id, session.last_began_us = stream.before
            self._tables.forget(session, stream)
            if session.last_id is None and not session.streams:
                del self._tables.sessions[ref.key]
            self._subscribers.tell(stream)
            return Status.OK

    async def release_slot(self, owner: str, stream_id: str) -> None:
        with self._tables.lock:
            self._tables.release_slot(owner, stream_id)

    async def request_stop(self, ref: StreamRef) -> StopReply:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None or stream.state is not StreamState.OPEN:
                return StopReply.ENDED
            stream.stop_requested = True
            self._subscribers.tell_worker(stream)
            self._subscribers.tell(stream)
            return StopReply.REQUESTED if stream.lease_until > now else StopReply.EXPIRED

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        with self._tables.lock:
            now = self._tables.begin()
            session = self._tables.sessions.get(key)
            active = None if session is None else session.active
            if active is not None and active.state is StreamState.OPEN:
                return False
            self._tables.stops.mark(key, now, seconds=seconds, limit=limit)
            return True

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        with self._tables.lock:
            now = self._tables.begin()
            session, own = self._tables.sessions.get(ref.key), self._tables.find(ref)
            if session is None:
                return None
            for stream in reversed(session.writers.get(message_id, [])):
                earlier = own is None or own.ordinal == 0 or stream.ordinal < own.ordinal
                if earlier and stream.ref != ref:
                    return self._tables.meta_of(stream, now)
            return None

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        with self._tables.lock:
            now = self._tables.begin()
            session = self._tables.sessions.get(key)
            if session is None:
                return []
            latest = list(islice((one for one in reversed(session.streams.values()) if one.ordinal > 0), limit))
            if len(latest) < limit:
                unregistered = (one for one in session.streams.values() if one.ordinal == 0)
                by_id = sorted(unregistered, key=lambda one: one.ref.stream_id, reverse=True)
                latest += by_id[: limit - len(latest)]
            return [self._tables.meta_of(stream, now) for stream in latest]

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        with self._tables.lock:
            now = self._tables.begin()
            session = self._tables.sessions.pop(key, None)
            self._tables.stops.forget(key, now)
            lasting = mark_seconds if session is not None or unknown_seconds is None else unknown_seconds
            self._tables.erased.put(key, self._tables.stamp(), max(now + lasting, self._tables.erased.until(key)))
            if session is not None:
                for stream in list(session.streams.values()):
                    self._tables.forget(session, stream)
                    self._tables.drop_outbox_entry(stream.ref)
                    if stream.state is not StreamState.CLOSED:
                        self._subscribers.tell_worker(stream, gone=True)
                    self._subscribers.tell(stream)

    async def erasure(self, key: SessionKey) -> Erasure | None:
        with self._tables.lock:
            erased_us = self._tables.erased_at(key, self._tables.begin())
            if erased_us is None:
                return None
            return Erasure(erased_us / 1_000_000, (self._tables.now_us() - erased_us) / 1_000_000)
