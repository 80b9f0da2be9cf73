"""All healing of one runtime: as background tasks of a server, or as one round for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from ..runtime import Runtime
from ..stores.records import OutboxEntry, StreamMeta
from ..values import QuotaState, StreamState
from ..wire import knows_protocol
from .orphans import OrphanSweep
from .outbox import OutboxWorker
from .reservations import ROUND_SECONDS, ReservationSweep
from .results import Duty, Planned, Report, Step, Tally
from .rounds import Rounds

__all__ = ["Planned", "Reconciler", "Report", "Step"]

PING_SECONDS: Final = 1.0
LATE_ROUNDS: Final = 6
"""A duty is late when it has finished no round for a lease and so many of its rounds."""


class _Background(NamedTuple):
    """A duty that runs in the background."""

    name: Duty
    run: Callable[[], Awaitable[None]]
    last_success: Callable[[], float | None]
    every_seconds: float


class Reconciler:
    """Ends orphans and attempts what is owed, under the bindings of one guard."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings = runtime.settings
        tally = Tally()
        self._told = Rounds(runtime.observe, tally)
        self._orphans = OrphanSweep(runtime, self._told)
        self._outbox = OutboxWorker(runtime, tally)
        self._duties: tuple[_Background, ...] = (
            _Background(Duty.ORPHANS, self._orphans.run, lambda: self._orphans.last_success, settings.sweep_seconds),
            _Background(Duty.OUTBOX, self._outbox.run, lambda: self._outbox.last_success, settings.outbox_seconds),
        )
        self._reservations = ReservationSweep(runtime, tally)
        if runtime.reservations.store is not None:
            self._duties += (
                _Background(
                    Duty.RESERVATIONS, self._reservations.run, lambda: self._reservations.last_success, ROUND_SECONDS
                ),
            )
        self._supervised_at: float | None = None

    @property
    def shared(self) -> bool:
        """Whether other processes see the same streams."""
        return self._runtime.store.shared

    def supervise(self) -> None:
        """Run every duty in the runtime's background tasks, for as long as it lives. A duty that crashes is logged and
        runs again after a pause. The runtime's health names crashed duties and late ones."""
        self._supervised_at = asyncio.get_running_loop().time()
        for duty in self._duties:
            self._runtime.supervise(duty.name, duty.run)
        self._runtime.explain_health(self.concerns)

    def concerns(self) -> Iterable[str]:
        """The late duties, as reasons of the runtime's health. None while the stream store does not answer, which is a
        reason of its own."""
        runtime = self._runtime
        healthy = runtime.breaker.healthy_seconds
        if self._supervised_at is None or runtime.draining or healthy == 0.0:
            return
        now = asyncio.get_running_loop().time()
        for duty in self._duties:
            last = duty.last_success()
            silent = now - (self._supervised_at if last is None else last)
            if min(silent, healthy) > runtime.settings.lease_seconds + LATE_ROUNDS * duty.every_seconds:
                yield f"reconciling_late:{duty.name}"

    async def once(self, *, patience: bool = True, alone: bool = True) -> Report:
        """One round: end every orphan, then attempt everything that is due, and wait until that is done. `alone` in
        this process, it waits for everything else that was begun in it too.

        With `patience` it first waits until the store has answered for one lease: after an outage live writers need
        that long to renew their leases. Cancelled, it leaves what it took over to other workers.

        Raises:
            StoreError: the store failed. What was taken over or claimed becomes due again.
        """
        if patience:
            await self._healthy()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with self._told.one() as treated:
            treated += await self._orphans.run_once()
            if alone:
                await self._runtime.idle()
            treated += await self._outbox.run_once()
            treated += await self._reservations.attempt()
            if alone:
                await self._runtime.idle()
        return Report(dry_run=False, treated=tuple(treated), seconds=loop.time() - begun)

    async def rehearse(self, *, limit: int) -> Report:
        """A dry run: what `once` would do, as `plan` says it."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        planned = [one async for one in self.plan(limit=limit)]
        return Report(dry_run=True, planned=tuple(planned), seconds=loop.time() - begun)

    async def _healthy(self) -> None:
        """Wait until the store has answered for one lease."""
        runtime = self._runtime
        while True:
            await runtime.store.ping()
            missing = runtime.settings.lease_seconds - runtime.breaker.healthy_seconds
            if missing <= 0:
                return
            await asyncio.sleep(min(missing, PING_SECONDS))

    async def plan(self, *, limit: int) -> AsyncIterator[Planned]:
        """What `once` would do, about `limit` orphans, `limit` saves and `limit` reservations at most. It changes
        nothing.

        Raises:
            StoreError, QuotaError: a store failed.
        """
        store = self._runtime.store
        for meta in await store.active_streams(limit=limit):
            if meta.lease_seconds <= 0:
                yield Planned(meta.ref, _orphan_step_of(meta), meta.binding, -meta.lease_seconds)
        for owed in await store.peek_due(limit=limit):
            record = await store.meta(owed.ref)
            if record is not None:
                yield self._outbox_step_of(record, owed)
        for expired in await self._reservations.plan(limit=limit):
            yield expired

    def _outbox_step_of(self, meta: StreamMeta, owed: OutboxEntry) -> Planned:
        bindings = self._runtime.bindings
        if not bindings.knows(meta.binding):
            step = Step.LEAVE_BINDING
        elif bindings.target_of(meta.binding) is None and meta.quota is QuotaState.PENDING:
            step = Step.SETTLE
        elif bindings.target_of(meta.binding) is None:
            step = Step.DROP
        elif not knows_protocol(meta.protocol):
            step = Step.LEAVE_PROTOCOL
        else:
            step = Step.SAVE
        return Planned(meta.ref, step, meta.binding, -owed.due_seconds, owed.attempts)


def _orphan_step_of(meta: StreamMeta) -> Step:
    if not knows_protocol(meta.protocol):
        return Step.LEAVE_PROTOCOL
    if meta.state is not StreamState.OPEN:
        return Step.FINISH
    return Step.STOP if meta.stop_requested else Step.INTERRUPT
