"""The log role of `MemoryStore`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ...errors import LogBrokenError
from ...values import Event, Position, SessionKey, StreamRef
from ..records import Hint, SessionRecord, StreamMeta
from ..roles.stream_log import READ_EVENTS, StreamLog
from .subscribers import Subscribers
from .tables import MemoryTables

__all__ = ["MemoryLog"]


class MemoryLog(StreamLog):
    """Reads the tables, and subscribes."""

    def __init__(self, tables: MemoryTables, subscribers: Subscribers) -> None:
        self._tables = tables
        self._subscribers = subscribers

    async def session(self, key: SessionKey) -> SessionRecord:
        with self._tables.lock:
            now = self._tables.begin()
            entry = self._tables.sessions.get(key)
            if entry is None:
                return SessionRecord(None, None, None, None)
            active, last = entry.active, entry.last
            return SessionRecord(
                active_id=entry.active_id,
                active=None if active is None else self._tables.meta_of(active, now),
                last_id=entry.last_id,
                last=None if last is None else self._tables.meta_of(last, now),
            )

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            return None if stream is None else self._tables.meta_of(stream, now)

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            return (None, at.seq == 0) if stream is None else (self._tables.meta_of(stream, now), stream.holds(at))

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        with self._tables.lock:
            self._tables.begin()
            stream = self._tables.find(ref)
            if after.seq != 0 and (stream is None or not stream.holds(after)):
                raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
            found: list[Event] = []
            if stream is None:
                return found
            room = max_bytes
            for index in range(
                after.seq, min(stream.last_seq, after.seq + READ_EVENTS)
            ):  # no slice: a replay would copy the rest of the log each time
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
        with self._subscribers.subscribed(ref, on_hint, data=data):
            yield
