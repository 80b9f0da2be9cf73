"""The parts of a runtime, each made once, in the order in which they need each other."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from ..charging.outbox_processor import OutboxProcessor
from ..charging.owed_settlements import OwedSettlements
from ..charging.reservations import Reservations
from ..charging.settlements import Settlements
from ..charging.settler import Settler
from ..charging.terms import QuotaBindings
from ..charging.unlogged_settlements import UnloggedSettlements
from ..deadlines import LoopClock
from ..event_times import event_times
from ..observations import Signal
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
from ..stores.log_reads import LogReads
from ..stores.store import StreamStore
from .drain_state import DrainState
from .ending.closing import Closing
from .ending.drain import Drain
from .ending.end_reports import EndReports
from .ending.finaliser import Finaliser
from .ending.store_attempts import StoreAttempts
from .ending.takeover import Takeover
from .ending.withdrawal import Withdrawal
from .observers import Observers
from .opening.admission import Admission
from .opening.capacity import Capacity
from .opening.end_wait import EndWait
from .opening.eviction import Eviction
from .opening.idempotent_opening import IdempotentOpening
from .opening.opening import Opening
from .opening.refusals import Refusals
from .opening.registration import Registration
from .opening.steps_in_doubt import StepsInDoubt
from .opening.stream_factory import StreamFactory
from .producing.live_streams import LiveStreams
from .producing.log_tally import LogTally
from .producing.server_writers import ServerWriters
from .producing.writer import Writer
from .sessions import Sessions
from .store_lifetimes import StoreLifetimes
from .stream_tasks import StreamTasks
from .upkeep.health import HealthCheck
from .upkeep.leases import Leases
from .upkeep.measuring import Measuring
from .upkeep.readiness import Readiness
from .upkeep.tasks import Tasks
from .upkeep.unwatched import Unwatched
from .upkeep.watchdog import Watchdog
from .upkeep.worker_channel import WorkerChannel
from .upkeep.worker_reporter import WorkerCounters, WorkerReporter
from .viewing.viewer_registry import ViewerRegistry
from .viewing.viewer_reports import ViewerReports

__all__ = ["Assembly"]


class Assembly:
    """The parts. Made in the event loop that they are to live in; nothing runs before `supervise`."""

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        observe: Observers,
        *,
        bindings: Bindings,
        terms: QuotaBindings,
        quota: QuotaService | None,
        store_in_use: Callable[[], bool],
        counters: WorkerCounters,
    ) -> None:
        # What every part shares.
        self.clock: LoopClock = LoopClock.current()
        self.streams: LiveStreams = LiveStreams()
        self.drain_state: DrainState = DrainState()
        self.one_ended: asyncio.Event = asyncio.Event()
        """Set whenever something that the drain waits for may have ended."""
        changed = self.one_ended.set
        self.worker: str = secrets.token_hex(12)
        """The id of this runtime among all workers: new for each runtime, never used again."""
        self.tasks: Tasks = Tasks(observe=observe, on_ended=changed)
        start = self.tasks.start

        # The stores, and whether they answer.
        self.stores: StoreLifetimes = StoreLifetimes(store, bindings, quota, store_in_use=store_in_use, observe=observe)
        self.breaker: Breaker = Breaker(
            store, probe_seconds=settings.breaker_probe_seconds, observe=observe, clock=self.clock.time
        )
        self.readiness: Readiness = Readiness(store, self.breaker, settings, observe=observe)
        reads = LogReads(store, settings.max_log_reads)

        # Viewing and producing.
        self.viewer_registry: ViewerRegistry = ViewerRegistry(
            store, settings, reads=reads, local=self.streams.feed_of, start=start, observe=observe
        )
        self.viewer_reports: ViewerReports = ViewerReports(
            store, settings, self.worker, viewers=self.viewer_registry.all
        )
        tally = None
        if observe.wants(Signal.LOG_WRITTEN):
            tally = LogTally(settings.samples_per_second, clock=self.clock.loop.time)
        times, placement = event_times(), store.placement()
        self.writer: Writer | ServerWriters
        if placement is None:
            self.writer = Writer(store, self.breaker, settings, clock=self.clock, tally=tally, times=times)
        else:
            supervise = self.tasks.supervise
            self.writer = ServerWriters(
                store,
                placement,
                self.breaker,
                settings,
                clock=self.clock,
                supervise=supervise,
                tally=tally,
                times=times,
            )

        # Saving and charging.
        reports = SaveReports(observe)
        clients = TargetClients(store, settings, self.breaker, on_change=reports.breaker_changed)
        save_outbox = SaveOutbox(store, settings, observe=observe)
        self.saving: Saving = Saving(
            store,
            bindings,
            settings,
            self.breaker,
            clients,
            save_outbox,
            reports,
            reads=reads,
            start=start,
            changed=changed,
        )
        self.reservations: Reservations = Reservations(quota, settings, observe=observe, start=start)
        settler = Settler(self.reservations, settings, observe=observe)
        unlogged = UnloggedSettlements(
            store,
            self.reservations,
            settler,
            settings,
            observe=observe,
            start=start,
            changed=changed,
        )
        self.settlements: Settlements = Settlements(
            self.reservations, settler, unlogged, bindings, terms, settings, observe=observe
        )
        owed_settlements = OwedSettlements(store, settler, terms, settings, save_outbox, observe=observe)
        self.outbox: OutboxProcessor = OutboxProcessor(
            store, bindings, self.saving, owed_settlements, save_outbox, observe=observe
        )

        # Ending.
        closing = Closing(store, settings, tally=tally)
        end_reports = EndReports(observe, count=counters.ended)
        end_steps = EndSteps(self.saving, self.settlements, observe=observe)
        finaliser = Finaliser(
            store,
            self.breaker,
            settings,
            closing=closing,
            end_steps=end_steps,
            leave_to_end=self.writer.leave_to_end,
            tally=tally,
            reports=end_reports,
            clock=self.clock,
            given_up=lambda: self.drain_state.given_up,
        )
        self.stored_replies: StoredReplies = StoredReplies(store, bindings, settings, clients, reads=reads)
        self.takeover: Takeover = Takeover(
            store,
            settings,
            reads=reads,
            closing=closing,
            end_steps=end_steps,
            stored_replies=self.stored_replies,
            tally=tally,
            observe=observe,
            start=start,
        )
        self.steps_in_doubt: StepsInDoubt = StepsInDoubt(
            store, self.breaker, start=start, given_up=lambda: self.drain_state.given_up, changed=changed
        )
        withdrawal = Withdrawal(
            store,
            self.breaker,
            StoreAttempts(self.breaker, settings, clock=self.clock, given_up=lambda: self.drain_state.given_up),
            settings,
            release=self.reservations.release,
            withdraw_later=self.steps_in_doubt.withdraw,
            observe=observe,
        )
        self.stream_tasks: StreamTasks = StreamTasks(
            store, self.tasks, self.streams, finaliser, withdrawal, self.reservations, observe=observe, changed=changed
        )

        # Opening.
        refusals, end_wait = Refusals(observe), EndWait(store)
        self.capacity: Capacity = Capacity(settings.max_streams_per_process, self.streams, observe=observe)
        self.eviction: Eviction = Eviction(
            store,
            settings,
            end_wait=end_wait,
            steps_in_doubt=self.steps_in_doubt,
            refusals=refusals,
            end_soon=self.takeover.end_soon,
            run_detached=self.tasks.run_detached,
            worker=self.worker,
        )
        factory = StreamFactory(
            settings,
            bindings,
            self.saving,
            writer=self.writer,
            viewers=self.viewer_registry,
            observe=observe,
            worker=self.worker,
        )
        registration = Registration(
            store,
            self.breaker,
            settings,
            streams=self.streams,
            end_wait=end_wait,
            eviction=self.eviction,
            steps_in_doubt=self.steps_in_doubt,
            refusals=refusals,
        )
        admission = Admission(
            store,
            self.breaker,
            streams=self.streams,
            registration=registration,
            reservations=self.reservations,
            refusals=refusals,
            make=factory.make,
            correct_record=unlogged.correct_record,
        )
        self.opening: Opening = Opening(
            self.streams,
            self.capacity,
            admission,
            self.saving,
            drain=self.drain_state,
            end_soon=self.stream_tasks.end_soon,
            observe=observe,
            changed=changed,
        )
        self.idempotent_opening: IdempotentOpening = IdempotentOpening(
            store,
            self.breaker,
            settings,
            self.clock,
            open_stream=self.opening.open,
            reject_stream=self.stream_tasks.reject,
            start=start,
            observe=observe,
        )

        # What else a session is asked for.
        self.sessions: Sessions = Sessions(
            store,
            self.breaker,
            settings,
            self.eviction,
            end_wait,
            reads=reads,
            streams=self.streams,
            correct_record=unlogged.correct_record,
        )

        # Upkeep.
        self.leases: Leases = Leases(store, self.breaker, settings, streams=lambda: list(self.streams.values()))
        self.worker_channel: WorkerChannel = WorkerChannel(
            store, self.worker, named=self.streams.named, leases=self.leases
        )
        self.watchdog: Watchdog = Watchdog(
            settings,
            self.clock,
            streams=self.streams.values,
            viewers=self.viewer_registry.all,
            abandon=self.stream_tasks.abandon,
            unwatched=Unwatched(store, start=start),
            observe=observe,
        )
        self.measuring: Measuring = Measuring(
            observe=observe,
            tally=tally,
            streams=self.streams,
            viewers=self.viewer_registry,
            saving=self.saving,
            reservations=self.reservations,
            breaker=self.breaker,
            drain=self.drain_state,
        )
        self.drain: Drain = Drain(
            settings,
            self.drain_state,
            streams=lambda: list(self.streams.values()),
            busy=self._busy,
            changed=self.one_ended,
            give_up=self._give_up,
            cut_viewers=lambda: self.viewer_registry.cut_all("drained"),
            measure=self.measuring.tell,
            observe=observe,
        )
        self.health: HealthCheck = HealthCheck(
            settings,
            self.clock,
            tasks=self.tasks,
            drain=self.drain_state,
            streams=self.streams,
            viewers=self.viewer_registry,
            readiness=self.readiness,
            saving=self.saving,
            reservations=self.reservations,
        )

        self.worker_reporter: WorkerReporter = WorkerReporter(
            store,
            self.breaker,
            settings,
            self.clock,
            self.worker,
            streams=self.streams.values,
            health=self.health.check,
            counters=counters,
        )

    def supervise(self) -> None:
        """Run the parts that run for as long as the process lives."""
        supervise = self.tasks.supervise
        if isinstance(self.writer, Writer):
            supervise("writer", self.writer.run)
        supervise("breaker", self.breaker.run)
        supervise("readiness", lambda: self.readiness.run(on_probe=self.health.check))
        supervise("leases", self.leases.run)
        supervise("worker channel", self.worker_channel.run)
        supervise("watchdog", self.watchdog.run)
        supervise("viewers", self.viewer_reports.run)
        supervise("worker report", self.worker_reporter.run)
        supervise("presence", self.viewer_registry.presence.run)
        if self.measuring.wanted:
            supervise("measuring", self.measuring.run)
        if self.reservations.store is not None:
            supervise("renewals", self.reservations.run)

    def _busy(self) -> bool:
        """Whether the drain has anything to wait for."""
        streams = self.streams or self.capacity.opening or self.tasks.adopted
        work = self.saving.under_way or self.settlements.under_way or self.steps_in_doubt.under_way
        return bool(streams or work)

    def _give_up(self) -> None:
        """Stop what still retries."""
        self.breaker.release()
        self.saving.give_up()
        self.settlements.give_up()
