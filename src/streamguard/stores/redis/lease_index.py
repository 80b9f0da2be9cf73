"""Deadlines across sessions: the sharded index of leases, and owners' running streams.

A stream's record and its entry in the index lie on different cluster slots, so no script touches both. An entry is
written before the record and removed after it. In between, and after any crash, it may be wrong: see `work_sharing` for
how it is corrected, and `removed_entries` for one that was removed too early.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ...errors import StoreCorruptError
from ...lua import read_reply
from ...values import StreamRef
from ..damage import RecordKind
from .driver import Command, Reply
from .index_calls import CorrectEntry, LeaseAnswer, LeaseState, RenewEntries
from .keys import decode_member
from .lifetimes import INDEX_TTL_MS, OWNER_TTL_MS
from .namespace import RedisNamespace, milliseconds
from .removed_entries import RemovedEntries
from .sharded_index import STALE_ALLOWANCE, ShardedIndex, scored_members, whole_score

__all__ = ["LeaseIndex"]


class LeaseIndex(ShardedIndex):
    """The index entries and owners' slots of one store."""

    kind = RecordKind.LEASE_INDEX

    def __init__(self, redis: RedisNamespace) -> None:
        super().__init__(redis)
        self.removed: Final = RemovedEntries(
            redis, "expired_leases", reading=self._state, needs_entry=_is_open, entering=self._due
        )
        """Those of streams that a failover may have opened again since."""

    def renewal(self, ref: StreamRef, lease_seconds: float) -> Command:
        """Enter `ref`, or move it, to a lease from now on. The reply is the deadline."""
        keys = self._redis.keys.stream(ref)
        return self._entries(keys.lease_shard, [keys.member], lease_seconds)

    def entry(self, ref: StreamRef, lease_seconds: float) -> Command:
        """Enter `ref` before its record is written; an entry that is there stays, since the write may be refused.

        `expired_leases` corrects an entry that is too early; one moved too late would hide an orphan for a lease. The
        reply is the deadline of a new entry, 0 for one that was there.
        """
        keys = self._redis.keys.stream(ref)
        return self._entries(keys.lease_shard, [keys.member], lease_seconds, "NX")

    def _state(self, ref: StreamRef) -> Command:
        """Read what a record says of its lease."""
        keys = self._redis.keys.stream(ref)
        return self._redis.command(LeaseState(meta_key=keys.meta, log_key=keys.log))

    def _due(self, ref: StreamRef) -> Command:
        """Enter a stream as due: its record says whether it is."""
        keys = self._redis.keys.stream(ref)
        entering = RenewEntries(
            shard_key=keys.lease_shard, mode="NX", from_now_ms=0, ttl_ms=INDEX_TTL_MS, members=(keys.member,)
        )
        return self._redis.command(entering)

    def _entries(self, shard: bytes, members: Sequence[bytes], lease_seconds: float, mode: str = "") -> Command:
        return self._redis.command(
            RenewEntries(
                shard_key=shard,
                mode=mode,
                from_now_ms=milliseconds(lease_seconds),
                ttl_ms=INDEX_TTL_MS,
                members=members,
            )
        )

    def renewals(self, refs: Sequence[StreamRef], lease_seconds: float) -> list[Command]:
        """As `renewal` for many, and their owners' slots too where they have one."""
        by_shard: dict[bytes, list[bytes]] = {}
        by_owner: dict[str, list[str]] = {}
        for ref in refs:
            keys = self._redis.keys.stream(ref)
            by_shard.setdefault(keys.lease_shard, []).append(keys.member)
            by_owner.setdefault(ref.key.owner, []).append(ref.stream_id)
        lease_ms = milliseconds(lease_seconds)
        return [
            *(self._entries(shard, some, lease_seconds) for shard, some in by_shard.items()),
            *(
                self._redis.command(
                    RenewEntries(
                        shard_key=self._redis.keys.owner(owner),
                        mode="XX",
                        from_now_ms=lease_ms,
                        ttl_ms=OWNER_TTL_MS,
                        members=ids,
                    )
                )
                for owner, ids in by_owner.items()
            ),
        ]

    async def remove(self, refs: Sequence[StreamRef]) -> None:
        """Remove the entries of streams that were erased, whatever their deadlines."""
        for ref in refs:
            self.removed.add(ref)
        if refs:
            await self._redis.ask("erase", *(self.removal(ref) for ref in refs))

    def forget(self, ref: StreamRef) -> None:
        """Remove the entry of a stream that is closed or withdrawn with the next exchange, without waiting for it."""
        self.removed.add(ref)
        self._redis.connections.post("close", [self.removal(ref)])

    def removal(self, ref: StreamRef) -> Command:
        """Remove an entry, whatever its deadline."""
        keys = self._redis.keys.stream(ref)
        return Command.on(keys.lease_shard, "ZREM", keys.member)._replace(on_index=keys.lease_shard)

    def withdraw(self, ref: StreamRef, deadline: int) -> None:
        """Remove an entry whose record was refused, with the next exchange, without waiting for it.

        Only while its deadline is still that one: the same stream may be registered again meanwhile. `expired_leases`
        removes what is left behind.
        """
        keys = self._redis.keys.stream(ref)
        removing = CorrectEntry(shard_key=keys.lease_shard, member=keys.member, score=deadline, true_score="")
        self._redis.connections.post("register", [self._redis.command(removing)])

    async def earliest(self, limit: int) -> list[StreamRef]:
        """The entries of each shard with the earliest deadlines, `limit` and some more, earliest first. Any may be
        wrong, and those that cannot be read are left out."""
        last = limit + STALE_ALLOWANCE - 1
        replies = await self._redis.ask(
            "active_streams",
            *(
                Command.on(shard, "ZRANGE", 0, last, "WITHSCORES")._replace(on_index=shard)
                for shard in self._redis.keys.lease_shards()
            ),
        )
        members = sorted(
            (whole_score(score), member)
            for reply in replies
            for member, score in scored_members(reply, "active_streams")
        )
        found = []
        for _, member in members:
            with suppress(StoreCorruptError):
                found.append(decode_member(member))
        return found


def _is_open(reply: Reply) -> bool:
    """Whether a record says that its stream is not closed."""
    answer: LeaseAnswer = read_reply(LeaseAnswer, reply)
    return answer.state in (b"due", b"running")
