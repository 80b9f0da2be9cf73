"""The rounds of one process's reconciler, as operators are told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ..observations import Observation, Observer, Signal
from ..stores.records import Partition
from .results import Duty, Result, Tally, Treated

__all__ = ["Rounds"]


class Rounds:
    """Tells of each round when it begins and when it is over."""

    def __init__(self, observe: Observer, tally: Tally) -> None:
        self._observe = observe
        self._tally = tally
        self._leads: bool | None = None
        """Whether this worker is the first of those that share the work, as the store said last; None where it did not
        say: for a process of its own."""

    def shared(self, partition: Partition) -> None:
        """The store gave this worker a partition of the work."""
        self._leads = partition.place == 0

    @contextmanager
    def one(self) -> Iterator[list[Treated]]:
        """A round, which adds what it treats. Failed, or cancelled, it counts as failed."""
        clock = asyncio.get_running_loop().time
        self._observe(Observation(Signal.RECONCILE_STARTED, fields=self._place()))
        begun, outcome, treated = clock(), "failed", list[Treated]()
        try:
            yield treated
            outcome = "ok"
        finally:
            of_orphans = [one for one in treated if one.duty is Duty.ORPHANS]
            orphans = sum(1 for one in of_orphans if one.result is Result.DONE)
            counts = self._tally.take()
            counts["left"] += len(of_orphans) - orphans
            fields: dict[str, str | int | float] = {"outcome": outcome, "seconds": clock() - begun, "orphans": orphans}
            fields |= counts
            fields["found"] = orphans + sum(counts.values())
            fields |= self._place()
            self._observe(Observation(Signal.RECONCILED, fields=fields))

    def _place(self) -> dict[str, bool]:
        return {} if self._leads is None else {"leads": self._leads}
