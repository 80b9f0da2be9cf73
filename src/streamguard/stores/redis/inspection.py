"""`RedisInspection`: streams and the outbox, listed for operators. It changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ...errors import StoreCorruptError
from ...values import SessionKey, StreamRef, StreamState
from ..outbox_pages import OutboxPage, OutboxPlace
from ..records import OutboxEntry, StreamMeta
from ..roles.inspection import Inspection
from .codec import decode_meta
from .driver import CommandError
from .errors import checked, concerns_record
from .index_calls import OutboxAnswer, PeekDue
from .lease_index import LeaseIndex
from .namespace import RedisNamespace
from .outbox_index import OutboxIndex, owed_work, read_work
from .sharded_index import Entry
from .stream_calls import ReadMeta

__all__ = ["RedisInspection"]

RECORD_UNREADABLE: Final = "record_unreadable"
"""The reason given for work whose record cannot be read."""

_READ_AT_ONCE: Final = 500
"""How many records a listing for operators reads at once, at most."""


class RedisInspection(Inspection):
    """What `RedisStore` tells operators."""

    def __init__(self, redis: RedisNamespace, leases: LeaseIndex, outbox: OutboxIndex) -> None:
        self._redis = redis
        self._leases = leases
        self._outbox = outbox

    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        refs = await self._leases.earliest(limit)
        found: list[StreamMeta] = []
        at = 0
        while at < len(refs) and len(found) < limit:
            batch = refs[at : at + min(_READ_AT_ONCE, limit - len(found))]
            at += len(batch)
            keys = [self._redis.keys.stream(ref) for ref in batch]
            replies = await self._redis.ask(
                "active_streams",
                *(self._redis.command(ReadMeta(meta_key=key.meta, log_key=key.log)) for key in keys),
            )
            for ref, reply in zip(batch, replies, strict=True):
                with suppress(StoreCorruptError):  # a later version's, or damaged: no reason to hide the others
                    meta = decode_meta(ref, reply, "active_streams")
                    if meta is not None and meta.state is not StreamState.CLOSED:
                        found.append(meta)
        return sorted(found, key=lambda meta: meta.lease_seconds)

    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        entries = (await self._outbox.due_entries("peek_due", limit, PeekDue))[:limit]
        found: list[OutboxEntry] = []
        for at in range(0, len(entries), _READ_AT_ONCE):
            batch = entries[at : at + _READ_AT_ONCE]
            replies = await self._outbox.read_records("peek_due", [entry.ref for entry in batch])
            for entry, reply in zip(batch, replies, strict=True):
                answer = read_work(reply)
                if answer is not None and answer.state == b"owed":
                    work = owed_work(entry.ref, answer, (entry.score - answer.at_ms) / 1000, dead=False)
                    if work is not None:
                        found.append(work)
        return found

    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        # No worker works on what the index has as dead, so it is listed as dead.
        place = OutboxPlace.read(after)
        count = min(limit, _READ_AT_ONCE)  # payloads may be large
        entries, end, left = await self._outbox.page("outbox_page", dead=dead, count=count, begin=place)
        confirmed = await self._confirmed("outbox_page", entries)
        return OutboxPage(confirmed, end.text if left else None, left)

    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        if key is None:
            entry = await self._outbox.find("outbox_entry", stream_id)
        else:
            entry = await self._outbox.entry("outbox_entry", StreamRef(key, stream_id))
        found = [] if entry is None else await self._confirmed("outbox_entry", [entry])
        return found[0] if found else None

    async def _confirmed(self, operation: str, entries: Sequence[Entry]) -> list[OutboxEntry]:
        """The work of those entries whose records say that it is owed, and of those that cannot be read."""
        replies = await self._outbox.read_records(operation, [entry.ref for entry in entries]) if entries else []
        errors = [reply for reply in replies if isinstance(reply, CommandError) and not concerns_record(reply)]
        checked(operation, errors)
        found: list[OutboxEntry] = []
        for entry, reply in zip(entries, replies, strict=True):
            dead = entry.score < 0
            match read_work(reply):
                case OutboxAnswer(state=b"owed" | b"dead") as answer:
                    if dead or answer.state == b"owed":
                        due_seconds = 0.0 if dead else (entry.score - answer.at_ms) / 1000
                        work = owed_work(entry.ref, answer, due_seconds, dead=dead)
                        found.append(work or _unreadable(entry.ref, dead=dead))
                case OutboxAnswer(state=b"gone" | b"open" | b"newer"):
                    continue
                case _:  # it must not hide the others, nor be hidden
                    found.append(_unreadable(entry.ref, dead=dead))
        return found


def _unreadable(ref: StreamRef, *, dead: bool) -> OutboxEntry:
    """What stands in a listing for work whose record cannot be read."""
    return OutboxEntry(ref, b"", 0, 0.0, RECORD_UNREADABLE, dead)
