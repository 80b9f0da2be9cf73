"""The steps of `RedisStore` that concern work owed for closed streams, and idempotency keys."""

from __future__ import annotations

from ...errors import StoreCorruptError, StoreFormatError
from ...values import Persisted, QuotaState, SessionKey, StreamRef
from ..records import Erasure, OutboxEntry, RequestClaim, Status, StreamMeta
from .calls import ClaimRequest, PreviousStream, ReadErasure, ReleaseRequest
from .codec import decode_erasure, decode_meta, decode_text, mutable_fields
from .index_calls import Complete, DeadLetter, ReleaseClaim, Requeue, RetryLater
from .keys import StoredStreamKeys
from .lease_index import milliseconds
from .namespace import Steps
from .outbox_index import OutboxIndex
from .request_claims import decode_claim, encode_claim

__all__ = ["OutboxSteps"]


class OutboxSteps(Steps):
    """What `RedisStore` does about its outbox."""

    _outbox: OutboxIndex

    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        await self._ask("enqueue", self._outbox.later(ref, due_seconds))

    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        return await self._outbox.claim(limit, claim_seconds)

    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        later = RetryLater(**self._closed(ref), ttl_ms=milliseconds(ttl_seconds), reason=reason, counts=count)
        status = self._status(await self._call("retry_later", later), ref, "retry_later")
        # After the record: should this be lost, the entry comes up when its claim ends.
        if status is Status.OK:
            await self._ask("retry_later", self._outbox.due(ref, due_seconds, ttl_seconds))
        return status

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        left = await self._call("release_claim", ReleaseClaim(meta_key=self._keys.stream(ref).meta, reason=reason))
        if self._status(left.status, ref, "release_claim") is not Status.OK:
            return None
        await self._ask("release_claim", self._outbox.due(ref, due_seconds, due_seconds))
        return left.left_ms / 1000

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        burying = DeadLetter(**self._closed(ref), ttl_ms=milliseconds(ttl_seconds), reason=reason)
        try:
            status = self._status(await self._call("dead_letter", burying), ref, "dead_letter")
        except StoreFormatError:
            raise
        except StoreCorruptError:  # the entry alone says then that it is dead
            status = Status.OK
        # After the record: should this be lost, whoever claims the entry sees that it is dead.
        if status is Status.OK:
            await self._ask("dead_letter", self._outbox.dead(ref, ttl_seconds))
        return status

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        answer = await self._call("requeue", Requeue(meta_key=self._keys.stream(ref).meta, saves=saves))
        status = self._status(answer, ref, "requeue")
        # After the record: should this be lost, the entry is still listed as dead, and can be revived again.
        if status in (Status.OK, Status.DUPLICATE):
            await self._ask("requeue", self._outbox.alive(ref, moved=status is Status.OK))
            return Status.OK
        return status

    async def complete(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        retention_seconds: float,
    ) -> Status:
        completing = Complete(
            **self._closed(ref), retention_ms=milliseconds(retention_seconds), fields=mutable_fields(persisted, quota)
        )
        try:
            completed = await self._call("complete", completing)
        except StoreCorruptError:  # what cannot be read owes nothing that anybody could do
            self._outbox.forget(ref)
            return Status.OK
        status = self._status(completed.status, ref, "complete")
        if completed.closed == 1:
            self._outbox.forget(ref)
        return status

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        return await self._outbox.overdue(limit)

    async def outbox_entries(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[OutboxEntry]:
        return await self._outbox.listing(dead=dead, limit=limit, after=after)

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        keys, session = self._keys.stream(ref), self._keys.session(ref.key)
        found = await self._call(
            "previous",
            PreviousStream(
                meta_key=keys.meta,
                streams_key=keys.streams,
                session_key=keys.session,
                stream_id=ref.stream_id,
                message_id=message_id,
                meta_prefix=session.meta_prefix,
                log_prefix=session.log_prefix,
            ),
        )
        if found is None:
            return None
        return decode_meta(StreamRef(ref.key, decode_text(found.stream_id)), found.snapshot, "previous")

    async def erasure(self, key: SessionKey) -> Erasure | None:
        return decode_erasure(await self._call("erasure", ReadErasure(erased_key=self._keys.session(key).erased)))

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        replaced = b"" if expected is None else encode_claim(expected, owner, request_key)
        claiming = ClaimRequest(
            claim_key=self._keys.request(owner, request_key),
            claim=encode_claim(claim, owner, request_key),
            replaced=replaced,
            ttl_ms=milliseconds(ttl_seconds),
        )
        return decode_claim(await self._call("claim_request", claiming), owner, request_key)

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        key = self._keys.request(owner, request_key)
        releasing = ReleaseRequest(claim_key=key, claim=encode_claim(claim, owner, request_key))
        return await self._call("release_request", releasing) == 1

    def _closed(self, ref: StreamRef) -> StoredStreamKeys:
        """The keys that live as long as a closed stream, or longer."""
        return self._keys.stored_stream(ref)
