"""The runtime of one process: owns every producer, the writer, the leases and the viewers' feeds.

Its task group is opened by the guard's lifespan. Clients come and go without touching it: a producer ends by itself,
by a stop, by a limit, by losing its stream to another worker, or by the drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Self

import anyio

from ..charging.outbox_processor import OutboxProcessor
from ..charging.reservations import Reservations
from ..charging.settlements import Settlements
from ..charging.terms import QuotaBindings
from ..deadlines import LoopClock
from ..errors import FaultError, NotStartedError, StoreError
from ..faults import Fault, FaultCode, Severity
from ..observations import Observation, Observer, Signal
from ..quota import QuotaService
from ..saving.bindings import Bindings
from ..saving.service import Saving
from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.budget import Budget
from ..stores.records import StreamMeta
from ..stores.store import StreamStore
from ..values import START, Outcome, Position, SessionKey, StreamRef
from ..wire.sse import KEEP_ALIVE
from .assembly import Assembly, Callbacks
from .ending.drain import Drain
from .ending.takeover import Takeover
from .observers import Observers
from .opening.admission import Admission
from .opening.capacity import Capacity
from .opening.idempotent_opening import IdempotentOpening
from .opening.user_messages import ask_for_session, begin_user_messages
from .producing.callbacks import StreamCallbacks
from .producing.failures import fault_of
from .producing.live_streams import LiveStreams
from .producing.producer import produce
from .producing.stream import LiveStream
from .producing.writer import Writer
from .request import Ending, StreamRequest
from .sessions import Sessions
from .upkeep.health import Health, HealthCheck
from .upkeep.readiness import Readiness
from .upkeep.tasks import Tasks
from .viewing.feed import Feed
from .viewing.viewer import Viewer
from .viewing.viewer_registry import ViewerRegistry

__all__ = ["Health", "Runtime"]


class Runtime:
    """Runs streams. Enter it once, in the event loop it is to live in; leaving it drains.

    Every method is for that loop's tasks only.
    """

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        observers: Sequence[Observer] = (),
        *,
        bindings: Bindings | None = None,
        terms: QuotaBindings | None = None,
        quota: QuotaService | None = None,
        store_in_use: Callable[[], bool] = lambda: False,
    ) -> None:
        self.store = store
        self.settings = settings
        self.bindings: Bindings = bindings or Bindings()
        self.terms: QuotaBindings = terms or QuotaBindings()
        self._quota = quota
        self._store_in_use = store_in_use
        """Whether others use the stream store too: then leaving does not close it."""
        self.observe: Observers = Observers(observers)
        self._streams = LiveStreams()
        self.room: Capacity = Capacity(
            settings.max_streams_per_process, streams=lambda: len(self._streams), observe=self.observe
        )
        self._one_ended = asyncio.Event()
        self._tasks = Tasks(observe=self.observe, on_ended=self._one_ended.set)
        self._entered = False
        self._drain = Drain(
            settings,
            streams=lambda: list(self._streams.values()),
            busy=self._busy,
            changed=self._one_ended,
            give_up=self._give_up,
            cut_viewers=lambda: self.viewer_registry.cut_all("drained"),
            observe=self.observe,
        )
        self._health = HealthCheck(settings, self._streams, self._tasks, self._drain)

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._entered:
            raise NotStartedError("a runtime is entered once; make a new guard for another lifespan")
        self._entered = True
        self.store.on_unreadable = self.observe.unreadable
        parts = self._parts = Assembly(
            self.store,
            self.settings,
            bindings=self.bindings,
            terms=self.terms,
            quota=self._quota,
            tasks=self._tasks,
            observe=self.observe,
            callbacks=Callbacks(
                streams=self._streams.values,
                make=self._make,
                count=self._count,
                owns=self.owns,
                feed_of=self._feed_of,
                local=self.local,
                abandon=self._abandon,
                given_up=lambda: self._drain.given_up,
                changed=self._one_ended.set,
                looked=self.health,
            ),
        )
        self.clock: LoopClock = parts.clock
        self.breaker: Breaker = parts.breaker
        self.readiness: Readiness = parts.readiness
        self.writer: Writer = parts.writer
        self.saving: Saving = parts.saving
        self.reservations: Reservations = parts.reservations
        self.settlements: Settlements = parts.settlements
        self.outbox: OutboxProcessor = parts.outbox
        self.orphans: Takeover = parts.orphans
        self.admission: Admission = parts.admission
        self.viewer_registry: ViewerRegistry = parts.viewer_registry
        self.sessions: Sessions = parts.sessions
        self.idempotent_opening: IdempotentOpening = IdempotentOpening(
            self.store,
            self.breaker,
            self.settings,
            open_stream=self.open,
            reject_stream=self.reject,
            start=self.start,
            observe=self.observe,
        )
        self._stream_callbacks = StreamCallbacks(
            submit=self.writer.submit,
            on_degraded=self._degraded,
            on_superseded=self._superseded,
            on_left_out=self.observe.left_out,
        )
        self._health.begin(parts)
        await parts.start_stores()
        await self.readiness.begin()
        await self._tasks.open()
        self.clock.hold()
        parts.supervise()
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self.drain()
        finally:
            try:
                await self._tasks.close()
            finally:
                self.clock.release()
                with anyio.CancelScope(shield=True):
                    await self._parts.close_stores(keep_streams=self._store_in_use())

    def supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run` for as long as the runtime lives; if it fails it is logged, counted and run again."""
        self._tasks.supervise(name, run)

    @property
    def draining(self) -> bool:
        return self._drain.begun

    def begin_drain(self, *, hurried: bool = False) -> None:
        """Begin what `drain` does, or hurry it on: then `development_drain_seconds` counts, if it is shorter.

        Raises:
            NotStartedError: the runtime is not running.
        """
        if not self.draining:
            _ = self._tasks.group
        self._drain.begin(hurried=hurried)

    async def drain(self) -> None:
        """Admit nothing more, let streams end for up to `drain_seconds`, then end them as interrupted.

        On return every stream has its terminal, or its retries were given up, and no viewer is left. Idempotent;
        cancelling a caller does not cancel the drain.

        Raises:
            NotStartedError: the runtime is not running.
        """
        if not self.draining:
            _ = self._tasks.group
        await self._drain.run()

    def _busy(self) -> bool:
        """Whether the drain has anything to wait for."""
        waiting = self._streams or self.room.opening or self._tasks.adopted
        return bool(waiting or self.saving.under_way or self.settlements.under_way or self._parts.withdrawing.under_way)

    def _give_up(self) -> None:
        self.breaker.release()
        self.saving.give_up()
        self.settlements.give_up()

    async def idle(self) -> None:
        """Wait until nothing that was begun is under way: no admission, no stream, nothing begun for one."""
        while self.room.opening or self._streams or self._tasks.started:
            self._one_ended.clear()
            await self._one_ended.wait()

    # -- streams ------------------------------------------------------------------------------------------------------

    async def open(self, request: StreamRequest, budget: Budget | None = None) -> LiveStream | StreamMeta:
        """A new stream, registered or degraded; or, under `join`, the running stream of an equal request. `budget` is
        what is left of the request's, if it has asked the store before.

        Raises:
            FaultError: `shutting_down`, `limit_streams` (429 for the owner, 503 for the process), `conflict_active`, or
                `store_unavailable`.
        """
        _ = self._tasks.group
        if self._drain.begun:
            raise self._refusal(request)
        budget = budget or self.admission.budget()
        if self.room.full and not await self.admission.needs_no_place(request, budget):
            self.room.check_for(request)
        self.room.opening += 1
        try:
            opened = await self.admission.open(request, budget)
            if isinstance(opened, StreamMeta):
                return opened
            self._streams[opened.ref] = opened
            begin_user_messages(self.saving, opened)
        finally:
            self.room.opening -= 1
            self._one_ended.set()
        self.observe.opened(opened)
        if opened.stopped:  # after its request arrived, and before it was registered
            opened.cancel(Ending(Outcome.STOPPED, None))
        if self.draining:  # it began while this stream was being registered
            refusal = self._refusal(request)
            self._tasks.start_shielded(self._end, opened, Ending(Outcome.INTERRUPTED, refusal.fault))
            raise refusal
        return opened

    def _refusal(self, request: StreamRequest) -> FaultError:
        fault = Fault.of(
            FaultCode.SHUTTING_DOWN,
            severity=Severity.ERROR,
            retry_after_seconds=1,
            session_id=request.key.session_id,
            request_id=request.request_id,
        )
        return FaultError(fault)

    def launch(self, stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> None:
        """Start producing, under the caller's context variables. Returns at once."""
        self._tasks.start(self._run, stream, items)

    def adopt(self, call: asyncio.Task[None]) -> None:
        """Own the task of a framework's call whose server left: it holds what a stream was lent, until that ends.

        What it raises is observed. The drain waits for it; the runtime's exit cancels it.

        Raises:
            NotStartedError: the runtime is not running.
        """
        self._tasks.adopt(call)

    async def reject(self, stream: LiveStream, error: BaseException) -> None:
        """The endpoint failed before it had anything to iterate: end the stream so, and wait for it.

        Cancelling it does not keep the stream from its end.
        """
        ending = Ending(Outcome.FAILED, fault_of(error, stream), error)
        self._tasks.start_shielded(self._end, stream, ending)
        await stream.ended()

    def start(self, run: Callable[[], Awaitable[None]]) -> None:
        """Do something that nobody waits for; what it raises is observed.

        Raises:
            NotStartedError: the runtime is not running.
        """
        self._tasks.start(run)

    async def _run(self, stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> None:
        stream.produced_by(asyncio.current_task())
        ending = stream.early_end or await produce(stream, items)
        stream.produced_by(None)
        await self._tasks.shielded(self._end, stream, ending)

    async def _end(self, stream: LiveStream, ending: Ending) -> None:
        """Finalise once; whoever comes second does nothing."""
        if not stream.begin_finalising():
            return
        if ending.outcome is Outcome.STOPPED:
            stream.begin()
        fault = ending.fault
        if fault is not None:
            stream.fail(fault, ending.error)
            self.observe.fault(stream, fault, ending)
        try:
            await self._parts.finaliser.finalise(stream, ending)
        finally:
            stream.finish()
            self._streams.discard(stream.ref)
            if stream.request.on_over is not None:
                stream.request.on_over()
            self.reservations.forget(stream.ref)
            self._one_ended.set()
            if not stream.feed.ended and not stream.superseded:
                stream.feed.end(complete=False)
            if stream.log.registered and not stream.log.closed:
                with suppress(StoreError):
                    await self.store.release_slot(stream.ref.key.owner, stream.ref.stream_id)

    def owns(self, ref: StreamRef) -> bool:
        """Whether this process is the stream's writer, as far as it knows."""
        return self._feed_of(ref) is not None

    def _feed_of(self, ref: StreamRef) -> Feed | None:
        stream = self._streams.get(ref)
        return None if stream is None or stream.superseded else stream.feed

    def _make(self, request: StreamRequest, ref: StreamRef, budget: Budget) -> LiveStream:
        stream = LiveStream(
            request,
            ref,
            self.settings,
            self._stream_callbacks,
            opened_at=self.clock.loop.time(),
            budget=budget,
            saved=self.bindings.target_of(request.binding) is not None,
        )
        ask_for_session(self.saving, stream)
        return stream

    def _degraded(self, stream: LiveStream, reason: str) -> None:
        """Tell the client once that this stream cannot be resumed, or end it, as its policy says."""
        self.observe(Observation(Signal.STREAM_DEGRADED, ref=stream.ref, fields={"reason": reason}))
        if stream.request.on_store_failure == "fail" and stream.log.registered:
            fault = Fault.about(stream, FaultCode.STORE_UNAVAILABLE, severity=Severity.FATAL, reason=reason)
            through = stream.end_without_log(Ending(Outcome.FAILED, fault))
            stream.retract(fault)
            if not through:
                return  # observed when it ends so
        else:
            fault = Fault.about(stream, FaultCode.NOT_RESUMABLE, reason=reason)
            stream.notices.announce(fault)
        self.observe.fault(stream, fault, None)

    def _abandon(self, stream: LiveStream) -> None:
        """There is no producer, or it does not heed its cancellation: end the stream without it."""
        if stream.producer is not None:
            self.observe(Observation.about(stream, Signal.ENDPOINT_ABANDONED))
        self._tasks.start_shielded(self._end, stream, stream.early_end or Ending(Outcome.INTERRUPTED, None))

    def _superseded(self, stream: LiveStream) -> None:
        """Another worker owns the stream: let its viewers follow the new owner."""
        self.observe(Observation.about(stream, Signal.STREAM_SUPERSEDED))
        if not stream.owned():
            self.viewer_registry.follow(stream.ref, stream.feed)

    def _count(self, owner: str) -> int:
        return sum(1 for stream in self._streams.of_owner(owner) if not stream.finished)

    # -- sessions -----------------------------------------------------------------------------------------------------

    def view(self, stream: LiveStream, *, ids: bool, keep_alive: bytes = KEEP_ALIVE) -> Viewer:
        """A viewer of a stream produced here, from its start. `keep_alive` is what it gives while nothing is said."""
        viewer = self.viewer_registry.viewer(
            stream.ref, stream.protocol, stream.feed, START, ids=ids, keep_alive=keep_alive
        )
        if stream.superseded:
            self.viewer_registry.follow(stream.ref, stream.feed)
        return viewer

    def resume_view(self, meta: StreamMeta, after: Position, *, ids: bool, keep_alive: bytes = KEEP_ALIVE) -> Viewer:
        """A viewer of any stream of the store, after an event; `keep_alive` as in `view`."""
        return self.viewer_registry.resume(meta, after, ids=ids, keep_alive=keep_alive)

    def local(self, key: SessionKey) -> list[LiveStream]:
        """The streams of a session that this process produces, oldest first."""
        return self._streams.of_session(key)

    def explain_health(self, concerns: Callable[[], Iterable[str]]) -> None:
        """Have `health` give these reasons too. None of them makes the process unready."""
        self._health.explain(concerns)

    def health(self) -> Health:
        """What the process knows of itself. Never waits."""
        return self._health.look()
