"""What broken stores are made of: the memory store, with its inside in reach and a clock to turn."""

from __future__ import annotations

from typing import Final

from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.quota.ledger import Ledger, _Record, _Window
from streamguard.values import StreamRef

from ...harness.broken import Breaks
from ..clocks import Clock

__all__ = ["Bench", "breaks"]


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


breaks: Final = Breaks[Bench]()
"""Registers a broken store."""
