"""What the indexes across sessions have in common: sorted sets in shards, which lie on different cluster slots.

An index is shared by all sessions, so a damaged entry must affect no session but the one it names: an entry that cannot
be read is removed, a shard that is no sorted set any more is begun anew, and both are reported.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from ...errors import StoreCorruptError
from ...values import StreamRef
from ..damage import RecordKind, Unreadable
from .driver import Command, Reply
from .keys import decode_member, key_text
from .namespace import RedisNamespace

__all__ = ["STALE_ALLOWANCE", "Entry", "ShardedIndex", "scored_members", "whole_score"]

STALE_ALLOWANCE: Final = 64
"""How many entries beyond the limit are looked at in each shard, so that wrong ones do not hide right ones."""


class Entry(NamedTuple):
    """An entry as it was read."""

    score: int
    shard: bytes
    member: bytes
    ref: StreamRef


class ShardedIndex:
    """An index of one namespace."""

    kind: RecordKind

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis

    def entries(self, shard: bytes, reply: Reply, operation: str) -> list[Entry]:
        """The entries that a shard answered with their scores. One that names no stream is removed with the next
        exchange: nothing can be saved from it, and every later look would come upon it."""
        found = []
        for member, score in scored_members(reply, operation):
            try:
                ref = decode_member(member)
            except StoreCorruptError:
                name = f"{key_text(shard)} {key_text(member[:64])}"
                self._redis.report(Unreadable(self.kind, name, "damaged", "removed"))
                self._redis.connections.post("remove", [Command.on(shard, "ZREM", member)])
                continue
            found.append(Entry(whole_score(score), shard, member, ref))
        return found


def scored_members(reply: Reply, operation: str) -> list[tuple[bytes, bytes]]:
    """The members that a shard answered, each with its score."""
    if not isinstance(reply, list):
        raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)
    flat = [piece for piece in reply if isinstance(piece, bytes)]
    return list(zip(flat[::2], flat[1::2], strict=True))


def whole_score(score: bytes) -> int:
    """A score as a number. One that is not finite, which none of ours is, counts as long past: it is looked at then."""
    number = float(score)
    return int(number) if math.isfinite(number) else 0
