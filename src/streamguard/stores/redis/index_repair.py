"""Enters streams again whose entries in an index are lost, by going through the records a page at a time.

In a cluster a stream's record and its entry are on two servers. When a failover loses the entry, its worker's next
heartbeat brings it back; but if the worker dies before that, nobody renews it, and no sweep would ever see the stream.
Likewise work that is owed, if the worker that closed the stream dies before it looks again (see `removed_entries`), and
everything that an index named which somebody deleted. The records know better, and SCAN finds them without an index.

What it costs does not depend on how much there is, only how long one pass over all keys takes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ...decoding import DAMAGE, read_text
from ...errors import StoreUnavailableError
from ...lua import read_reply
from ...values import FORMAT_VERSION, Persisted, QuotaState, SessionKey, StreamRef
from .driver import Command, CommandError, Reply
from .identities import read_identity
from .index_calls import OutboxAnswer, OutboxState, RenewEntries
from .keys import StreamKeys
from .lifetimes import INDEX_TTL_MS
from .namespace import RedisNamespace
from .permissions import is_refusal
from .pipeline import Server
from .record_fields import RECORD_FIELDS

__all__ = ["IndexRepair"]

PAGES: Final = 8
"""So many pages of each server's keys are looked at in one call."""
PAGE: Final = 500
"""SCAN goes over about so many keys for one page. Measured, a third of them records: that holds Redis up for 0.6 ms,
and the page costs 1.5 ms of Redis's CPU and 2 ms of the worker's."""

_NOTHING_OWED: Final = frozenset({b"gone", b"open", b"newer"})

_FIELDS: Final = [
    RECORD_FIELDS[name] for name in ("version", "state", "lease_until", "persisted", "quota", "dead", "identity")
]


class IndexRepair:
    """Goes on where the last call ended, at each server; after its last key, at its first one."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis
        self._cursors: dict[str, bytes] = {}
        """By server: where its next page begins."""
        self._refused = False
        """Whether this account may not run SCAN."""
        namespace = redis.keys.session(SessionKey("", "")).session.partition(b":")[0]
        self._pattern = namespace + b":{*}:m:*"
        self._record: Final = re.compile(re.escape(namespace) + rb":\{[^}]*\}:m:([0-9a-f]{24})")

    async def next_pages(self) -> None:
        """Look at the next pages of every server that answers.

        Raises:
            StoreUnavailableError: none answers.
        """
        if self._refused:
            return
        servers = await self._redis.connections.servers("repair_indexes")
        self._cursors = {one.name: self._cursors.get(one.name, b"0") for one in servers}
        failures = []
        for server in servers:
            try:
                await self._next_pages_of(server)
            except StoreUnavailableError as exc:
                failures.append(exc)
        if failures and len(failures) == len(servers):
            raise failures[0]

    async def _next_pages_of(self, server: Server) -> None:
        for _ in range(PAGES):
            scan = Command.of("SCAN", self._cursors[server.name], "MATCH", self._pattern, "COUNT", PAGE)
            match (await server.connections.run("repair_indexes", [scan]))[0]:
                case [bytes() as cursor, list() as names]:
                    await self._look_at(server, [name for name in names if isinstance(name, bytes)])
                    self._cursors[server.name] = cursor
                    if cursor == b"0":
                        return
                case CommandError() as refusal:
                    self._refused |= is_refusal(str(refusal))  # a server that is busy or loading refuses it to all
                    return
                case _:
                    return

    async def _look_at(self, server: Server, names: Sequence[bytes]) -> None:
        """Enter those of these records' streams that a worker has to look at, unless they have entries."""
        records = [name for name in names if self._record.fullmatch(name)]
        reading = [Command.on(name, "HMGET", *_FIELDS) for name in records]
        if not reading:
            return
        *replies, time = await server.connections.run("repair_indexes", [*reading, Command.of("TIME")])
        match time:
            case [bytes() as seconds, bytes() as microseconds]:
                now_ms = int(seconds) * 1_000 + int(microseconds) // 1_000
            case _:
                return
        entries: dict[bytes, list[bytes]] = {}
        owing: list[tuple[bytes, StreamKeys]] = []
        for name, reply in zip(records, replies, strict=True):
            try:
                found = self._to_look_at(name, reply, now_ms)
            except DAMAGE:
                continue
            if found is None:
                continue
            ref, closed = found
            keys = self._redis.keys.stream(ref)
            if keys.meta != name:
                continue
            if closed:
                owing.append((self._redis.keys.outbox_shard(ref), keys))
            else:
                entries.setdefault(keys.lease_shard, []).append(keys.member)
        for shard, keys in await self._lost_work(owing):
            entries.setdefault(shard, []).append(keys.member)
        entering = [
            RenewEntries(shard_key=shard, mode="NX", from_now_ms=0, ttl_ms=INDEX_TTL_MS, members=members)
            for shard, members in entries.items()
        ]
        if entering:
            await self._redis.ask("repair_indexes", *map(self._redis.command, entering), partly=True)

    async def _lost_work(self, owing: Sequence[tuple[bytes, StreamKeys]]) -> list[tuple[bytes, StreamKeys]]:
        """Those without an entry that owe something. What a record says of its save and its settlement may stay
        `pending` after the work is given up, and of a lost log no worker is to see to it: without a payload there is
        none."""
        if not owing:
            return []
        asking = [Command.on(shard, "ZSCORE", keys.member)._replace(on_index=shard) for shard, keys in owing]
        scores = await self._redis.ask("repair_indexes", *asking, partly=True)
        without = [one for one, score in zip(owing, scores, strict=True) if score is None]
        reading = [self._redis.command(OutboxState(meta_key=keys.meta)) for _, keys in without]
        states = await self._redis.connections.run("repair_indexes", reading) if reading else []
        return [one for one, state in zip(without, states, strict=True) if _owes(state)]

    @staticmethod
    def _to_look_at(name: bytes, reply: Reply, now_ms: int) -> tuple[StreamRef, bool] | None:
        """Which one it is, and whether it is closed, of a stream that a worker may have to look at; None of any other.
        Workers compare with the record, and correct an entry that is wrong: so this need not be exact."""
        if not isinstance(reply, list):
            return None
        version, state, lease_until, persisted, quota, dead, identity = reply
        if version is None or int(read_text(version)) > FORMAT_VERSION:
            return None
        closed = state == b"c"
        if closed:
            pending = persisted == Persisted.PENDING.value.encode() or quota == QuotaState.PENDING.value.encode()
            wanted = pending or dead == b"1"
        else:
            wanted = int(read_text(lease_until)) < now_ms
        if not wanted:
            return None
        return StreamRef(read_identity(identity).key, name[-24:].decode()), closed


def _owes(reply: Reply) -> bool:
    """Whether a record says of its stream that a worker, or an operator, has to see to what it owes."""
    try:
        answer: OutboxAnswer = read_reply(OutboxAnswer, reply)
    except DAMAGE:
        return False
    return answer.state not in _NOTHING_OWED
