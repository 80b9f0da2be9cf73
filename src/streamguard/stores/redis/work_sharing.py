"""`RedisWorkSharing`: the streams of workers that died, shared out among those that are left.

The lease index may be wrong (see `lease_index`): the record alone is believed, and the entry is corrected, unless
somebody moved it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...lua import read_reply
from ...values import StreamRef
from ..records import Partition
from ..roles.work_sharing import WorkSharing
from .driver import Command, CommandError
from .errors import checked, concerns_record
from .index_calls import ClearPointer, CorrectEntry, ExpiredLeases, LeaseAnswer, LeaseState, RenewEntries, TakePartition
from .index_repair import IndexRepair
from .keys import StreamKeys, encode_member
from .lease_index import LeaseIndex
from .lifetimes import INDEX_TTL_MS
from .namespace import RedisNamespace, milliseconds
from .sharded_index import STALE_ALLOWANCE, Entry

__all__ = ["RedisWorkSharing"]

_LATER_VERSION_MS: Final = 10_000
"""For how long entries of a later version are left to its workers, where there are many of them."""


class RedisWorkSharing(WorkSharing):
    """Finds expired leases, and the part of them that a worker looks at."""

    def __init__(self, redis: RedisNamespace, leases: LeaseIndex) -> None:
        self._redis = redis
        self._leases = leases
        self._repair = IndexRepair(redis)

    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        await self._leases.removed.look_again()
        keys = self._redis.keys
        shards = keys.lease_shards() if partition is None else keys.lease_shards_of(partition.place, partition.of)
        most = limit + STALE_ALLOWANCE
        listing = [self._redis.command(ExpiredLeases(shard_key=shard, count=most)) for shard in shards]
        replies = await self._redis.ask("expired_leases", *listing)
        entries = [
            entry
            for shard, reply in zip(shards, replies, strict=True)
            for entry in self._leases.entries(shard, reply, "expired_leases")
        ]
        entries.sort(key=lambda entry: entry.score)
        found: list[StreamRef] = []
        for start in range(0, len(entries), most):
            if len(found) >= limit:
                break
            found += await self._verified(entries[start : start + most])
        return found[:limit]

    async def defer(self, ref: StreamRef, *, seconds: float, readable: bool = False) -> None:
        move = self._move(self._redis.keys.lease_shard(ref), encode_member(ref), milliseconds(seconds))
        clear = [] if readable else [self._clear_pointer(self._redis.keys.stream(ref), ref, unreadable=True)]
        await self._redis.ask("defer", move, *clear)

    async def repair_indexes(self) -> None:
        await self._repair.next_pages()

    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        taking = TakePartition(
            workers_key=self._redis.keys.workers(),
            worker=worker,
            lease_ms=0 if lease_seconds <= 0 else milliseconds(lease_seconds),
            ttl_ms=INDEX_TTL_MS,
        )
        taken = await self._redis.call("partition", taking)
        return Partition(taken.place, max(1, taken.workers))

    async def _verified(self, entries: Sequence[Entry]) -> list[StreamRef]:
        """The streams of those entries whose leases have expired by their records. A stream whose record cannot be read
        counts as one: whoever ends it finds that out, and defers it."""
        keys = [self._redis.keys.stream(entry.ref) for entry in entries]
        reading = [self._redis.command(LeaseState(meta_key=key.meta, log_key=key.log)) for key in keys]
        replies = await self._redis.connections.run("expired_leases", reading)
        found: list[StreamRef] = []
        corrections: list[Command] = []
        later_version: list[Entry] = []
        for entry, key, reply in zip(entries, keys, replies, strict=True):
            if isinstance(reply, CommandError):
                if not concerns_record(reply):
                    checked("expired_leases", [reply])
                found.append(entry.ref)
                continue
            lease: LeaseAnswer = read_reply(LeaseAnswer, reply)
            match lease.state:
                case b"due" | b"unreadable":
                    found.append(entry.ref)
                case b"newer":
                    later_version.append(entry)
                case _:
                    if lease.state != b"running":
                        self._leases.removed.add(entry.ref)
                    correction = CorrectEntry(
                        shard_key=entry.shard,
                        member=entry.member,
                        score=entry.score,
                        true_score=lease.lease_until if lease.state == b"running" else "",
                    )
                    corrections.append(self._redis.command(correction))
                    if lease.state == b"gone":
                        corrections.append(self._clear_pointer(key, entry.ref))
        if len(later_version) > STALE_ALLOWANCE // 2:  # they must not hide what this version can end
            corrections += [self._move(entry.shard, entry.member, _LATER_VERSION_MS) for entry in later_version]
        if corrections:
            await self._redis.ask("expired_leases", *corrections)
        return found

    def _move(self, shard: bytes, member: bytes, from_now_ms: int) -> Command:
        return self._redis.command(
            RenewEntries(shard_key=shard, mode="XX", from_now_ms=from_now_ms, ttl_ms=INDEX_TTL_MS, members=(member,))
        )

    def _clear_pointer(self, keys: StreamKeys, ref: StreamRef, *, unreadable: bool = False) -> Command:
        return self._redis.command(
            ClearPointer(
                meta_key=keys.meta,
                log_key=keys.log,
                session_key=keys.session,
                stream_id=ref.stream_id,
                unreadable=unreadable,
            )
        )
