"""Deadlines across sessions: the sharded index of leases, and owners' running streams.

A stream's record and its entry in the index lie on different cluster slots, so no script touches both. An entry is
written before the record and removed after it; in between, and after any crash, it may be wrong, so `due` believes
the record alone and corrects the entry, provided nobody moved it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from ...errors import StoreCorruptError
from ...lua import read_reply
from ...values import StreamRef
from ..damage import RecordKind
from ..records import Partition
from .driver import Command, CommandError
from .errors import checked, concerns_record
from .index_calls import ClearPointer, CorrectEntry, ExpiredLeases, LeaseAnswer, LeaseState, RenewEntries, TakePartition
from .keys import StreamKeys, decode_member, encode_member
from .sharded_index import STALE_ALLOWANCE, ShardedIndex, read_answer, scored_members, whole_score

__all__ = ["OWNER_TTL_MS", "LeaseIndex", "milliseconds"]

_INDEX_TTL_MS: Final = 8 * 86_400_000
"""Longer than any stream is kept with work owed (`outbox_retention_seconds`, a week); every write renews it."""

_LATER_MS: Final = 10_000
"""For how long entries of a later version are left to its workers, where there are many of them."""

OWNER_TTL_MS: Final = 86_400_000
"""How long an owner's slots are kept after the last of its streams was registered or renewed."""


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one: Redis deletes a key that is given none."""
    return max(1, round(seconds * 1000))


class _Entry(NamedTuple):
    score: int
    shard: bytes
    member: bytes
    ref: StreamRef


class LeaseIndex(ShardedIndex):
    """The index entries and owners' slots of one store."""

    kind = RecordKind.LEASE_INDEX

    def renewal(self, ref: StreamRef, lease_seconds: float) -> Command:
        """Enter `ref`, or move it, to a lease from now on. The reply is the deadline."""
        return self._entries(self._keys.lease_shard(ref), [ref], lease_seconds)

    def entry(self, ref: StreamRef, lease_seconds: float) -> Command:
        """Enter `ref` before its record is written; an entry that is there stays, since the write may be refused.

        One that is too early is corrected by `due`; one moved too late would hide an orphan for a lease. The reply is
        the deadline of a new entry, 0 for one that was there.
        """
        return self._entries(self._keys.lease_shard(ref), [ref], lease_seconds, "NX")

    def _entries(self, shard: bytes, refs: Sequence[StreamRef], lease_seconds: float, mode: str = "") -> Command:
        members = [encode_member(ref) for ref in refs]
        return self._connections.command(
            RenewEntries(
                shard_key=shard,
                mode=mode,
                from_now_ms=milliseconds(lease_seconds),
                ttl_ms=_INDEX_TTL_MS,
                members=members,
            )
        )

    def renewals(self, refs: Sequence[StreamRef], lease_seconds: float) -> list[Command]:
        """As `renewal` for many, and their owners' slots too where they have one."""
        by_shard: dict[bytes, list[StreamRef]] = {}
        by_owner: dict[str, list[str]] = {}
        for ref in refs:
            by_shard.setdefault(self._keys.lease_shard(ref), []).append(ref)
            by_owner.setdefault(ref.key.owner, []).append(ref.stream_id)
        lease_ms = milliseconds(lease_seconds)
        return [
            *(self._entries(shard, some, lease_seconds) for shard, some in by_shard.items()),
            *(
                self._connections.command(
                    RenewEntries(
                        shard_key=self._keys.owner(owner),
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
        """Remove entries, whatever their deadlines."""
        if refs:
            await self._ask("erase", [self._removal(ref) for ref in refs])

    def forget(self, ref: StreamRef) -> None:
        """Remove an entry with the next exchange, without waiting for it."""
        self._connections.post("close", [self._removal(ref)])

    def _removal(self, ref: StreamRef) -> Command:
        shard = self._keys.lease_shard(ref)
        return Command.of("ZREM", shard, encode_member(ref))._replace(on_index=shard)

    def withdraw(self, ref: StreamRef, deadline: int) -> None:
        """Remove an entry whose record was refused, with the next exchange, without waiting for it.

        Only while its deadline is still that one: the same stream may be registered again meanwhile. What is left
        behind `due` removes.
        """
        removing = CorrectEntry(
            shard_key=self._keys.lease_shard(ref), member=encode_member(ref), score=deadline, true_score=""
        )
        self._connections.post("register", [self._connections.command(removing)])

    async def share(self, worker: str, lease_seconds: float) -> Partition:
        """See `StreamStore.share`."""
        lease_ms = 0 if lease_seconds <= 0 else milliseconds(lease_seconds)
        taking = TakePartition(workers_key=self._keys.workers(), worker=worker, lease_ms=lease_ms, ttl_ms=_INDEX_TTL_MS)
        (reply,) = await self._ask("partition", [self._connections.command(taking)])
        taken = read_answer("partition", taking, reply)
        return Partition(taken.place, max(1, taken.workers))

    async def due(self, limit: int, share: Partition | None = None) -> list[StreamRef]:
        """See `StreamStore.due`. Entries that are wrong are corrected on the way."""
        keys = self._keys
        shards = keys.lease_shards() if share is None else keys.lease_shards_of(share.place, share.of)
        listed = await self._ask(
            "expired_leases",
            [
                self._connections.command(ExpiredLeases(shard_key=shard, count=limit + STALE_ALLOWANCE))
                for shard in shards
            ],
        )
        entries = [
            _Entry(whole_score(score), shard, member, ref)
            for shard, reply in zip(shards, listed, strict=True)
            for member, score in scored_members(reply, "expired_leases")
            if (ref := self._named(shard, member)) is not None
        ]
        entries.sort(key=lambda entry: entry.score)
        found: list[StreamRef] = []
        for start in range(0, len(entries), limit + STALE_ALLOWANCE):
            if len(found) >= limit:
                break
            found += await self._verify(entries[start : start + limit + STALE_ALLOWANCE])
        return found[:limit]

    async def earliest(self, limit: int) -> list[StreamRef]:
        """The entries of each shard with the earliest deadlines, `limit` and some more, earliest first. Any may be
        wrong, and those that cannot be read are left out."""
        last = limit + STALE_ALLOWANCE - 1
        listed = await self._ask(
            "active_streams",
            [
                Command.of("ZRANGE", shard, 0, last, "WITHSCORES")._replace(on_index=shard)
                for shard in self._keys.lease_shards()
            ],
        )
        entries = sorted(
            (whole_score(score), member)
            for reply in listed
            for member, score in scored_members(reply, "active_streams")
        )
        found = []
        for _, member in entries:
            with suppress(StoreCorruptError):
                found.append(decode_member(member))
        return found

    async def _verify(self, entries: Sequence[_Entry]) -> list[StreamRef]:
        """Those of the entries whose streams are due. One whose record cannot be read is: whoever ends orphans finds
        that out, and puts it off."""
        keys = [self._keys.stream(entry.ref) for entry in entries]
        replies = await self._connections.run(
            "expired_leases",
            [self._connections.command(LeaseState(meta_key=key.meta, log_key=key.log)) for key in keys],
        )
        found: list[StreamRef] = []
        corrections: list[Command] = []
        later: list[_Entry] = []
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
                    later.append(entry)
                case _:
                    correction = CorrectEntry(
                        shard_key=entry.shard,
                        member=entry.member,
                        score=entry.score,
                        true_score=lease.lease_until if lease.state == b"running" else "",
                    )
                    corrections.append(self._connections.command(correction))
                    if lease.state == b"gone":
                        corrections.append(self._unpoint(key, entry.ref))
        if len(later) > STALE_ALLOWANCE // 2:  # they must not hide what this version can end
            corrections += [self._move(entry.shard, entry.member, _LATER_MS) for entry in later]
        if corrections:
            await self._ask("expired_leases", corrections)
        return found

    async def put_off(self, ref: StreamRef, seconds: float, *, readable: bool) -> None:
        """See `StreamStore.put_off`."""
        shard = self._keys.lease_shard(ref)
        move = self._move(shard, encode_member(ref), milliseconds(seconds))
        unpoint = [] if readable else [self._unpoint(self._keys.stream(ref), ref, unreadable=True)]
        await self._ask("defer", [move, *unpoint])

    def _move(self, shard: bytes, member: bytes, from_now_ms: int) -> Command:
        return self._connections.command(
            RenewEntries(shard_key=shard, mode="XX", from_now_ms=from_now_ms, ttl_ms=_INDEX_TTL_MS, members=(member,))
        )

    def _unpoint(self, keys: StreamKeys, ref: StreamRef, *, unreadable: bool = False) -> Command:
        return self._connections.command(
            ClearPointer(
                meta_key=keys.meta,
                log_key=keys.log,
                session_key=keys.session,
                stream_id=ref.stream_id,
                unreadable=unreadable,
            )
        )
