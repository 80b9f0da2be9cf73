"""What broken stores are made of: the memory store, with its inside in reach and a clock to turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from streamguard.model import StreamRef
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.quota.ledger import Ledger, _Record, _Window

from ..clocks import Clock

__all__ = ["BROKEN", "Bench", "Broken", "breaks"]


class Bench(MemoryQuotaStore):
    """A memory store whose inside can be looked at, and bent."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(clock=self.clock)

    def ledger(self, owner: str) -> Ledger | None:
        return self._ledger(owner, self._begin())

    def record(self, ref: StreamRef) -> _Record | None:
        ledger = self.ledger(ref.key.owner)
        return None if ledger is None else ledger._record((ref.key.session_id, ref.stream_id))

    def window(self, owner: str, quota: Quota) -> _Window | None:
        ledger = self.ledger(owner)
        return None if ledger is None else ledger._window(quota.unit, quota.period_ms)

    def forget(self, ref: StreamRef) -> None:
        """Lose a reservation, and leave what it counts for."""
        ledger = self.ledger(ref.key.owner)
        name = (ref.key.session_id, ref.stream_id)
        if ledger is not None and ledger._records.pop(name, None) is not None:
            ledger._open.remove(name)
            ledger._done.remove(name)


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken store and what must fail on it."""

    store: type[Bench]
    clauses: frozenset[str]
    """The clause it breaks, and others that cannot be kept then."""


BROKEN: Final[dict[str, Broken]] = {}
"""By the clause that is broken."""

T = TypeVar("T", bound=type[Bench])


def breaks(clause: str, *also: str) -> Callable[[T], T]:
    """Register a store that breaks `clause`; name in `also` what follows from that."""

    def register(store: T) -> T:
        assert clause not in BROKEN, clause
        BROKEN[clause] = Broken(store, frozenset({clause, *also}))
        return store

    return register
