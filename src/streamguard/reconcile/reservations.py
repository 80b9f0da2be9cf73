"""Ends reservations that were neither renewed nor settled: of workers that died between reserving and starting, and of
replies whose settlement was given up.

An expired reservation holds no quota back any more: the sweep only removes it from the index of reservations and
observes that. It leaves a reservation alone if its stream is alive or its settlement is owed: both are charged late,
once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ..charging.charge import state_on_record
from ..deadlines import Deadline
from ..errors import QuotaCorruptError, QuotaError, QuotaTimeoutError, StoreCorruptError, StoreUnavailableError
from ..observations import Observation, Signal
from ..quota import QuotaStore, Reservation, ReservationState
from ..retrying import jittered
from ..runtime import Runtime
from ..stores.records import StreamMeta
from ..values import QuotaState, StreamState
from .results import Duty, Planned, Result, Step, Tally, Treated

__all__ = ["ROUND_SECONDS", "ReservationSweep"]

BATCH: Final = 100
"""So many reservations one read gives at most."""
CLAIM_SECONDS: Final = 30.0
"""How long a reservation that a worker has claimed is kept from others, and one that it left from itself."""
ROUND_SECONDS: Final = 10.0
"""Seconds between a worker's rounds, at most."""


class ReservationSweep:
    """Sweeps every `ROUND_SECONDS`, jittered so that workers do not move in step; does nothing without a quota
    store."""

    def __init__(self, runtime: Runtime, tally: Tally | None = None) -> None:
        self._runtime = runtime
        self._tally = tally or Tally()
        self.last_success: float | None = None
        """Loop time of the last round that came to its end."""

    async def run(self) -> None:
        """Sweep until the drain; not while the stream store is away, since then no stream is known to be alive."""
        runtime = self._runtime
        while runtime.reservations.store is not None:
            await asyncio.sleep(jittered(ROUND_SECONDS))
            if runtime.draining:
                return
            if runtime.breaker.healthy_seconds < runtime.settings.lease_seconds:
                continue
            try:
                await self.attempt()
            except StoreUnavailableError as exc:
                runtime.breaker.stumbled(exc)

    async def attempt(self) -> list[Treated]:
        """As `run_once`. While the quota does not answer it does nothing, and the runtime's health says so.

        Raises:
            StoreError: the stream store failed.
        """
        try:
            return await self.run_once()
        except (QuotaError, TimeoutError):
            self._runtime.reservations.failing = True
            return []

    async def run_once(self) -> list[Treated]:
        """Expire what is due. Returns what became of each reservation.

        Raises:
            StoreError, QuotaError, TimeoutError: a store failed; claimed reservations become due again.
        """
        runtime, store = self._runtime, self._runtime.reservations.store
        treated: list[Treated] = []
        while store is not None and not runtime.draining:
            async with Deadline.after(runtime.settings.quota_seconds).limit():
                due = await store.due(limit=BATCH, claim_seconds=CLAIM_SECONDS)
            for reservation in due:
                try:
                    treated.append(await self._expire(store, reservation))
                except QuotaCorruptError:  # of one owner; that must not keep it from the others
                    treated.append(Treated(reservation.ref, Duty.RESERVATIONS, Result.LEFT, "unreadable"))
            if len(due) < BATCH:
                break
        self.last_success = asyncio.get_running_loop().time()
        return treated

    async def plan(self, *, limit: int) -> list[Planned]:
        """What `run_once` would end of up to `limit` reservations. It claims nothing.

        Raises:
            StoreError, QuotaError: a store failed.
        """
        runtime, store = self._runtime, self._runtime.reservations.store
        if store is None:
            return []
        try:
            async with Deadline.after(runtime.settings.quota_seconds).limit():
                due = await store.due(limit=limit, claim_seconds=0)
        except TimeoutError as exc:
            raise QuotaTimeoutError("due: the quota did not answer in time", operation="due") from exc
        planned = []
        for reservation in due:
            meta, reason = await self._why_left(reservation)
            if reason is None:
                binding = "" if meta is None else meta.binding
                planned.append(Planned(reservation.ref, Step.EXPIRE, binding, None, reserved=reservation.amounts))
        return planned

    async def _why_left(self, reservation: Reservation) -> tuple[StreamMeta | None, str | None]:
        """The record of a reservation's stream, and why the reservation is left alone; None if it is not."""
        runtime, ref = self._runtime, reservation.ref
        if runtime.owns(ref):
            return None, "live"
        try:
            meta = await runtime.store.meta(ref)
        except StoreCorruptError:
            return None, "unreadable"
        if meta is not None and meta.state is not StreamState.CLOSED:
            return meta, "live"  # or an orphan: its end settles it
        if meta is not None and meta.quota is QuotaState.PENDING and not meta.lost:
            return meta, "owed"
        return meta, None

    async def _expire(self, store: QuotaStore, reservation: Reservation) -> Treated:
        runtime, ref = self._runtime, reservation.ref
        meta, reason = await self._why_left(reservation)
        if reason is not None:
            return Treated(ref, Duty.RESERVATIONS, Result.LEFT, reason)
        async with Deadline.after(runtime.settings.quota_seconds).limit():
            settlement = await store.expire(ref)
        state = state_on_record(settlement.state)
        if meta is not None and meta.quota is QuotaState.PENDING and state is not QuotaState.PENDING:
            # Its log is lost, so no outbox entry owes the settlement: this alone puts on record what became of it.
            await runtime.store.update_meta(ref, quota=state)
        if settlement.state is not ReservationState.EXPIRED:
            return Treated(ref, Duty.RESERVATIONS, Result.LEFT, settlement.state)
        self._tally.reservations += 1
        expired = Observation(Signal.RESERVATION_EXPIRED, ref=ref)
        runtime.observe(expired if meta is None else Observation.about(meta, Signal.RESERVATION_EXPIRED))
        return Treated(ref, Duty.RESERVATIONS, Result.DONE, settlement.state)
