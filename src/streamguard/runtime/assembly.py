"""The parts of a runtime: made in the order in which they need each other, started and closed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..charging.outbox_processor import OutboxProcessor
from ..charging.owed_settlements import OwedSettlements
from ..charging.reservations import Reservations
from ..charging.settlements import Settlements
from ..charging.settler import Settler
from ..charging.terms import QuotaBindings
from ..charging.unlogged_settlements import UnloggedSettlements
from ..deadlines import LoopClock
from ..faults import Fault, FaultCode
from ..observations import Observation, Observer, Signal
from ..quota import QuotaService
from ..saving.bindings import Bindings
from ..saving.end_steps import EndSteps
from ..saving.reports import SaveReports
from ..saving.save_outbox import SaveOutbox
from ..saving.service import Saving
from ..saving.stored_replies import StoredReplies
from ..saving.target_clients import TargetClients
from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.budget import Budget
from ..stores.log_reads import LogReads
from ..stores.store import StreamStore
from ..values import SessionKey, StreamRef
from .ending.closing import Closing
from .ending.finaliser import Finaliser
from .ending.takeover import Takeover
from .opening.admission import Admission
from .opening.steps_in_doubt import Withdrawals
from .producing.stream import LiveStream
from .producing.writer import Writer
from .request import StreamRequest
from .sessions import Sessions
from .upkeep.leases import Leases
from .upkeep.readiness import Readiness
from .upkeep.tasks import Tasks
from .upkeep.unwatched import Unwatched
from .upkeep.watchdog import Watchdog
from .viewing.feed import Feed
from .viewing.viewer_registry import ViewerRegistry
from .viewing.viewer_reports import ViewerReports

__all__ = ["Assembly", "Callbacks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What the parts ask of the runtime that they belong to."""

    streams: Callable[[], Iterable[LiveStream]]
    """Those that have not ended. Looked through at once, or copied."""
    make: Callable[[StreamRequest, StreamRef, Budget], LiveStream]
    count: Callable[[str], int]
    """How many streams of an owner run here."""
    owns: Callable[[StreamRef], bool]
    feed_of: Callable[[StreamRef], Feed | None]
    local: Callable[[SessionKey], list[LiveStream]]
    abandon: Callable[[LiveStream], None]
    given_up: Callable[[], bool]
    """Whether the drain has given up what still retries."""
    changed: Callable[[], None]
    """Told whenever something that the drain waits for may have ended."""
    looked: Callable[[], object]
    """Told whenever readiness was looked at."""


class Assembly:
    """The parts, wired. Made in the event loop that they are to live in; nothing runs before `supervise`."""

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        *,
        bindings: Bindings,
        terms: QuotaBindings,
        quota: QuotaService | None,
        tasks: Tasks,
        observe: Observer,
        callbacks: Callbacks,
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._quota = quota
        self._tasks = tasks
        self._observe = observe
        start = tasks.start

        self.clock: LoopClock = LoopClock.current()
        self.breaker: Breaker = Breaker(
            store, probe_seconds=settings.breaker_probe_seconds, observe=observe, clock=self.clock.time
        )
        self.readiness: Readiness = Readiness(store, self.breaker, settings, observe=observe, looked=callbacks.looked)
        self.writer: Writer = Writer(store, self.breaker, settings, clock=self.clock)
        reads = LogReads(store, settings.max_log_reads)
        reports = SaveReports(observe)
        outbox = SaveOutbox(store, settings, observe=observe)
        clients = TargetClients(store, settings, self.breaker, on_change=reports.breaker_changed)
        self.saving: Saving = Saving(
            store,
            bindings,
            settings,
            self.breaker,
            clients,
            outbox,
            reports,
            reads=reads,
            start=start,
            changed=callbacks.changed,
        )
        self.reservations: Reservations = Reservations(quota, settings, observe=observe, start=start)
        settler = Settler(self.reservations, settings)
        unlogged = UnloggedSettlements(
            store,
            self.reservations,
            settler,
            settings,
            observe=observe,
            start=start,
            changed=callbacks.changed,
        )
        self.settlements: Settlements = Settlements(
            self.reservations, settler, unlogged, bindings, terms, settings, observe=observe
        )
        owed_settlements = OwedSettlements(store, settler, terms, settings, outbox, observe=observe)
        self.outbox: OutboxProcessor = OutboxProcessor(store, bindings, self.saving, owed_settlements, outbox)
        closing = Closing(store, settings)
        end_steps = EndSteps(self.saving, self.settlements)
        self.finaliser: Finaliser = Finaliser(
            store,
            self.breaker,
            settings,
            closing=closing,
            end_steps=end_steps,
            observe=observe,
            given_up=callbacks.given_up,
        )
        self.orphans: Takeover = Takeover(
            store,
            settings,
            reads=reads,
            closing=closing,
            end_steps=end_steps,
            stored_replies=StoredReplies(store, bindings, settings, clients),
            observe=observe,
            start=start,
        )
        self.withdrawing: Withdrawals = Withdrawals(
            store, self.breaker, start=start, given_up=callbacks.given_up, changed=callbacks.changed
        )
        self.admission: Admission = Admission(
            store,
            self.breaker,
            settings,
            make=callbacks.make,
            count=callbacks.count,
            owns=callbacks.owns,
            end_orphan=self.orphans.end_soon,
            carry=tasks.carry,
            withdrawing=self.withdrawing,
            reservations=self.reservations,
            correct_record=unlogged.correct_record,
            observe=observe,
        )
        self.viewer_registry: ViewerRegistry = ViewerRegistry(
            store, settings, reads=reads, local=callbacks.feed_of, start=start
        )
        self.viewer_reports: ViewerReports = ViewerReports(
            store, settings, viewers=lambda: self.viewer_registry.viewers
        )
        self.sessions: Sessions = Sessions(
            store,
            self.breaker,
            settings,
            self.admission,
            reads=reads,
            local=callbacks.local,
            correct_record=unlogged.correct_record,
        )
        self.leases: Leases = Leases(
            store,
            self.breaker,
            settings,
            streams=lambda: list(callbacks.streams()),
        )
        self.watchdog: Watchdog = Watchdog(
            settings,
            self.clock,
            streams=callbacks.streams,
            viewers=lambda: self.viewer_registry.viewers,
            abandon=callbacks.abandon,
            listen=lambda stream: start(self.leases.listen, stream),
            unwatched=Unwatched(store, start=start),
            observe=observe,
        )

    async def start_stores(self) -> None:
        """Start the stream store, the message stores and the quota's, and tell the operator what they warn of."""
        starts = [self._store.start, *(messages.start for messages in self._bindings.stores)]
        if self._quota is not None:
            starts.append(self._quota.start)
        for start in starts:
            for warning in await start():
                self._observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))

    def supervise(self) -> None:
        """Run what runs for as long as the process lives."""
        self._tasks.supervise("writer", self.writer.run)
        self._tasks.supervise("breaker", self.breaker.run)
        self._tasks.supervise("readiness", self.readiness.run)
        self._tasks.supervise("leases", self.leases.run)
        self._tasks.supervise("watchdog", self.watchdog.run)
        self._tasks.supervise("viewers", self.viewer_reports.run)
        self._tasks.supervise("presence", self.viewer_registry.presence.run)
        if self.reservations.store is not None:
            self._tasks.supervise("renewals", self.reservations.run)

    async def close_stores(self, *, keep_streams: bool = False) -> None:
        """After everything that uses them. One that fails to close does not keep the next from it. `keep_streams`
        leaves the stream store open, for others that use it."""
        try:
            if not keep_streams:
                await self._store.aclose()
        finally:
            closes = [messages.aclose for messages in self._bindings.stores]
            if self._quota is not None:
                closes.append(self._quota.aclose)
            for aclose in closes:
                try:
                    await aclose()
                except Exception as exc:  # noqa: BLE001 -- a host's store may raise what it likes
                    self._observe(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL), error=exc))
