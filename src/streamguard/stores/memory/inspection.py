"""The listings of `MemoryStore` for operators."""

from __future__ import annotations

import heapq

from ...values import SessionKey, StreamRef
from ..outbox_pages import OutboxPage, OutboxPlace
from ..records import OutboxEntry, StreamMeta
from ..roles.inspection import Inspection
from .tables import MemoryTables

__all__ = ["MemoryInspection"]


class MemoryInspection(Inspection):
    """Reads the tables."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        now = self._tables.begin()
        first = heapq.nsmallest(limit, self._tables.leased.values(), key=lambda stream: stream.lease_until)
        return [self._tables.meta_of(stream, now) for stream in first]

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        now = self._tables.begin()
        found: list[OutboxEntry] = []
        due = self._tables.due
        for ref in heapq.nsmallest(limit, (ref for ref, at in due.items() if at <= now), due.__getitem__):
            stream = self._tables.find(ref)
            entry = None if stream is None else stream.outbox_entry(due[ref] - now)
            if entry is not None:
                found.append(entry)
        return found

    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        now, begin = self._tables.begin(), OutboxPlace.read(after)
        times = {ref: max(0, round(at * 1000)) for ref, at in (self._tables.dead if dead else self._tables.due).items()}
        there = [ref for ref, at in times.items() if at >= begin.at_ms]
        passed = begin.passed([times[ref] for ref in there])
        waiting = heapq.nsmallest(limit + passed, there, key=lambda ref: (times[ref], ref.stream_id))[passed:]
        entries = []
        for ref in waiting:
            entry = self._entry(ref, dead=dead, now=now)
            if entry is not None:
                entries.append(entry)
        left = max(0, len(there) - passed - len(waiting))
        end = begin.past([times[ref] for ref in waiting])
        return OutboxPage(entries, end.text if left else None, left)

    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        now = self._tables.begin()
        for dead, table in ((True, self._tables.dead), (False, self._tables.due)):
            for ref in table:
                if ref.stream_id == stream_id and key in (None, ref.key):
                    return self._entry(ref, dead=dead, now=now)
        return None

    def _entry(self, ref: StreamRef, *, dead: bool, now: float) -> OutboxEntry | None:
        stream = self._tables.find(ref)
        entry = None if stream is None else stream.outbox_entry(0.0 if dead else self._tables.due[ref] - now)
        return None if entry is None or entry.dead is not dead else entry
