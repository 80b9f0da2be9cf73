"""The listings of `MemoryStore` for operators."""

from __future__ import annotations

import heapq
from itertools import islice

from ...values import SessionKey
from ..records import StreamMeta
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

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
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
