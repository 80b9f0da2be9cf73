"""`RedisOutbox`: work owed for closed streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import StoreCorruptError, StoreFormatError, StoreUnavailableError
from ...values import Persisted, QuotaState, StreamRef
from ..damage import RecordKind, Unreadable
from ..records import OutboxEntry, Status
from ..roles.outbox import Outbox
from .codec import mutable_fields, status_of
from .driver import CommandError, Reply
from .errors import UnansweredError, concerns_record
from .index_calls import (
    ClaimEntry,
    Complete,
    CorrectEntry,
    DeadLetter,
    DueEntries,
    OutboxAnswer,
    ReleaseClaim,
    Requeue,
    RetryLater,
)
from .keys import encode_member, key_text
from .namespace import RedisNamespace, milliseconds
from .outbox_index import OutboxIndex, owed_work, read_work
from .sharded_index import STALE_ALLOWANCE, Entry

__all__ = ["UNREADABLE_SECONDS", "RedisOutbox"]

UNREADABLE_SECONDS: Final = 604_800.0
"""How long a dead letter is listed whose record cannot be read: that says nothing of when it expires."""

AWAY_SECONDS: Final = 5.0
"""How long an entry is left alone whose record's server does not answer."""


class RedisOutbox(Outbox):
    """A record says what is owed, an entry of the index when to look. In a cluster, each part of the index stands for
    itself: what is due in the others is claimed though a server is away."""

    def __init__(self, redis: RedisNamespace, index: OutboxIndex) -> None:
        self._redis = redis
        self._index = index

    async def enqueue(self, ref: StreamRef, *, due_seconds: float) -> None:
        await self._redis.ask("enqueue", self._index.later(ref, due_seconds))

    async def claim_due(self, *, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        await self._index.removed.look_again()
        waiting = await self._index.due_entries("claim_due", limit, DueEntries, partly=True)
        claimed: list[OutboxEntry] = []
        at = 0
        while at < len(waiting) and len(claimed) < limit:
            batch = waiting[at : at + limit - len(claimed)]
            at += len(batch)
            try:
                claimed += await self._claim(batch, claim_seconds)
            except StoreUnavailableError:
                if self._redis.one_server:
                    raise
        return claimed

    async def _claim(self, batch: Sequence[Entry], claim_seconds: float) -> list[OutboxEntry]:
        """The work of those entries that nobody else claims.

        Raises:
            StoreUnavailableError: no server that has them, or their records, answers.
        """
        claim_ms = milliseconds(claim_seconds)
        claiming = [
            ClaimEntry(shard_key=entry.shard, member=entry.member, score=entry.score, claim_ms=claim_ms)
            for entry in batch
        ]
        calls = [self._redis.command(call) for call in claiming]
        deadlines = await self._redis.ask("claim_due", *calls, partly=True)
        ours = [
            (entry, deadline)
            for entry, deadline in zip(batch, deadlines, strict=True)
            if isinstance(deadline, int) and deadline
        ]
        return await self._confirmed(ours, claim_seconds)

    async def retry_later(
        self, ref: StreamRef, *, due_seconds: float, reason: str, ttl_seconds: float, count: bool = True
    ) -> Status:
        later = RetryLater(
            **self._redis.keys.stream(ref).stored, ttl_ms=milliseconds(ttl_seconds), reason=reason, counts=count
        )
        status = status_of(await self._redis.call("retry_later", later), ref, "retry_later")
        # After the record: should this be lost, the entry comes up when its claim ends.
        if status is Status.OK:
            await self._redis.ask("retry_later", self._index.due(ref, due_seconds, ttl_seconds))
        return status

    async def release_claim(self, ref: StreamRef, *, due_seconds: float, reason: str) -> float | None:
        left = await self._redis.call(
            "release_claim", ReleaseClaim(meta_key=self._redis.keys.stream(ref).meta, reason=reason)
        )
        if status_of(left.status, ref, "release_claim") is not Status.OK:
            return None
        await self._redis.ask("release_claim", self._index.due(ref, due_seconds, due_seconds))
        return left.left_ms / 1000

    async def dead_letter(self, ref: StreamRef, *, reason: str, ttl_seconds: float) -> Status:
        giving_up = DeadLetter(**self._redis.keys.stream(ref).stored, ttl_ms=milliseconds(ttl_seconds), reason=reason)
        try:
            status = status_of(await self._redis.call("dead_letter", giving_up), ref, "dead_letter")
        except StoreFormatError:
            raise
        except StoreCorruptError:  # the entry alone says then that it is dead
            status = Status.OK
        # After the record: should this be lost, whoever claims the entry sees that it is dead.
        if status is Status.OK:
            await self._redis.ask("dead_letter", self._index.dead(ref, ttl_seconds))
        return status

    async def requeue(self, ref: StreamRef, *, saves: bool = True) -> Status:
        answer = await self._redis.call("requeue", Requeue(meta_key=self._redis.keys.stream(ref).meta, saves=saves))
        status = status_of(answer, ref, "requeue")
        # After the record: should this be lost, the entry is still listed as dead, and can be requeued again.
        if status in (Status.OK, Status.DUPLICATE):
            await self._redis.ask("requeue", self._index.alive(ref, moved=status is Status.OK))
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
            **self._redis.keys.stream(ref).stored,
            outbox_shard_key=self._redis.far(self._redis.keys.outbox_shard(ref)),
            retention_ms=milliseconds(retention_seconds),
            outbox_entry=encode_member(ref),
            fields=mutable_fields(persisted, quota),
        )
        try:
            completed = await self._redis.call("complete", completing)
        except StoreCorruptError:  # what cannot be read owes nothing that anybody could do
            self._index.forget(ref)
            return Status.OK
        status = status_of(completed.status, ref, "complete")
        if completed.closed == 1 and not self._redis.one_server:
            self._index.forget(ref)
        return status

    async def _confirmed(self, claims: Sequence[tuple[Entry, int]], claim_seconds: float) -> list[OutboxEntry]:
        """The work of claimed entries, each of which is claimed until a deadline. Entries without work are corrected.

        An entry whose record cannot be read becomes a dead letter: no worker can do its work, and an operator may look.
        """
        replies: Sequence[Reply]
        try:
            replies = await self._index.read_records("claim_due", [entry.ref for entry, _ in claims])
        except StoreUnavailableError as exc:
            if self._redis.one_server:
                raise
            replies = [UnansweredError(exc)] * len(claims)
        found: list[OutboxEntry] = []
        corrections = []
        later_version = 0
        for (entry, deadline), reply in zip(claims, replies, strict=True):
            true_score: int | str
            if isinstance(reply, UnansweredError):
                soon = deadline - milliseconds(claim_seconds) + milliseconds(AWAY_SECONDS)
                later = CorrectEntry(shard_key=entry.shard, member=entry.member, score=deadline, true_score=soon)
                corrections.append(self._redis.command(later))
                continue
            if isinstance(reply, CommandError) and not concerns_record(reply):
                continue
            answer = read_work(reply)
            work = owed_work(entry.ref, answer, claim_seconds, dead=False)
            match answer:
                case OutboxAnswer(state=b"owed") if work is not None:
                    found.append(work)
                    continue
                case OutboxAnswer(state=b"open"):
                    continue
                case OutboxAnswer(state=b"gone"):
                    self._index.removed.add(entry.ref)
                    true_score = ""
                case OutboxAnswer(state=b"dead"):
                    true_score = -answer.expires_ms
                case OutboxAnswer(state=b"newer"):  # left to those who can read it, when they come by
                    later_version += 1
                    if later_version > STALE_ALLOWANCE // 2:  # but so many must not hide what this version can do
                        continue
                    true_score = entry.score
                case _:
                    key = key_text(self._redis.keys.stream(entry.ref).meta)
                    self._redis.report(Unreadable(RecordKind.STREAM, key, "damaged", "dead_letter", entry.ref))
                    corrections.append(self._index.dead(entry.ref, UNREADABLE_SECONDS))
                    continue
            correction = CorrectEntry(shard_key=entry.shard, member=entry.member, score=deadline, true_score=true_score)
            corrections.append(self._redis.command(correction))
        if corrections:
            await self._redis.ask("claim_due", *corrections, partly=True)
        return found
