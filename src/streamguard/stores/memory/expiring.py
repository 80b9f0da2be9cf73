"""A table in memory whose entries expire, of bounded size.

Pure: no clock is read. `now` is on the store's clock.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Final, Generic, TypeVar

__all__ = ["MAX_ENTRIES", "ExpiringTable"]

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES: Final = 100_000
"""Entries of one table. Requests make them, so that their number must not be the clients' to choose."""
_SLACK: Final = 64


class ExpiringTable(Generic[K, V]):
    """Values by key, each until its time. Past `limit` entries, those that expire first are forgotten."""

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self._limit = limit
        self._entries: dict[K, tuple[V, float]] = {}
        """Each value, and until when it stands."""
        self._looks: list[tuple[float, int, K]] = []
        """A heap of when to look at an entry. It may hold keys that were removed, but no more of them than entries."""
        self._ticket = count()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value that stands."""
        value, until = self._entries.get(key, (None, now))
        return value if until > now else None

    def until(self, key: K) -> float:
        """Until when the key's value stands; 0 for none."""
        return self._entries[key][1] if key in self._entries else 0.0

    def put(self, key: K, value: V, until: float) -> None:
        """Set a value, in place of the one there was."""
        known = key in self._entries
        self._entries[key] = value, until
        if not known:
            self._look(until, key)
            while len(self._entries) > self._limit:
                self._forget_first()

    def remove(self, key: K) -> None:
        """Remove a value, if there is one."""
        if self._entries.pop(key, None) is not None and len(self._looks) > 2 * len(self._entries) + _SLACK:
            self._looks = [(until, next(self._ticket), kept) for kept, (_, until) in self._entries.items()]
            heapq.heapify(self._looks)

    def expire(self, now: float) -> None:
        """Forget what expired."""
        while self._looks and self._looks[0][0] <= now:
            self._forget_first(now)

    def _forget_first(self, now: float | None = None) -> None:
        """Take the first look: forget its entry, unless that stands longer (past `now`, or than when it was made)."""
        when, _, key = heapq.heappop(self._looks)
        entry = self._entries.get(key)
        if entry is None:
            return
        if entry[1] > (when if now is None else now):
            self._look(entry[1], key)
        else:
            del self._entries[key]

    def _look(self, when: float, key: K) -> None:
        heapq.heappush(self._looks, (when, next(self._ticket), key))
