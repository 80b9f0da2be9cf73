"""How long keys last: those that several sessions have in common, and those of a running stream."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["INDEX_TTL_MS", "OWNER_TTL_MS", "live_ms"]

INDEX_TTL_MS: Final = 8 * 86_400_000
"""Of an index. Longer than any stream is kept with work owed (`outbox_retention_seconds`, a week); every write renews
it, those of registrations once an eighth of it has passed."""

OWNER_TTL_MS: Final = 86_400_000
"""Of an owner's slots, likewise: longer than any lease."""


@lru_cache(maxsize=64)
def live_ms(ttl_seconds: float) -> int:
    """Of a running stream's keys, in milliseconds: a sixtieth longer than asked for, a minute of an hour.

    A stream that ends within that time, to be kept for as long, needs nothing more: its end leaves four keys as they
    are (see `close.lua`).
    """
    return max(1, round(ttl_seconds * 1000 * 61 / 60))
