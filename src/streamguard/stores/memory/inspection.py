"""The listings of `MemoryStore` for operators."""

from __future__ import annotations

import heapq

from ...values import StreamRef
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

    async def outbox_entries(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[OutboxEntry]:
        now = self._tables.begin()
        found: list[OutboxEntry] = []
        for ref in sorted(self._tables.dead if dead else self._tables.due, key=lambda ref: ref.stream_id):
            stream = self._tables.find(ref)
            entry = None if stream is None else stream.outbox_entry(0.0 if dead else self._tables.due[ref] - now)
            if entry is None or entry.dead is not dead:
                continue
            if after is None or ref.stream_id > after.stream_id:
                found.append(entry)
        return found[:limit]
