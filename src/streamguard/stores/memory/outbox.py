"""The outbox of `MemoryStore`.

An entry says when to look at a stream, its record what is owed: the two may differ, since an entry is written before
its stream is closed and stays when the record expires. A worker believes the record.
"""

from __future__ import annotations

from ...values import Persisted, QuotaState, StreamRef, StreamState
from ..records import OutboxEntry, Status
from ..roles.outbox import Outbox
from .tables import MemoryTables

__all__ = ["MemoryOutbox"]


class MemoryOutbox(Outbox):
    """Entries by stream, and dead letters."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        with self._tables.lock:
            due = self._tables.begin() + due_seconds
            if ref not in self._tables.dead:
                known = self._tables.due.time(ref)
                if known is None or known < due:  # else it keeps its place, on which pages of the outbox count
                    self._tables.due.put(ref, due)

    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        with self._tables.lock:
            now = self._tables.begin()
            due, dead = self._tables.due, self._tables.dead
            while (expired := dead.entry(0, until=now)) is not None:
                dead.remove(expired)
            claimed: list[OutboxEntry] = []
            moved: list[StreamRef] = []
            while len(claimed) < limit and (ref := due.entry(len(moved), until=now)) is not None:
                stream = self._tables.find(ref)
                if stream is None or (stream.state is StreamState.CLOSED and stream.payload is None):
                    due.remove(ref)
                    continue
                moved.append(ref)
                entry = stream.outbox_entry(claim_seconds)
                if entry is not None:
                    claimed.append(entry)
            for ref in moved:
                due.put(ref, now + claim_seconds)
            return claimed

    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None or stream.retry_later(reason, count=count) is Status.GONE:
                return Status.GONE
            self._tables.due.put(ref, now + due_seconds)
            self._tables.expire_in(stream, ttl_seconds, now)
            return Status.OK

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            left = None if stream is None else stream.release_claim(reason, now)
            if left is not None:
                self._tables.due.put(ref, now + due_seconds)
            return left

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None or stream.dead_letter(reason) is Status.GONE:
                return Status.GONE
            self._tables.due.remove(ref)
            self._tables.dead.put(ref, now + ttl_seconds)
            self._tables.expire_in(stream, ttl_seconds, now)
            self._tables.update_finished(stream)
            return Status.OK

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None or stream.requeue(saves=saves) is Status.GONE:
                return Status.GONE
            self._tables.dead.remove(ref)
            if ref not in self._tables.due:
                self._tables.due.put(ref, now)
            self._tables.update_finished(stream)
            return Status.OK

    async def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        with self._tables.lock:
            now = self._tables.begin()
            stream = self._tables.find(ref)
            if stream is None:
                return Status.GONE
            stream.persisted = persisted or stream.persisted
            stream.quota = quota or stream.quota
            if stream.state is StreamState.CLOSED:
                self._tables.drop_outbox_entry(ref)
                size_bytes = stream.size_bytes
                stream.complete()
                self._tables.expire_in(stream, retention_seconds, now)
                self._tables.update_finished(stream)
                self._tables.charge(stream.size_bytes - size_bytes)
            return Status.OK
