"""Work owed across sessions: the sharded sorted sets of the outbox.

As in the lease index, a stream's record and its entry lie on different cluster slots: an entry says when to look, the
record what is owed. A living entry is scored by when it is due, a dead letter by minus the time at which its record
expires, so that a stream has one entry and each step on it is one command.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ...decoding import DAMAGE
from ...errors import StoreCorruptError
from ...lua import read_reply
from ...values import StreamRef
from ..damage import RecordKind
from ..outbox_pages import OutboxPlace
from ..records import OutboxEntry
from .driver import Command, Reply
from .errors import UnansweredError
from .index_calls import DueEntries, EnterOutbox, OutboxAnswer, OutboxState, PeekDue, RenewEntries
from .keys import encode_member
from .lifetimes import INDEX_TTL_MS
from .namespace import RedisNamespace, milliseconds
from .removed_entries import RemovedEntries
from .sharded_index import STALE_ALLOWANCE, Entry, ShardedIndex, whole_score

__all__ = ["OutboxIndex", "owed_work", "read_work"]

_SPARE_MS: Final = 86_400_000
"""How much longer than the records its entries name the index is kept."""

_SCAN_COUNT: Final = 1_000


class OutboxIndex(ShardedIndex):
    """The outbox entries of one store."""

    kind = RecordKind.OUTBOX

    def __init__(self, redis: RedisNamespace) -> None:
        super().__init__(redis)
        self.removed: Final = RemovedEntries(
            redis,
            "claim_due",
            reading=self._state,
            needs_entry=_is_owed,
            entering=lambda ref: self.alive(ref, moved=False),
        )
        """Those of work that a failover may have brought back since, or whose entries it may have lost."""

    def _state(self, ref: StreamRef) -> Command:
        return self._redis.command(OutboxState(meta_key=self._redis.keys.stream(ref).meta))

    # -- commands -------------------------------------------------------------------------------------------------

    def later(self, ref: StreamRef, due_seconds: float) -> Command:
        """Enter `ref`, or move it to a later time; a dead letter stays one."""
        return self._enter(ref, "later", _from_now(due_seconds), INDEX_TTL_MS)

    def due(self, ref: StreamRef, due_seconds: float, ttl_seconds: float) -> Command:
        """Enter `ref`, or move it, wherever it is. Its record lives `ttl_seconds`."""
        return self._enter(ref, "due", _from_now(due_seconds), _key_ttl(ttl_seconds))

    def alive(self, ref: StreamRef, *, moved: bool) -> Command:
        """Enter `ref` as due now. Unless `moved`, a living entry stays: somebody may hold a claim on it."""
        return self._enter(ref, "due" if moved else "alive", 0, INDEX_TTL_MS)

    def dead(self, ref: StreamRef, ttl_seconds: float) -> Command:
        """Make `ref` a dead letter whose record lives `ttl_seconds`."""
        return self._enter(ref, "dead", milliseconds(ttl_seconds), _key_ttl(ttl_seconds))

    def _enter(self, ref: StreamRef, mode: str, from_now: int, ttl: int) -> Command:
        return self._redis.command(
            EnterOutbox(
                shard_key=self._redis.keys.outbox_shard(ref),
                member=encode_member(ref),
                mode=mode,
                from_now_ms=from_now,
                ttl_ms=max(ttl, INDEX_TTL_MS),
            )
        )

    def hold(self, ref: StreamRef, ttl_seconds: float) -> Command:
        """Keep the part of the index that `ref` is in for as long as a record that lives `ttl_seconds`."""
        shard = self._redis.keys.outbox_shard(ref)
        return self._redis.command(RenewEntries(shard_key=shard, mode="", from_now_ms=0, ttl_ms=_key_ttl(ttl_seconds)))

    def removal(self, ref: StreamRef) -> Command:
        """Remove the entry of `ref`, whatever it is."""
        shard = self._redis.keys.outbox_shard(ref)
        return Command.on(shard, "ZREM", encode_member(ref))._replace(on_index=shard)

    def forget(self, ref: StreamRef) -> None:
        """Remove an entry with the next exchange, without waiting for it: one that is left over stands for no work."""
        self.removed.add(ref)
        self._redis.connections.post("complete", [self.removal(ref)])

    # -- entries --------------------------------------------------------------------------------------------------

    async def due_entries(
        self, operation: str, limit: int, listing: type[DueEntries | PeekDue], *, partly: bool = False
    ) -> list[Entry]:
        """What is due, oldest first: `limit` entries of each shard and a few more. With `partly`, of those shards whose
        servers answer.

        Raises:
            StoreUnavailableError: a server does not answer; with `partly`, none does.
        """
        shards = self._redis.keys.outbox_shards()
        reading = [listing(shard_key=shard, count=limit + STALE_ALLOWANCE) for shard in shards]
        replies = await self._redis.ask(operation, *(self._redis.command(call) for call in reading), partly=partly)
        entries = [
            entry
            for shard, reply in zip(shards, replies, strict=True)
            if not isinstance(reply, UnansweredError)
            for entry in self.entries(shard, reply, operation)
        ]
        return sorted(entries, key=lambda entry: entry.score)

    async def page(
        self, operation: str, *, dead: bool, count: int, begin: OutboxPlace
    ) -> tuple[list[Entry], OutboxPlace, int]:
        """The next `count` entries of a kind from `begin` on, those first that are due, or expire, first; the place
        behind them; and how many there are from there on. Entries of one time are ordered by their shards.
        """
        lowest, most = begin.at_ms, count + begin.same
        first = (str(-lowest) if lowest else "(0") if dead else str(lowest)  # what is due since 1970 is not dead
        low, high = ("-inf", first) if dead else (first, "+inf")
        paged = ("WITHSCORES", "LIMIT", 0, most)
        shards = self._redis.keys.outbox_shards()
        asking = []
        for shard in shards:
            asking += [
                Command.on(shard, "ZREVRANGEBYSCORE", high, low, *paged)
                if dead
                else Command.on(shard, "ZRANGEBYSCORE", low, high, *paged),
                Command.on(shard, "ZCOUNT", low, high),
            ]
        asking = [one._replace(on_index=one.key) for one in asking]
        replies = await self._redis.ask(operation, *asking)
        entries: list[Entry] = []
        there = 0
        for shard, names, number in zip(shards, replies[::2], replies[1::2], strict=True):
            entries += self.entries(shard, names, operation)
            there += number if isinstance(number, int) else 0
        entries.sort(key=lambda entry: abs(entry.score))  # stable
        times = [max(lowest, abs(entry.score)) for entry in entries]  # a score that is no number is read as 0
        passed = begin.passed(times)
        taken = entries[passed : passed + count]
        end = begin.past(times[passed : passed + count])
        return taken, end, max(0, there - passed - len(taken)) if len(entries) > passed else 0

    async def entry(self, operation: str, ref: StreamRef) -> Entry | None:
        """The entry of a stream."""
        shard, member = self._redis.keys.outbox_shard(ref), encode_member(ref)
        (score,) = await self._redis.ask(operation, Command.on(shard, "ZSCORE", member)._replace(on_index=shard))
        return Entry(whole_score(score), shard, member, ref) if isinstance(score, bytes) else None

    async def find(self, operation: str, stream_id: str) -> Entry | None:
        """The entry of a stream, by its id alone. ZSCAN gives each that is there throughout, however often it is moved
        meanwhile; of each shard, about `_SCAN_COUNT` at a time."""
        cursors = dict.fromkeys(self._redis.keys.outbox_shards(), b"0")
        while cursors:
            scans = [
                Command.on(shard, "ZSCAN", at, "COUNT", _SCAN_COUNT)._replace(on_index=shard)
                for shard, at in cursors.items()
            ]
            for shard, reply in zip(list(cursors), await self._redis.ask(operation, *scans), strict=True):
                match reply:
                    case [bytes() as cursor, pairs]:
                        for entry in self.entries(shard, pairs, operation):
                            if entry.ref.stream_id == stream_id:
                                return entry
                    case _:
                        raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)
                if cursor == b"0":
                    del cursors[shard]
                else:
                    cursors[shard] = cursor
        return None

    async def read_records(self, operation: str, refs: Sequence[StreamRef]) -> list[Reply]:
        """What the records of streams say they owe (see `read_work`), with errors among the replies: a record that
        Redis cannot read must not hold up the others."""
        calls = [OutboxState(meta_key=self._redis.keys.stream(ref).meta) for ref in refs]
        return await self._redis.connections.run(operation, [self._redis.command(call) for call in calls])


def _from_now(seconds: float) -> int:
    return round(seconds * 1000)


def _key_ttl(record_seconds: float) -> int:
    return milliseconds(record_seconds) + _SPARE_MS


def read_work(reply: Reply) -> OutboxAnswer | None:
    """What `outbox_state` replied; None for an error, or anything else."""
    with suppress(*DAMAGE):
        answer: OutboxAnswer = read_reply(OutboxAnswer, reply)
        return answer
    return None


def _is_owed(reply: Reply) -> bool:
    """Whether a record says that work is owed which is no dead letter."""
    answer = read_work(reply)
    return answer is not None and answer.state == b"owed"


def owed_work(ref: StreamRef, answer: OutboxAnswer | None, due_seconds: float, *, dead: bool) -> OutboxEntry | None:
    """What a record says is owed; None when it cannot be read."""
    if answer is None or answer.payload is None or answer.attempts is None or not answer.attempts.isdigit():
        return None
    reason = None if answer.reason is None else answer.reason.decode("utf-8", "replace")
    return OutboxEntry(ref, answer.payload, int(answer.attempts), due_seconds, reason, dead)
