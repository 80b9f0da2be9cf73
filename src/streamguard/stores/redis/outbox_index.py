"""Work owed across sessions: the sharded sorted sets of the outbox.

As in the lease index, a stream's record and its entry lie on different cluster slots: an entry says when to look, the
record what is owed. A living entry is scored by when it is due, a dead letter by minus the time at which its record
expires, so that a stream has one entry and each step on it is one command.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from ...decoding import DAMAGE
from ...errors import StoreCorruptError
from ...lua import read_reply
from ...values import StreamRef
from ..damage import RecordKind, Unreadable
from ..records import OutboxEntry
from .driver import Command, CommandError, Reply
from .errors import checked, concerns_record
from .index_calls import (
    ClaimEntry,
    CorrectEntry,
    DueEntries,
    EnterOutbox,
    OutboxAnswer,
    OutboxState,
    PeekDue,
    RenewEntries,
)
from .keys import encode_member
from .lease_index import milliseconds
from .sharded_index import STALE_ALLOWANCE, ShardedIndex, key_text, scored_members, whole_score

__all__ = ["RECORD_UNREADABLE", "Entry", "OutboxIndex"]

_INDEX_TTL_MS: Final = 8 * 86_400_000
"""How long an entry is kept whose stream is not closed yet; every write renews it."""

_SPARE_MS: Final = 86_400_000
"""How much longer than the records its entries name the index is kept."""

RECORD_UNREADABLE: Final = "record_unreadable"
"""The reason given for work whose record cannot be read."""

UNREADABLE_SECONDS: Final = 604_800.0
"""How long such a dead letter is listed: its record says nothing of that."""

_SCAN_COUNT: Final = 1_000

_CONFIRMED: Final = 500
"""How many records a listing for operators reads at once, at most."""


class Entry(NamedTuple):
    """An entry as it was read."""

    score: int
    shard: bytes
    member: bytes
    ref: StreamRef


class OutboxIndex(ShardedIndex):
    """The outbox entries of one store."""

    kind = RecordKind.OUTBOX

    # -- commands -------------------------------------------------------------------------------------------------

    def later(self, ref: StreamRef, due_seconds: float) -> Command:
        """Enter `ref`, or move it to a later time; a dead letter stays one."""
        return self._enter(ref, "later", _from_now(due_seconds), _INDEX_TTL_MS)

    def due(self, ref: StreamRef, due_seconds: float, ttl_seconds: float) -> Command:
        """Enter `ref`, or move it, wherever it is. Its record lives `ttl_seconds`."""
        return self._enter(ref, "due", _from_now(due_seconds), _lasting(ttl_seconds))

    def alive(self, ref: StreamRef, *, moved: bool) -> Command:
        """Enter `ref` as due now. Unless `moved`, a living entry stays: somebody may hold a claim on it."""
        return self._enter(ref, "due" if moved else "alive", 0, _INDEX_TTL_MS)

    def dead(self, ref: StreamRef, ttl_seconds: float) -> Command:
        """Make `ref` a dead letter whose record lives `ttl_seconds`."""
        return self._enter(ref, "dead", milliseconds(ttl_seconds), _lasting(ttl_seconds))

    def _enter(self, ref: StreamRef, mode: str, from_now: int, ttl: int) -> Command:
        return self._connections.command(
            EnterOutbox(
                shard_key=self._keys.outbox_shard(ref),
                member=encode_member(ref),
                mode=mode,
                from_now_ms=from_now,
                ttl_ms=max(ttl, _INDEX_TTL_MS),
            )
        )

    def hold(self, ref: StreamRef, ttl_seconds: float) -> Command:
        """Keep the part of the index that `ref` is in for as long as a record that lives `ttl_seconds`."""
        shard = self._keys.outbox_shard(ref)
        return self._connections.command(
            RenewEntries(shard_key=shard, mode="", from_now_ms=0, ttl_ms=_lasting(ttl_seconds))
        )

    def removal(self, ref: StreamRef) -> Command:
        """Remove the entry of `ref`, whatever it is."""
        shard = self._keys.outbox_shard(ref)
        return Command.of("ZREM", shard, encode_member(ref))._replace(on_index=shard)

    def forget(self, ref: StreamRef) -> None:
        """Remove an entry with the next exchange, without waiting for it: one that is left over is nobody's work."""
        self._connections.post("complete", [self.removal(ref)])

    # -- claiming -------------------------------------------------------------------------------------------------

    async def claim(self, limit: int, claim_seconds: float) -> list[OutboxEntry]:
        """See `StreamStore.claim_owed`."""
        waiting = await self._listed(limit)
        claim_ms = milliseconds(claim_seconds)
        claimed: list[OutboxEntry] = []
        at = 0
        while at < len(waiting) and len(claimed) < limit:
            batch = waiting[at : at + limit - len(claimed)]
            at += len(batch)
            deadlines = await self._ask(
                "claim_due",
                [
                    self._connections.command(
                        ClaimEntry(shard_key=entry.shard, member=entry.member, score=entry.score, claim_ms=claim_ms)
                    )
                    for entry in batch
                ],
            )
            ours = [
                (entry, deadline)
                for entry, deadline in zip(batch, deadlines, strict=True)
                if isinstance(deadline, int) and deadline
            ]
            claimed += await self._confirm(ours, claim_seconds)
        return claimed

    async def _listed(
        self, limit: int, *, listing: type[DueEntries | PeekDue] = DueEntries, operation: str = "claim_due"
    ) -> list[Entry]:
        """What is due, oldest first: `limit` entries of each shard and a few more."""
        shards = self._keys.outbox_shards()
        replies = await self._ask(
            operation,
            [self._connections.command(listing(shard_key=shard, count=limit + STALE_ALLOWANCE)) for shard in shards],
        )
        entries = []
        for shard, reply in zip(shards, replies, strict=True):
            for member, score in scored_members(reply, operation):
                ref = self._named(shard, member)
                if ref is not None:
                    entries.append(Entry(whole_score(score), shard, member, ref))
        return sorted(entries, key=lambda entry: entry.score)

    async def _confirm(self, claims: Sequence[tuple[Entry, int]], claim_seconds: float) -> list[OutboxEntry]:
        """Those of the entries, each claimed until a deadline, that are work; the others are corrected.

        One whose record cannot be read becomes a dead letter: nobody can do its work, and an operator may look.
        """
        # Unchecked: a record that Redis cannot read must not hold up the others.
        replies = await self._connections.run("claim_due", [self._reading(entry.ref) for entry, _ in claims])
        found: list[OutboxEntry] = []
        corrections = []
        later = 0
        for (entry, deadline), reply in zip(claims, replies, strict=True):
            true_score: int | str
            if isinstance(reply, CommandError) and not concerns_record(reply):
                continue
            answer = _read(reply)
            work = _owed(entry.ref, answer, claim_seconds, dead=False)
            match answer:
                case OutboxAnswer(state=b"owed") if work is not None:
                    found.append(work)
                    continue
                case OutboxAnswer(state=b"open"):
                    continue
                case OutboxAnswer(state=b"gone"):
                    true_score = ""
                case OutboxAnswer(state=b"dead"):
                    true_score = -answer.expires_ms
                case OutboxAnswer(state=b"newer"):  # left to those who can read it, when they come by
                    later += 1
                    if later > STALE_ALLOWANCE // 2:  # but so many must not hide what this version can do
                        continue
                    true_score = entry.score
                case _:
                    key = key_text(self._keys.stream(entry.ref).meta)
                    self._report(Unreadable(RecordKind.STREAM, key, "damaged", "dead_letter", entry.ref))
                    corrections.append(self.dead(entry.ref, UNREADABLE_SECONDS))
                    continue
            correction = CorrectEntry(shard_key=entry.shard, member=entry.member, score=deadline, true_score=true_score)
            corrections.append(self._connections.command(correction))
        if corrections:
            await self._ask("claim_due", corrections)
        return found

    def _reading(self, ref: StreamRef) -> Command:
        return self._connections.command(OutboxState(meta_key=self._keys.stream(ref).meta))

    # -- listing --------------------------------------------------------------------------------------------------

    async def overdue(self, limit: int) -> list[OutboxEntry]:
        """See `StreamStore.overdue`."""
        entries = (await self._listed(limit, listing=PeekDue, operation="peek_due"))[:limit]
        found: list[OutboxEntry] = []
        for at in range(0, len(entries), _CONFIRMED):
            batch = entries[at : at + _CONFIRMED]
            replies = await self._connections.run("peek_due", [self._reading(entry.ref) for entry in batch])
            for entry, reply in zip(batch, replies, strict=True):
                answer = _read(reply)
                if answer is not None and answer.state == b"owed":
                    work = _owed(entry.ref, answer, (entry.score - answer.at_ms) / 1000, dead=False)
                    if work is not None:
                        found.append(work)
        return found

    async def listing(self, *, dead: bool, limit: int, after: StreamRef | None) -> list[OutboxEntry]:
        """See `StreamStore.owed`. What the index has as dead nobody works on, so it is listed as dead."""
        entries = [
            entry
            for entry in await self._scan()
            if (entry.score < 0) is dead and (after is None or entry.ref.stream_id > after.stream_id)
        ]
        entries.sort(key=lambda entry: entry.ref.stream_id)
        found: list[OutboxEntry] = []
        at = 0
        while at < len(entries) and len(found) < limit:
            batch = entries[at : at + min(_CONFIRMED, limit - len(found))]  # payloads may be large
            at += len(batch)
            replies = await self._connections.run("outbox_entries", [self._reading(entry.ref) for entry in batch])
            checked(
                "outbox_entries",
                [one for one in replies if not (isinstance(one, CommandError) and concerns_record(one))],
            )
            for entry, reply in zip(batch, replies, strict=True):
                match _read(reply):
                    case OutboxAnswer(state=b"owed" | b"dead") as answer:
                        if dead or answer.state == b"owed":
                            due_seconds = 0.0 if dead else (entry.score - answer.at_ms) / 1000
                            work = _owed(entry.ref, answer, due_seconds, dead=dead)
                            found.append(work or _unreadable(entry.ref, dead=dead))
                    case OutboxAnswer(state=b"gone" | b"open" | b"newer"):
                        continue
                    case _:  # it must not hide the others, nor be hidden
                        found.append(_unreadable(entry.ref, dead=dead))
        return found

    async def _scan(self) -> list[Entry]:
        """Every entry. ZSCAN gives each that is there throughout, however often it is moved meanwhile."""
        found: dict[bytes, Entry] = {}
        cursors = dict.fromkeys(self._keys.outbox_shards(), b"0")
        while cursors:
            commands = [
                Command.of("ZSCAN", shard, at, "COUNT", _SCAN_COUNT)._replace(on_index=shard)
                for shard, at in cursors.items()
            ]
            for shard, reply in zip(list(cursors), await self._ask("outbox_entries", commands), strict=True):
                match reply:
                    case [bytes() as cursor, pairs]:
                        for member, score in scored_members(pairs, "outbox_entries"):
                            ref = self._named(shard, member)
                            if ref is not None:
                                found[member] = Entry(whole_score(score), shard, member, ref)
                    case _:
                        raise StoreCorruptError(
                            "outbox_entries: Redis gave an unexpected answer", operation="outbox_entries"
                        )
                if cursor == b"0":
                    del cursors[shard]
                else:
                    cursors[shard] = cursor
        return list(found.values())


def _from_now(seconds: float) -> int:
    return round(seconds * 1000)


def _lasting(ttl_seconds: float) -> int:
    return milliseconds(ttl_seconds) + _SPARE_MS


def _read(reply: Reply) -> OutboxAnswer | None:
    """What `work_state` replied; None for an error, or anything else."""
    with suppress(*DAMAGE):
        answer: OutboxAnswer = read_reply(OutboxAnswer, reply)
        return answer
    return None


def _owed(ref: StreamRef, answer: OutboxAnswer | None, due_seconds: float, *, dead: bool) -> OutboxEntry | None:
    """What a record says is owed; None when it cannot be read."""
    if answer is None or answer.payload is None or answer.attempts is None or not answer.attempts.isdigit():
        return None
    reason = None if answer.reason is None else answer.reason.decode("utf-8", "replace")
    return OutboxEntry(ref, answer.payload, int(answer.attempts), due_seconds, reason, dead)


def _unreadable(ref: StreamRef, *, dead: bool) -> OutboxEntry:
    """What stands in a listing for work whose record cannot be read."""
    return OutboxEntry(ref, b"", 0, 0.0, RECORD_UNREADABLE, dead)
