"""What the indexes across sessions have in common: sorted sets in shards, which lie on different cluster slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import StoreCorruptError
from ._redis import Command, Reply, checked
from .redis_keys import Keys
from .redis_lanes import Lanes

__all__ = ["STALE_ALLOWANCE", "ShardedIndex", "scored_members"]

STALE_ALLOWANCE: Final = 64
"""How many entries beyond the limit are looked at in each shard, so that wrong ones do not hide right ones."""


class ShardedIndex:
    """An index of one store."""

    def __init__(self, lanes: Lanes, keys: Keys) -> None:
        self._lanes = lanes
        self._keys = keys

    async def _ask(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        replies = await self._lanes.run(operation, commands)
        checked(operation, replies)
        return replies


def scored_members(reply: Reply, operation: str) -> list[tuple[bytes, bytes]]:
    """The members that a shard answered, each with its score."""
    if not isinstance(reply, list):
        raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)
    flat = [piece for piece in reply if isinstance(piece, bytes)]
    return list(zip(flat[::2], flat[1::2], strict=True))
