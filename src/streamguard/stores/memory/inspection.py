"""The listings of `MemoryStore` for operators."""

from __future__ import annotations

from itertools import islice

from ...values import SessionKey, StreamRef
from ..outbox_pages import OutboxPage, OutboxPlace
from ..records import OutboxEntry, StreamMeta
from ..roles.inspection import Inspection
from .ordered_times import milliseconds
from .tables import MemoryTables

__all__ = ["MemoryInspection"]


class MemoryInspection(Inspection):
    """Reads the tables."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        with self._tables.lock:
            now = self._tables.begin()
            return [self._tables.meta_of(stream, now) for stream in islice(self._tables.leased_until(), limit)]

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        with self._tables.lock:
            now = self._tables.begin()
            found: list[OutboxEntry] = []
            for ref, at in self._tables.due.slice(0, limit):
                if at > now:
                    break
                stream = self._tables.find(ref)
                entry = None if stream is None else stream.outbox_entry(at - now)
                if entry is not None:
                    found.append(entry)
            return found

    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        with self._tables.lock:
            now, begin = self._tables.begin(), OutboxPlace.read(after)
            times = self._tables.dead if dead else self._tables.due
            same = times.places_of_ms(begin.at_ms)
            first = same.start + min(begin.same, len(same))  # as `OutboxPlace.passed` says it, of very many
            waiting = times.slice(first, limit)
            entries = []
            for ref, _ in waiting:
                entry = self._entry(ref, dead=dead, now=now)
                if entry is not None:
                    entries.append(entry)
            left = max(0, len(times) - first - len(waiting))
            end = begin.past([milliseconds(at) for _, at in waiting])
            return OutboxPage(entries, end.text if left else None, left)

    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        with self._tables.lock:
            now = self._tables.begin()
            for dead, table in ((True, self._tables.dead), (False, self._tables.due)):
                ref = table.named(stream_id) if key is None else StreamRef(key, stream_id)
                if ref is not None and ref in table:
                    return self._entry(ref, dead=dead, now=now)
            return None

    def _entry(self, ref: StreamRef, *, dead: bool, now: float) -> OutboxEntry | None:
        stream = self._tables.find(ref)
        due = now if dead else self._tables.due.time(ref)
        entry = None if stream is None or due is None else stream.outbox_entry(due - now)
        return None if entry is None or entry.dead is not dead else entry
