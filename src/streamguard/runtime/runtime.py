"""The runtime of one process: owns every producer, the writer, the leases and the viewers' feeds.

The guard's lifespan opens its task group. Clients come and go without touching it: a producer ends by itself, by a
stop, by a limit, by losing its stream to another worker, or by the drain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Self

import anyio

from ..charging.outbox_processor import OutboxProcessor
from ..charging.reservations import Reservations
from ..charging.settlements import Settlements
from ..charging.terms import QuotaBindings
from ..deadlines import LoopClock
from ..errors import NotStartedError
from ..observations import Observer
from ..quota import QuotaService
from ..saving.bindings import Bindings
from ..saving.service import Saving
from ..saving.stored_replies import StoredReplies
from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.budget import Budget
from ..stores.records import StreamMeta
from ..stores.store import StreamStore
from ..values import START, Position, StreamRef
from ..wire.sse import KEEP_ALIVE
from .assembly import Assembly
from .ending.takeover import Takeover
from .observers import Observers
from .opening.capacity import Capacity
from .opening.eviction import Eviction
from .opening.idempotent_opening import IdempotentOpening
from .producing.live_streams import LiveStreams
from .producing.server_writers import ServerWriters
from .producing.stream import LiveStream
from .producing.writer import Writer
from .request import StreamRequest
from .sessions import Sessions
from .upkeep.health import Health
from .upkeep.readiness import Readiness
from .upkeep.worker_reporter import WorkerCounters
from .viewing.viewer import Viewer
from .viewing.viewer_registry import ViewerRegistry

__all__ = ["Health", "Runtime"]


class Runtime:
    """Runs streams. Make and enter it once, in the event loop that it is to live in; leaving it drains.

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
        """A runtime that does not run yet. `store_in_use`: whether others use the stream store too when this runtime is
        left, which closes it otherwise."""
        self.store = store
        self.settings = settings
        self.bindings: Bindings = bindings or Bindings()
        self.terms: QuotaBindings = terms or QuotaBindings()
        counters = WorkerCounters()
        self.observe: Observers = Observers((*observers, counters))
        parts = self._parts = Assembly(
            store,
            settings,
            self.observe,
            bindings=self.bindings,
            terms=self.terms,
            quota=quota,
            store_in_use=store_in_use,
            counters=counters,
        )
        self.streams: LiveStreams = parts.streams
        """The streams that this process produces."""
        self.worker: str = parts.worker
        """The id of this runtime among all workers."""
        self.clock: LoopClock = parts.clock
        self.breaker: Breaker = parts.breaker
        self.readiness: Readiness = parts.readiness
        self.capacity: Capacity = parts.capacity
        self.writer: Writer | ServerWriters = parts.writer
        self.saving: Saving = parts.saving
        self.reservations: Reservations = parts.reservations
        self.settlements: Settlements = parts.settlements
        self.outbox: OutboxProcessor = parts.outbox
        self.takeover: Takeover = parts.takeover
        self.eviction: Eviction = parts.eviction
        self.idempotent_opening: IdempotentOpening = parts.idempotent_opening
        self.viewer_registry: ViewerRegistry = parts.viewer_registry
        self.sessions: Sessions = parts.sessions
        self.stored_replies: StoredReplies = parts.stored_replies
        self._entered = False

    # -- its life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._entered:
            raise NotStartedError("a runtime is entered once; make a new guard for another lifespan")
        self._entered = True
        self.store.on_unreadable = self.observe.unreadable
        try:
            await self._parts.stores.start()
            await self.readiness.begin()
            await self._parts.tasks.open()
        except BaseException:  # nobody leaves what was not entered
            with anyio.CancelScope(shield=True):
                await self._parts.stores.close()
            raise
        self.clock.hold()
        self._parts.supervise()
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self.drain()
        finally:
            try:
                await self._parts.tasks.close()
            finally:
                self.clock.release()
                with anyio.CancelScope(shield=True):
                    try:
                        await self._parts.worker_reporter.leave()
                        await self._parts.stores.close()
                    finally:
                        await self.observe.aclose()

    @property
    def draining(self) -> bool:
        """Whether the drain has begun."""
        return self._parts.drain_state.begun

    def begin_drain(self, *, hurried: bool = False) -> None:
        """Begin what `drain` does, or hurry it on: then `development_drain_seconds` counts, if it is shorter.

        Raises:
            NotStartedError: the runtime is not running.
        """
        if not self.draining:
            self._check_running()
        self._parts.drain.begin(hurried=hurried)

    async def drain(self) -> None:
        """Open no stream any more, let streams end for up to `drain_seconds`, then end them as interrupted.

        On return every stream has its terminal, or its retries were given up, and no viewer is left. Idempotent;
        cancelling a caller does not cancel the drain.

        Raises:
            NotStartedError: the runtime is not running.
        """
        if not self.draining:
            self._check_running()
        await self._parts.drain.run()

    async def idle(self) -> None:
        """Wait until nothing that was begun is under way: no admission, no stream, no task begun for one."""
        parts = self._parts
        while self.capacity.opening or self.streams or parts.tasks.started:
            parts.one_ended.clear()
            await parts.one_ended.wait()

    def health(self) -> Health:
        """What the process knows of its own health. Never waits."""
        return self._parts.health.check()

    def explain_health(self, reasons: Callable[[], Iterable[str]]) -> None:
        """Let `health` give these reasons too. They do not make the process unready."""
        self._parts.health.add_source(reasons)

    def _check_running(self) -> None:
        _ = self._parts.tasks.group

    # -- its tasks ----------------------------------------------------------------------------------------------------

    def supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run` for as long as the runtime lives; if it fails it is logged, counted and run again."""
        self._parts.tasks.supervise(name, run)

    def start(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run` in the background; what it raises is observed.

        Raises:
            NotStartedError: the runtime is not running.
        """
        self._parts.tasks.start(run)

    def adopt(self, call: asyncio.Task[None]) -> None:
        """Own the task of a framework's call whose server left: it holds what a stream was lent, until that ends.

        What it raises is observed. The drain waits for it; the runtime's exit cancels it.

        Raises:
            NotStartedError: the runtime is not running.
        """
        self._parts.tasks.adopt(call)

    # -- its streams --------------------------------------------------------------------------------------------------

    def budget(self) -> Budget:
        """What a request that begins now may wait for the store."""
        return Budget(self.breaker, self.settings.registration_seconds, self.clock)

    async def open(self, request: StreamRequest, budget: Budget | None = None) -> LiveStream | StreamMeta:
        """A new stream, registered or degraded; or, under `join`, the running stream of an equal request. `budget` is
        what is left of the request's, if it has asked the store before.

        Raises:
            FaultError: `shutting_down`, `limit_streams` (429 for the owner, 503 for the process), `conflict_active`, or
                `store_unavailable`.
            NotStartedError: the runtime is not running.
        """
        self._check_running()
        return await self._parts.opening.open(request, budget or self.budget())

    def launch(self, stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> None:
        """Start producing, under the caller's context variables. Returns at once."""
        self._parts.stream_tasks.launch(stream, items)

    async def reject(self, stream: LiveStream, error: BaseException) -> None:
        """End a stream whose endpoint failed before it had anything to iterate, and wait for that.

        Cancelling it does not keep the stream from its end.
        """
        await self._parts.stream_tasks.reject(stream, error)

    def owns(self, ref: StreamRef) -> bool:
        """Whether this process is the stream's writer, as far as it knows."""
        return self.streams.owns(ref)

    def view(self, stream: LiveStream, *, ids: bool | None, keep_alive: bytes = KEEP_ALIVE) -> Viewer:
        """A viewer of a stream produced here, from its start. `ids`: whether blocks carry ids; None: as its
        protocol's do by themselves. `keep_alive` goes out while the stream is silent, to a viewer without ids."""
        viewer = self.viewer_registry.viewer(
            stream, stream.protocol, stream.feed, START, ids=ids, keep_alive=keep_alive, remote=stream.superseded
        )
        if stream.superseded:
            self.viewer_registry.follow(stream.ref, stream.feed)
        return viewer

    def resume_view(
        self, meta: StreamMeta, after: Position, *, ids: bool | None, keep_alive: bytes = KEEP_ALIVE
    ) -> Viewer:
        """A viewer of any stream of the store, after an event; `keep_alive` as in `view`."""
        return self.viewer_registry.resume(meta, after, ids=ids, keep_alive=keep_alive)
