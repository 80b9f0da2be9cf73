"""The steps of `MemoryStore` about sessions and their registrations."""

from __future__ import annotations

from ...values import SessionKey, StreamRef, StreamState
from ..records import NewStream, SessionRecord, Status
from ..registrations import ENDED_UNCOUNTED, Full, Occupied, Registered, StopReply, Withdrawn
from .entries import StreamEntry
from .outbox import OutboxSteps
from .subscribers import Subscribers

__all__ = ["RegistrySteps"]


class RegistrySteps(OutboxSteps):
    """Which streams a session has, and which of them runs."""

    _subscribers: Subscribers

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        now = self._begin()
        known = self._find(new.ref)
        if known is not None:
            return Registered(self._meta(known, now))
        if self._withdrawn.get(new.ref, now):
            return Withdrawn()
        owner, stream_id = new.ref.key.owner, new.ref.stream_id
        found = self._sessions.get(new.ref.key)
        active = None if found is None else found.active
        if active is not None and active.state is StreamState.OPEN:
            return Occupied(self._meta(active, now))
        running = self._running(owner, now)
        of_session = {} if found is None else found.streams
        ended = [one for one in running if one in of_session and of_session[one].state is not StreamState.OPEN]
        others = len(running) - (stream_id in running) - min(len(ended), ENDED_UNCOUNTED)
        if limit is not None and others >= limit:
            return Full()
        session = self._session_entry(new.ref.key)
        session.ordinal += 1
        epoch = self._stamp()
        stream = StreamEntry(new, ordinal=session.ordinal, epoch=epoch, began_us=epoch, ttl_seconds=ttl_seconds)
        stream.lease_until = now + lease_seconds
        stream.stop_requested = self._stops.concern(new.ref.key, now, arrived=now - arrived_seconds)
        if session.last_id != stream_id:  # else it is registered once more, after its record expired
            stream.before = session.last_id, session.last_began_us
        session.active_id = session.last_id = stream_id
        session.last_began_us = stream.began_us
        self._keep(session, stream)
        self._expire_in(stream, ttl_seconds, now)
        running[stream_id] = stream.lease_until
        self._slots[owner] = running
        return Registered(self._meta(stream, now))

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        now = self._begin()
        stream = self._find(ref)
        if stream is not None and not stream.untouched:
            return Status.FENCED
        self._withdrawn.put(ref, True, now + refuse_seconds)
        if stream is None:
            return Status.GONE
        session = self._session_entry(ref.key)
        if session.active_id == ref.stream_id:
            session.active_id = None
        if session.last_id == ref.stream_id:
            session.last_id, session.last_began_us = stream.before
        self._forget(session, stream)
        if session.last_id is None and not session.streams:
            del self._sessions[ref.key]
        await self.release_slot(ref.key.owner, ref.stream_id)
        self._subscribers.tell(stream)
        return Status.OK

    async def release_slot(self, owner: str, stream_id: str) -> None:
        slots = self._slots.get(owner)
        if slots is not None and slots.pop(stream_id, None) is not None and not slots:
            del self._slots[owner]

    async def session(self, key: SessionKey) -> SessionRecord:
        now = self._begin()
        entry = self._sessions.get(key)
        if entry is None:
            return SessionRecord(None, None, None, None)
        active, last = entry.active, entry.last
        return SessionRecord(
            active_id=entry.active_id,
            active=None if active is None else self._meta(active, now),
            last_id=entry.last_id,
            last=None if last is None else self._meta(last, now),
        )

    async def request_stop(self, ref: StreamRef) -> StopReply:
        now = self._begin()
        stream = self._find(ref)
        if stream is None or stream.state is not StreamState.OPEN:
            return StopReply.ENDED
        stream.stop_requested = True
        self._subscribers.tell(stream)
        return StopReply.REQUESTED if stream.lease_until > now else StopReply.EXPIRED

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        now = self._begin()
        session = self._sessions.get(key)
        active = None if session is None else session.active
        if active is not None and active.state is StreamState.OPEN:
            return False
        self._stops.mark(key, now, seconds=seconds, limit=limit)
        return True
