"""What the indexes across sessions have in common: sorted sets in shards, which lie on different cluster slots.

An index is shared by everybody, so what is wrong with it must cost nobody but whom it names: an entry that cannot be
read is removed, a shard that is no sorted set any more is begun anew, and both are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from ...decoding import decoding
from ...errors import StoreCorruptError
from ...lua import Call
from ...values import StreamRef
from ..damage import RecordKind, Unreadable
from .driver import Command, CommandError, Reply
from .errors import checked, concerns_record
from .index_calls import ResetIndex
from .keys import Keys, decode_member
from .pipeline import PipelinedConnections

__all__ = [
    "STALE_ALLOWANCE",
    "Report",
    "ShardedIndex",
    "ask",
    "key_text",
    "read_answer",
    "scored_members",
    "whole_score",
]

STALE_ALLOWANCE: Final = 64
"""How many entries beyond the limit are looked at in each shard, so that wrong ones do not hide right ones."""

R = TypeVar("R")

Report = Callable[[Unreadable], None]


async def ask(
    connections: PipelinedConnections, report: Report, operation: str, commands: Sequence[Command]
) -> list[Reply]:
    """The replies to `commands`. An index among their keys that is of another type is begun anew, and the commands on
    it are sent again.

    Raises:
        StoreCorruptError: a key holds something else than ours do.
        StoreUnavailableError: no answer in time, or Redis refused.
    """
    replies = await connections.run(operation, commands)
    damaged = [
        n
        for n, reply in enumerate(replies)
        if isinstance(reply, CommandError) and commands[n].on_index is not None and concerns_record(reply)
    ]
    if damaged:
        indexes = list(dict.fromkeys(index for n in damaged if (index := commands[n].on_index) is not None))
        resets = [connections.command(ResetIndex(shard_key=index)) for index in indexes]
        mended = await connections.run(operation, resets)
        checked(operation, mended)
        for index, removed in zip(indexes, mended, strict=True):
            if removed == 1:
                report(Unreadable(_kind_of(index), key_text(index), "wrong_type", "begun_anew"))
        for n, reply in zip(damaged, await connections.run(operation, [commands[n] for n in damaged]), strict=True):
            replies[n] = reply
    checked(operation, replies)
    return replies


def read_answer(operation: str, call: Call[R], reply: Reply) -> R:
    """What a script replied.

    Raises:
        StoreCorruptError: it is no such reply.
    """
    with decoding(lambda: StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)):
        return call.read(reply)


class ShardedIndex:
    """An index of one store. `report` is told of what cannot be read."""

    kind: RecordKind

    def __init__(self, connections: PipelinedConnections, keys: Keys, report: Report) -> None:
        self._connections = connections
        self._keys = keys
        self._report = report

    async def _ask(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        return await ask(self._connections, self._report, operation, commands)

    def _named(self, shard: bytes, member: bytes) -> StreamRef | None:
        """The stream that an entry names. One that names none is removed with the next exchange: nothing can be saved
        from it, and it would be come upon for ever."""
        try:
            return decode_member(member)
        except StoreCorruptError:
            entry = f"{key_text(shard)} {key_text(member[:64])}"
            self._report(Unreadable(self.kind, entry, "damaged", "removed"))
            self._connections.post("remove", [Command.of("ZREM", shard, member)])
            return None


def scored_members(reply: Reply, operation: str) -> list[tuple[bytes, bytes]]:
    """The members that a shard answered, each with its score."""
    if not isinstance(reply, list):
        raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)
    flat = [piece for piece in reply if isinstance(piece, bytes)]
    return list(zip(flat[::2], flat[1::2], strict=True))


def whole_score(score: bytes) -> int:
    """A score as a number; one that is not finite, which none of ours is, as long past: it is looked at then."""
    number = float(score)
    return int(number) if math.isfinite(number) else 0


def key_text(key: bytes) -> str:
    """A key for people."""
    return key.decode("utf-8", "backslashreplace")


def _kind_of(index: bytes) -> RecordKind:
    if b":{lease." in index:
        return RecordKind.LEASE_INDEX
    return RecordKind.OUTBOX if b":{outbox." in index else RecordKind.OWNER_SLOTS
