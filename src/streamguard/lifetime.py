"""A guard's lifetime: starts a runtime in an event loop, tells where it runs, and ends it there."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from types import TracebackType
from typing import Final

from .backends import Backends
from .errors import NotStartedError
from .locks import step_lock
from .loops import Home
from .observations import Observation, Observer, Signal
from .quota import QuotaService
from .reconcile.reconciler import Reconciler
from .runtime import Bindings, QuotaBindings, Runtime
from .runtime.upkeep.signals import ShutdownSignals
from .settings import Settings
from .stores.store import StreamStore
from .telemetry import StructlogObserver
from .telemetry.late_sentry import LateSentryObserver, is_sentry_imported
from .telemetry.observers import checked_observers
from .web.access.anonymous import Anonymous
from .web.access.identity import Authenticate
from .web.application.frozen_start import freeze_start
from .web.application.servers import ServerPatience, ServerWatch
from .web.misuse import Misuse

__all__ = ["Lifespan", "Lifetime", "Reconciling"]

DEBUG_WARNING: Final = "debug mode: faults tell the texts of exceptions to clients; not for production"
ONE_PROCESS_WARNING: Final = "memory:// serves one process, but WEB_CONCURRENCY names more; use redis://"

CLOSING_SECONDS: Final = 10
"""How much longer than the drain a server should wait: what ended late is still told to its viewers."""


class Lifetime:
    """Starts a runtime in the running event loop, one at a time, and ends it in the same loop."""

    def __init__(
        self,
        backends: Backends,
        settings: Settings,
        *,
        authenticate: Authenticate,
        bindings: Bindings,
        quota: QuotaService | None,
        observers: Iterable[Observer] = (),
    ) -> None:
        self._backends = backends
        self._settings = settings
        self._authenticate = authenticate
        self._bindings = bindings
        self._quota = quota
        self.counts: bool = False
        """Whether the runtime that was made last can count against a quota."""
        self._runtime: Runtime | None = None
        self._home: Home | None = None
        """The event loop and the process of that runtime, or of the one that is being made."""
        self._starting = step_lock()
        """Held by the thread that looks whether the guard has a home, and gives it one."""
        self._signals: ShutdownSignals | None = None
        self._server: ServerWatch | None = None
        self._observers: tuple[Observer, ...] = checked_observers(observers)
        """Told besides the log and Sentry."""
        self._wrap_store: Callable[[StreamStore], StreamStore] = _as_it_is

    @property
    def begun(self) -> bool:
        """Whether there is a runtime, though its event loop may be gone."""
        return self._runtime is not None

    async def serve(self, terms: QuotaBindings, check: Callable[[], Iterable[Observation]] = tuple) -> None:
        """Start, with background work and with signal handlers. `check` is called once the guard has its home, so of
        several loops that start it only by one; observers are told what it returns.

        Raises:
            ConfigurationError: it runs already, or workers that share its store would not know each other's visitors;
                or `check` raised it.
        """
        advice: list[Observation] = []
        runtime = await self.start(terms, serving=True, check=lambda: advice.extend(check()))
        Reconciler(runtime).supervise()
        self._signals = ShutdownSignals(self._on_signal)
        self._signals.install()
        self._server = ServerWatch(
            self.begin_drain,
            on_found=self._check_patience,
            on_serving=freeze_start if self._settings.freeze_start else None,
        )
        runtime.supervise("server", self._server.run)
        for observation in advice:
            runtime.observe(observation)

    async def start(
        self, terms: QuotaBindings, *, serving: bool = False, check: Callable[[], None] = lambda: None
    ) -> Runtime:
        """Enter a runtime. `terms` are what the endpoints limit; `serving`: visitors will come; `check` is called
        first, once the guard has its home.

        Raises:
            ConfigurationError: it runs already, or visitors would come whom the next worker does not know; or `check`
                raised it.
        """
        with self._starting:
            if self._home is not None and self._home.gone:  # a loop that was closed with the guard running, or a fork
                self._forget()
            if self._home is not None:
                raise Misuse.STARTED_TWICE.error()
            self._home = Home()
        try:
            check()
            runtime = self._runtime = self._make_runtime(terms, serving=serving)
            await runtime.__aenter__()
        except BaseException:
            await self._leave_home()
            raise
        for warning in self._warnings(runtime.store):
            runtime.observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))
        return runtime

    def _make_runtime(self, terms: QuotaBindings, *, serving: bool) -> Runtime:
        """A runtime, not entered.

        Raises:
            ConfigurationError: see `start`; or endpoints have a quota and nothing is known to count it.
        """
        store = self._wrap_store(self._backends.streams())
        if serving and store.shared and isinstance(self._authenticate, Anonymous) and self._authenticate.random_secret:
            raise Misuse.VISITORS_UNKNOWN.error()
        quota = self._quota
        if quota is None and terms.any:
            quota = self._backends.quota()
        self.counts = quota is not None
        return Runtime(
            store,
            self._settings,
            (*self._log(), *self._sentry(), *self._observers),
            bindings=self._bindings,
            terms=terms,
            quota=quota,
            store_in_use=self._backends.hand_back,
        )

    def _log(self) -> tuple[StructlogObserver, ...]:
        """The built-in observer for the log, unless the host gives one that it has set up itself."""
        if any(isinstance(observer, StructlogObserver) for observer in self._observers):
            return ()
        return (StructlogObserver(debug=self._settings.debug),)

    def _sentry(self) -> tuple[Observer, ...]:
        """The built-in observer for Sentry, unless the host gives one that it has set up itself."""
        late = LateSentryObserver(sweep_seconds=self._settings.sweep_seconds, others=self._observers)
        if not is_sentry_imported():
            return (late,)
        try:
            from .telemetry import SentryObserver  # noqa: PLC0415 -- it imports `sentry_sdk`
        except Exception:  # noqa: BLE001 -- no reason not to start: it says so when it is first asked
            return (late,)
        given = [observer for observer in self._observers if isinstance(observer, SentryObserver)]
        made = () if given else (SentryObserver(sweep_seconds=self._settings.sweep_seconds),)
        for observer in (*given, *made):
            observer.beside(self._observers)
        return made

    async def leave(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain, then stop; does nothing without a runtime. In any task of the event loop that it was started in.

        Raises:
            ConfigurationError: this is another event loop.
        """
        runtime, home = self._runtime, self._home
        if runtime is None or home is None:
            return
        if not home.here:
            if home.gone:
                self._forget()
            raise Misuse.LEFT_ELSEWHERE.error()
        self.begin_drain()
        try:
            await runtime.__aexit__(exc_type, exc, traceback)
        finally:
            await self._leave_home()

    async def _leave_home(self) -> None:
        """Close what the quota store used, then let the guard be started again, here or elsewhere: a start that came
        between the two would have its own quota store closed."""
        try:
            await self._backends.aclose()
        finally:
            self._forget()

    def _forget(self) -> None:
        """Drop the runtime: it ended, or its event loop or process is gone."""
        if self._signals is not None:
            self._signals.restore()
        self._runtime = self._home = self._signals = self._server = None
        self._backends.hand_back()

    def running(self) -> Runtime:
        """The runtime.

        Raises:
            NotStartedError: there is none, or its event loop is gone, or another one than that is running.
        """
        runtime, home = self._runtime, self._home  # which another thread may drop at any time
        if runtime is None or home is None:
            raise Misuse.NOT_STARTED.not_started()
        if home.here:
            return runtime
        if home.gone:
            raise Misuse.LOOP_CLOSED.not_started()
        if home.elsewhere:
            raise Misuse.OTHER_LOOP.not_started()
        return runtime

    def begin_drain(self, *, interactive: bool = False) -> None:
        """Begin the drain; with the short deadline of development if a developer waits for it (`interactive`). Does
        nothing without a runtime."""
        waited_for = interactive or (self._server is not None and self._server.development)
        if self._runtime is not None:
            with suppress(NotStartedError):  # the runtime is being left at this moment
                self._runtime.begin_drain(hurried=waited_for)

    def _check_patience(self, patience: ServerPatience) -> None:
        """Warn of a server that breaks connections while their streams may still go on."""
        if self._runtime is not None and patience.seconds <= self._settings.drain_seconds:
            self._runtime.observe(
                Misuse.IMPATIENT_SERVER.observation(
                    server=patience.server,
                    setting=patience.setting,
                    seconds=patience.seconds,
                    drain=self._settings.drain_seconds,
                    enough=math.ceil(self._settings.drain_seconds) + CLOSING_SECONDS,
                )
            )

    def _on_signal(self, number: int) -> None:
        self.begin_drain(interactive=number == signal.SIGINT)  # Ctrl-C

    @contextmanager
    def instrumented(
        self, *, observer: Observer | None = None, store: Callable[[StreamStore], StreamStore] | None = None
    ) -> Iterator[None]:
        """A runtime that is started meanwhile tells `observer` everything too, and uses what `store` makes of its
        stream store."""
        before = self._observers, self._wrap_store
        if observer is not None:
            self._observers = (*self._observers, observer)
        if store is not None:
            self._wrap_store = store
        try:
            yield
        finally:
            self._observers, self._wrap_store = before

    def _warnings(self, store: StreamStore) -> Iterator[str]:
        """Combinations of options that lose streams or visitors, or tell too much: for the operator."""
        if self._settings.debug:
            yield DEBUG_WARNING
        workers = os.environ.get("WEB_CONCURRENCY", "")
        if not store.shared and workers.isascii() and workers.isdigit() and int(workers) > 1:
            yield ONE_PROCESS_WARNING


class Lifespan(AbstractAsyncContextManager[None]):
    """A guard's lifetime as a lifespan. It gives None: Starlette takes anything else for the application's state."""

    def __init__(self, guard: AbstractAsyncContextManager[object]) -> None:
        self._guard = guard

    async def __aenter__(self) -> None:
        await self._guard.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._guard.__aexit__(exc_type, exc, traceback)


class Reconciling(AbstractAsyncContextManager[Reconciler]):
    """A guard's lifetime without background work, and without the signal handlers that drain a server."""

    def __init__(self, lifetime: Lifetime, terms: QuotaBindings, observer: Observer | None) -> None:
        self._lifetime = lifetime
        self._terms = terms
        self._instruments = lifetime.instrumented(observer=observer)

    async def __aenter__(self) -> Reconciler:
        with self._instruments:  # only now: a runtime keeps the observers that it is made with
            return Reconciler(await self._lifetime.start(self._terms))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._lifetime.leave(exc_type, exc, traceback)


def _as_it_is(store: StreamStore) -> StreamStore:
    return store
