"""The steps of `MemoryStore` that concern work owed for closed streams, and idempotency keys.

An entry says when to look at a stream, its record what is owed: the two may differ, since an entry is written before
its stream is closed and stays when the record expires. Whoever acts on an entry believes the record.
"""

from __future__ import annotations

import heapq

from ...values import Persisted, QuotaState, StreamRef, StreamState
from ..records import OutboxEntry, RequestClaim, Status, StreamMeta
from ..store import StreamStore
from .entries import StreamEntry
from .tables import Tables

__all__ = ["OutboxSteps"]


class OutboxSteps(Tables, StreamStore):
    """What `MemoryStore` does about its outbox."""

    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        due = self._begin() + due_seconds
        if ref not in self._dead:
            self._due[ref] = max(due, self._due.get(ref, due))

    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        now = self._begin()
        for ref in [ref for ref, until in self._dead.items() if until <= now]:
            del self._dead[ref]
        claimed: list[OutboxEntry] = []
        for ref in sorted([ref for ref, due in self._due.items() if due <= now], key=self._due.__getitem__):
            if len(claimed) >= limit:
                break
            stream = self._find(ref)
            if stream is None or (stream.state is StreamState.CLOSED and stream.owed is None):
                del self._due[ref]
                continue
            self._due[ref] = now + claim_seconds
            if stream.owed is not None:
                claimed.append(_owed(stream, stream.owed, claim_seconds))
        return claimed

    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        now = self._begin()
        stream = self._find(ref)
        if stream is None or stream.postpone(reason, count=count) is Status.GONE:
            return Status.GONE
        self._due[ref] = now + due_seconds
        self._expire_in(stream, ttl_seconds, now)
        return Status.OK

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        now = self._begin()
        stream = self._find(ref)
        left = None if stream is None else stream.leave(reason, now)
        if left is not None:
            self._due[ref] = now + due_seconds
        return left

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        now = self._begin()
        stream = self._find(ref)
        if stream is None or stream.bury(reason) is Status.GONE:
            return Status.GONE
        self._due.pop(ref, None)
        self._dead[ref] = now + ttl_seconds
        self._expire_in(stream, ttl_seconds, now)
        self._settle(stream)
        return Status.OK

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        now = self._begin()
        stream = self._find(ref)
        if stream is None or stream.revive(saves=saves) is Status.GONE:
            return Status.GONE
        self._dead.pop(ref, None)
        self._due.setdefault(ref, now)
        self._settle(stream)
        return Status.OK

    async def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        now = self._begin()
        stream = self._find(ref)
        if stream is None:
            return Status.GONE
        stream.persisted = persisted or stream.persisted
        stream.quota = quota or stream.quota
        if stream.state is StreamState.CLOSED:
            self._strike(ref)
            size_bytes = stream.size_bytes
            stream.discharge()
            self._expire_in(stream, retention_seconds, now)
            self._settle(stream)
            self._charge(stream.size_bytes - size_bytes)
        return Status.OK

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        now = self._begin()
        found: list[OutboxEntry] = []
        for ref in heapq.nsmallest(limit, (ref for ref, due in self._due.items() if due <= now), self._due.__getitem__):
            stream = self._find(ref)
            if stream is not None and stream.state is StreamState.CLOSED and stream.owed is not None:
                found.append(_owed(stream, stream.owed, self._due[ref] - now))
        return found

    async def outbox_entries(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[OutboxEntry]:
        now = self._begin()
        found: list[OutboxEntry] = []
        for ref in sorted(self._dead if dead else self._due, key=lambda ref: ref.stream_id):
            stream = self._find(ref)
            if stream is None or stream.owed is None or stream.dead is not dead:
                continue
            if after is None or ref.stream_id > after.stream_id:
                found.append(_owed(stream, stream.owed, 0.0 if dead else self._due[ref] - now))
        return found[:limit]

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        now = self._begin()
        session, own = self._sessions.get(ref.key), self._find(ref)
        if session is None:
            return None
        for stream in reversed(session.writers.get(message_id, [])):
            earlier = own is None or own.ordinal == 0 or stream.ordinal < own.ordinal
            if earlier and stream.ref != ref:
                return self._meta(stream, now)
        return None

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        return self._requests.claim(
            (owner, request_key), claim, self._begin(), ttl_seconds=ttl_seconds, expected=expected
        )

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        return self._requests.release((owner, request_key), claim, self._begin())


def _owed(stream: StreamEntry, payload: bytes, due_seconds: float) -> OutboxEntry:
    return OutboxEntry(stream.ref, payload, stream.attempts, due_seconds, stream.reason, stream.dead)
