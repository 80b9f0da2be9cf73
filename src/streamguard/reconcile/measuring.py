"""Measures what all processes share: how much waits in the stores, and whether quotas are counted right."""

from __future__ import annotations

import asyncio
from typing import Final

from ..deadlines import Deadline
from ..errors import QuotaCorruptError, QuotaError
from ..observations import Observation, Signal
from ..quota import MeasuredQuota, Quota
from ..runtime import Runtime
from ..stores.roles.worker_reports import Depths
from ..stores.store import StreamStore
from ..values import StreamRef

__all__ = ["OutboxWaits", "StoreMeasuring"]

OWNERS: Final = 3
"""The counters of so many owners are looked at in each measurement."""
SUSPECTS: Final = 16
"""So many owners whose counters were off are looked at again in each, until they are right."""
LISTED: Final = 50
"""Entries of the outbox are told apart when there are no more than so many."""
MOST_RESERVATIONS: Final = 1_000
"""Owners with more of them are passed over: one look must not hold up the quota's store."""

Fields = dict[str, str | int | float | bool | None]


class OutboxWaits:
    """For how long what is owed has been owed, as far as this process has seen: an entry's own due time moves with each
    attempt, so it does not tell."""

    def __init__(self) -> None:
        self._seen: dict[StreamRef, float] = {}
        """When each entry was seen first, on the loop's clock."""
        self._many_since: float | None = None
        """Since when there have been too many to tell them apart."""

    async def oldest_seconds(self, store: StreamStore, depths: Depths) -> float:
        """For how long the oldest entry has been there, 0 for none; with too many to tell apart, for how long there
        have been so many.

        Raises:
            StoreError: the store failed.
        """
        now = asyncio.get_running_loop().time()
        overdue = depths.outbox_oldest_seconds or 0.0
        if depths.outbox > LISTED:
            if self._many_since is None:
                self._many_since = min(self._seen.values(), default=now)
            self._seen = {}
            return max(overdue, now - self._many_since)
        self._many_since = None
        entries = await store.outbox_entries(dead=False, limit=LISTED) if depths.outbox else []
        self._seen = {entry.ref: self._seen.get(entry.ref, now) for entry in entries}
        return max(overdue, now - min(self._seen.values(), default=now))


class StoreMeasuring:
    """Tells `STORE_MEASURED`. Every process measures for itself, and what it costs does not depend on how much waits.

    Quotas are sampled: each process looks at owners for whom it reserved something lately.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waits = OutboxWaits()
        self._suspects: dict[str, tuple[Quota, ...]] = {}
        """Owners whose counters were off when they were last looked at."""

    async def measure(self) -> None:
        """Measure once. A quota that does not answer costs its numbers only.

        Raises:
            StoreError: the stream store failed.
        """
        runtime = self._runtime
        depths = await runtime.store.depths()
        fields: Fields = {
            "outbox": depths.outbox,
            "outbox_oldest_seconds": await self._waits.oldest_seconds(runtime.store, depths),
            "dead_letters": depths.dead_letters,
            "expired_leases": depths.expired_leases,
        }
        quota: object = runtime.reservations.store
        if isinstance(quota, MeasuredQuota):
            try:
                async with Deadline.after(runtime.settings.quota_seconds).limit():
                    fields |= await self._quota(quota)
            except (QuotaError, TimeoutError):
                runtime.reservations.failing = True
        runtime.observe(Observation(Signal.STORE_MEASURED, fields=fields))

    async def _quota(self, store: MeasuredQuota) -> Fields:
        depths = await store.depths()
        fields: Fields = {
            "reservations": depths.reserved,
            "stale_reservations": depths.due,
            "reservations_oldest_seconds": depths.due_oldest_seconds or 0.0,
        }
        drift = await self._drift(store)
        if drift is not None:
            fields["quota_drift_units"] = drift
        return fields

    async def _drift(self, store: MeasuredQuota) -> int | None:
        """The farthest that an owner's counters were found to be off; None where nobody's could be looked at."""
        latest = self._runtime.reservations.latest_owners()
        owners = self._suspects | dict(list(latest.items())[:OWNERS])
        self._suspects = {}
        farthest: int | None = None
        for owner, quotas in owners.items():
            try:
                drift = await store.drift(owner, quotas, most=MOST_RESERVATIONS)
            except QuotaCorruptError:  # of one owner, whose requests tell of it
                continue
            if drift is None:
                continue
            farthest = max(farthest or 0, drift)
            if drift and len(self._suspects) < SUSPECTS:
                self._suspects[owner] = quotas
        return farthest
