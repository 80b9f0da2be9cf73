"""The steps of `RedisStore` that concern work owed for closed streams, and idempotency keys."""

from __future__ import annotations

from ...errors import StoreCorruptError, StoreFormatError
from ...values import Persisted, QuotaState, SessionKey, StreamRef
from ..records import Erasure, OutboxEntry, RequestClaim, Status, StreamMeta
from .claims import decode_claim, encode_claim
from .codec import decode_erasure, decode_meta, items, mutable_fields, text
from .lease_index import milliseconds
from .outbox_index import OutboxIndex
from .steps import Steps

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
        args = (milliseconds(ttl_seconds), reason, "1" if count else "")
        status = self._status(
            await self._call("retry_later", "retry_later", self._closed(ref), args), ref, "retry_later"
        )
        # After the record: should this be lost, the entry comes up when its claim ends.
        if status is Status.OK:
            await self._ask("retry_later", self._outbox.due(ref, due_seconds, ttl_seconds))
        return status

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        number, *left = items(
            await self._call("release_claim", "release_claim", (self._keys.stream(ref).meta,), (reason,))
        )
        if self._status(number, ref, "release_claim") is not Status.OK:
            return None
        await self._ask("release_claim", self._outbox.due(ref, due_seconds, due_seconds))
        match left:
            case [int() as milliseconds_left]:
                return milliseconds_left / 1000
            case _:
                raise StoreCorruptError("release_claim: Redis gave an unexpected answer", operation="release_claim")

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        args = (milliseconds(ttl_seconds), reason)
        try:
            status = self._status(
                await self._call("dead_letter", "dead_letter", self._closed(ref), args), ref, "dead_letter"
            )
        except StoreFormatError:
            raise
        except StoreCorruptError:  # the entry alone says then that it is dead
            status = Status.OK
        # After the record: should this be lost, whoever claims the entry sees that it is dead.
        if status is Status.OK:
            await self._ask("dead_letter", self._outbox.dead(ref, ttl_seconds))
        return status

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        reply = await self._call("requeue", "requeue", (self._keys.stream(ref).meta,), ("1" if saves else "",))
        status = self._status(reply, ref, "requeue")
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
        args: list[str | int] = [milliseconds(retention_seconds), *mutable_fields(persisted, quota)]
        try:
            number, *closed = items(await self._call("complete", "complete", self._closed(ref), args))
        except StoreCorruptError:  # what cannot be read owes nothing that anybody could do
            self._outbox.forget(ref)
            return Status.OK
        status = self._status(number, ref, "complete")
        if closed == [1]:
            self._outbox.forget(ref)
        return status

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        return await self._outbox.overdue(limit)

    async def outbox_entries(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[OutboxEntry]:
        return await self._outbox.listing(dead=dead, limit=limit, after=after)

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        keys, session = self._keys.stream(ref), self._keys.session(ref.key)
        reply = await self._call(
            "previous",
            "previous",
            (keys.meta, keys.streams, keys.session),
            (ref.stream_id, message_id, session.meta_prefix, session.log_prefix),
        )
        if reply is None:
            return None
        stream_id, snapshot = items(reply)
        return decode_meta(StreamRef(ref.key, text(stream_id)), snapshot, "previous")

    async def erasure(self, key: SessionKey) -> Erasure | None:
        return decode_erasure(await self._call("erasure", "erasure", (self._keys.session(key).erased,)))

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
        reply = await self._call(
            "claim_request",
            "request",
            (self._keys.request(owner, request_key),),
            (encode_claim(claim, owner, request_key), replaced, milliseconds(ttl_seconds)),
        )
        return decode_claim(reply, owner, request_key)

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        key = self._keys.request(owner, request_key)
        return (
            await self._call("release_request", "release_request", (key,), (encode_claim(claim, owner, request_key),))
            == 1
        )

    def _closed(self, ref: StreamRef) -> tuple[bytes, bytes, bytes, bytes]:
        """The keys that live as long as a closed stream, or longer."""
        keys = self._keys.stream(ref)
        return keys.meta, keys.log, keys.session, keys.streams
