"""`StreamGuard`: the one object that ties everything together, and the only one that knows every room."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from types import TracebackType
from typing import Final, Self

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp

from .backends import Backends
from .errors import ConfigurationError, NotStartedError
from .loops import Home
from .messages import MessageStore, Save
from .model import Observation, Observer, Signal
from .quota import QuotaService, QuotaStore
from .reconcile.reconciler import Reconciler, Report
from .runtime import (
    Bindings,
    OnConflict,
    OnQuotaFailure,
    OnStoreFailure,
    PartialCharge,
    QuotaOption,
    Runtime,
    SaveOption,
)
from .settings import Settings
from .stores.base import StreamStore
from .telemetry import SentryObserver, StructlogObserver
from .web.destination import MARK
from .web.endpoint import GuardedEndpoint
from .web.gate import Gate
from .web.identity import Anonymous, Authenticate
from .web.mounting import add_outermost_layer, not_found
from .web.options import StreamOptions
from .web.quota import EstimateSource, QuotaOptions
from .web.route import GuardRoute
from .web.routes import Routes
from .web.selector import SelectorSource
from .web.servers import ServerWatch
from .web.signals import ShutdownSignals

__all__ = ["Endpoint", "StreamGuard"]

Endpoint = Callable[..., Awaitable[Response]]
"""What `@guard.stream` makes of an endpoint: something any Starlette-based framework can register."""


class _NotGiven:
    """No `authenticate` at all, which None would not say."""


_NOT_GIVEN: Final = _NotGiven()


class StreamGuard:
    """Guards the streaming endpoints of one application.

    Args:
        url: where streams are logged. `memory://` needs nothing and serves one process; `redis://`, `rediss://` and
            `unix://` serve many.
        authenticate: names the owner of a request, or None for nobody (401). For applications without users:
            `authenticate=anonymous`.
        messages: where replies are saved: a message store, or any `async def save(message)`. The guard starts a store
            with itself and closes it after the drain. None saves nothing.
        quota: where usage is counted that endpoints limit with `quota=…`: a quota store, or a `CallableQuota` of your
            own service. The guard starts it with itself and closes it after the drain. By default it is counted where
            streams are logged.
        settings: every number; the defaults otherwise.
        debug: for development: logs have tracebacks, and faults tell the exception's class and text (`debug`) to the
            client. None takes the settings' word, or that of the environment: `STREAMGUARD_DEBUG=1`.

    Raises:
        ConfigurationError: `authenticate` is missing, or the URL, `messages` or `quota` cannot be used.
    """

    def __init__(
        self,
        url: str = "memory://",
        *,
        authenticate: Authenticate | _NotGiven = _NOT_GIVEN,
        messages: MessageStore | Save | None = None,
        quota: QuotaService | None = None,
        settings: Settings | None = None,
        debug: bool | None = None,
    ) -> None:
        if isinstance(authenticate, _NotGiven) or not callable(authenticate):
            raise ConfigurationError(
                "StreamGuard needs authenticate=…, a function that names the owner of a request; "
                "if your application has no users, say so: authenticate=anonymous"
            )
        self._settings = settings or Settings()
        if debug is None:
            debug = self._settings.debug or os.environ.get("STREAMGUARD_DEBUG", "") not in ("", "0")
        if debug is not self._settings.debug:
            self._settings = self._settings.model_copy(update={"debug": debug})
        self._backends = Backends(url, self._settings)
        self._authenticate = authenticate
        self._bindings = Bindings(messages)
        if quota is not None and not isinstance(quota, QuotaService):
            raise ConfigurationError(
                "quota is a quota store, or CallableQuota(reserve, commit, release) for a service of your own; limits "
                "are given to endpoints: @guard.stream(quota=Quota(…))"
            )
        self._quota = quota
        own_quota = quota is not None and not isinstance(quota, QuotaStore)
        self._gate = Gate(self._settings, authenticate, self._running, self._bindings, own_quota=own_quota)
        self._routes = Routes(self._gate)
        self._runtime: Runtime | None = None
        self._home: Home | None = None
        """Where that lives."""
        self._signals: ShutdownSignals | None = None
        self._server: ServerWatch | None = None
        self._app: ASGIApp | None = None
        self._observers: tuple[Observer, ...] = ()
        """Told besides the guard's own."""
        self._wrap_store: Callable[[StreamStore], StreamStore] = _as_it_is

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start: for a lifespan of your own, `async with guard:`.

        Raises:
            ConfigurationError: it runs already.
        """
        runtime = await self._start()
        Reconciler(runtime).supervise()
        self._signals = ShutdownSignals(self._on_signal)
        self._signals.install()
        self._server = ServerWatch(self._begin_drain)
        runtime.supervise("server", self._server.run)
        return self

    async def _start(self) -> Runtime:
        """Enter a runtime."""
        if self._home is not None and self._home.gone:  # a loop that was closed with the guard running, or a fork
            self._forget()
        if self._runtime is not None:
            raise ConfigurationError(
                "this guard is running already; start it once, either with lifespan=guard.lifespan or with "
                "`async with guard:`, in the outermost application"
            )
        store = self._wrap_store(self._backends.streams())
        quota = self._quota
        if quota is None and self._gate.terms.any:
            quota = self._backends.quota()
        runtime = self._runtime = Runtime(
            store,
            self._settings,
            (StructlogObserver(debug=self._settings.debug), SentryObserver(), *self._observers),
            bindings=self._bindings,
            terms=self._gate.terms,
            quota=quota,
        )
        self._home = Home()
        try:
            await runtime.__aenter__()
        except BaseException:
            self._forget()
            await self._backends.aclose()
            raise
        self._warn(runtime, store)
        return runtime

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain, then stop. May be called in another task than the one that started the guard, of the same event loop.

        Raises:
            ConfigurationError: this is another event loop. The one it was started in ended its streams, if it was
                closed properly, or their leases will run out.
        """
        runtime, home = self._runtime, self._home
        if runtime is None or home is None:
            return
        if not home.here:
            if home.gone:
                self._forget()
            raise ConfigurationError(
                "this guard was started in another event loop and can be left only there: have whatever starts it and "
                "whatever ends it share a loop (a pytest fixture and its tests: one loop scope)"
            )
        self._begin_drain()
        try:
            await runtime.__aexit__(exc_type, exc, traceback)
        finally:
            await self._backends.aclose()
            self._forget()

    def _forget(self) -> None:
        """There is no runtime any more."""
        if self._signals is not None:
            self._signals.restore()
        self._runtime = self._home = self._signals = self._server = None

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:
        """The guard's life as an application's lifespan: `FastAPI(lifespan=guard.lifespan)`.

        Inside a lifespan of your own, `async with guard:` or `async with guard.lifespan(app):`.
        """
        return _Lifespan(self)

    def reconciling(self, observer: Observer | None = None) -> AbstractAsyncContextManager[Reconciler]:
        """The guard's life in a process that serves nothing, but ends what other workers left. It begins nothing by
        itself: the reconciler it gives is told what to do. `observer` is told everything too.

        `streamguard reconcile` is made of this.
        """
        return _Reconciling(self, observer)

    async def reconcile(self, *, dry_run: bool = False, patience: bool = True, limit: int = 1_000) -> Report:
        """One round of what every worker does beside its work: end streams whose worker is gone, make saves that are
        owed. In a running guard, or in one that is not, for which it starts and ends.

        Args:
            dry_run: only say what a round would do, about `limit` streams and `limit` saves at most.
            patience: first see the stream store answer for one lease (`lease_seconds`), since after an outage of it
                live writers need that long to renew theirs.
            limit: see `dry_run`.

        Returns:
            What was found, done and left, and why. Cancelled, it leaves what it took to other workers.

        Raises:
            StoreError: the stream store failed; what was taken or claimed comes up again.
        """
        if self._runtime is None:
            async with self.reconciling() as reconciler:
                return await (reconciler.rehearse(limit=limit) if dry_run else reconciler.once(patience=patience))
        reconciler = Reconciler(self._runtime)
        if dry_run:
            return await reconciler.rehearse(limit=limit)
        return await reconciler.once(patience=patience, alone=False)

    async def drain(self) -> None:
        """Admit no new streams, let running ones end for `drain_seconds`, then end them as interrupted.

        SIGTERM and SIGINT begin it by themselves, as do a server that stops and the lifespan's end. Idempotent. On
        return every stream has its terminal record; cancelling the call does not undo it.

        Raises:
            NotStartedError: the guard is not running.
        """
        await self._running().drain()

    async def idle(self) -> None:
        """Wait until nothing that was begun in this process is under way: streams, their ends and their saves.

        For tests and scripts; a server has always something to do. Work that is owed and not due yet does not count.

        Raises:
            NotStartedError: the guard is not running.
        """
        await self._running().idle()

    @contextmanager
    def instrumented(
        self, *, observer: Observer | None = None, store: Callable[[StreamStore], StreamStore] | None = None
    ) -> Iterator[None]:
        """For tests: a guard that is started meanwhile tells `observer` everything too, and uses what `store` makes of
        its stream store. `streamguard.testing.GuardedApp` is made of this."""
        before = self._observers, self._wrap_store
        if observer is not None:
            self._observers = (*self._observers, observer)
        if store is not None:
            self._wrap_store = store
        try:
            yield
        finally:
            self._observers, self._wrap_store = before

    def _on_signal(self, number: int) -> None:
        self._begin_drain(interactive=number == signal.SIGINT)  # Ctrl-C: somebody sits there and waits

    def _begin_drain(self, *, interactive: bool = False) -> None:
        waited_for = interactive or (self._server is not None and self._server.development)
        if self._runtime is not None:
            with suppress(NotStartedError):  # it is just being left
                self._runtime.begin_drain(hurried=waited_for)

    def _running(self) -> Runtime:
        if self._runtime is None or self._home is None or self._home.gone:
            raise NotStartedError(
                "this guard is not running: pass lifespan=guard.lifespan to your application, "
                "or write `async with guard:` in your own lifespan"
            )
        return self._runtime

    def _warn(self, runtime: Runtime, store: StreamStore) -> None:
        """Tell the operator of combinations that lose streams or visitors, or that tell too much."""
        if self._settings.debug:
            warning = "debug mode: faults tell the texts of exceptions to clients; not for production"
            runtime.observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))
        workers = os.environ.get("WEB_CONCURRENCY", "")
        if not store.shared and workers.isascii() and workers.isdigit() and int(workers) > 1:
            warning = "memory:// serves one process, but WEB_CONCURRENCY names more; use redis://"
            runtime.observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))
        if store.shared and isinstance(self._authenticate, Anonymous) and self._authenticate.random_secret:
            warning = (
                "authenticate=anonymous signs cookies with a secret of this process's own: other workers and the next "
                "start will not know its visitors; use authenticate=Anonymous(secret=…)"
            )
            runtime.observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))

    # -- endpoints ----------------------------------------------------------------------------------------------------

    def stream(
        self,
        session: SelectorSource | None = None,
        *,
        protocol: str | None = None,
        on_conflict: OnConflict = "reject",
        on_store_failure: OnStoreFailure = "continue",
        message_id: SelectorSource | None = None,
        ids: bool | None = None,
        first_item_seconds: float | None = None,
        stall_seconds: float | None = None,
        max_stream_seconds: float | None = None,
        binding: str | None = None,
        save: SaveOption = None,
        quota: QuotaOption = None,
        estimate: EstimateSource = None,
        charge_partial: PartialCharge = "consumed",
        on_quota_failure: OnQuotaFailure = "fail",
    ) -> Callable[[Callable[..., object]], Endpoint]:
        """Decorate an endpoint whose answer is a stream, below the framework's own decorator.

        The endpoint may be an async or sync generator function, or a function, async or not, that returns an iterator
        or a `StreamingResponse`. It takes what it took before, and a `run: Run` if it wants one.

        Args:
            session: the conversation's id: `"body.id"`, or a callable whose parameters are named like the endpoint's.
                None, or an id that is missing, gives each request a session of its own.
            protocol: `ui-message`, `plain` or `opaque`. By default what is yielded is `ui-message`, and a returned
                response is passed on as `opaque`.
            on_conflict: when the session is already receiving an answer, `reject` (409), `replace` it, or `join` it
                if the request is the same one.
            on_store_failure: `continue` unlogged when the store cannot be reached, or `fail`.
            message_id: the reply's id, found like the session's; a fresh one otherwise.
            ids: whether events carry ids on this endpoint's own answer; the protocol's default otherwise.
            first_item_seconds: overrides the setting of that name, in seconds; so do the next two.
            stall_seconds: silence between items.
            max_stream_seconds: the whole stream.
            binding: the stable name of this endpoint's configuration; `module:qualified name` otherwise, after the
                module's file, however the process was started.
            save: where this endpoint's messages are saved, like the guard's `messages`; False for nowhere. The guard's
                otherwise.
            quota: what an owner may consume: a `Quota`, or several that all must have room; False for no limit.
            estimate: what a reply may consume, which is reserved before it begins: a number in the one unit besides
                requests, numbers by unit, or a callable that gives them, its parameters named like the endpoint's.
            charge_partial: what a reply costs that was stopped, failed or was interrupted: what was `consumed`,
                what was `reserved`, or `nothing`. One that failed before its first item costs nothing.
            on_quota_failure: `fail` (503) when the quota does not answer, or `continue` uncounted.

        Raises:
            ConfigurationError: when decorating, if something can never work; the text names the fix.
        """
        options = StreamOptions(
            session=session,
            message_id=message_id,
            protocol=protocol,
            on_conflict=on_conflict,
            on_store_failure=on_store_failure,
            ids=ids,
            binding=binding,
            first_item_seconds=first_item_seconds,
            stall_seconds=stall_seconds,
            max_stream_seconds=max_stream_seconds,
            save=save,
            quotas=QuotaOptions(
                quota=quota,
                estimate=estimate,
                charge_partial=charge_partial,
                on_quota_failure=on_quota_failure,
            ),
        )
        options.check()

        def decorate(endpoint: Callable[..., object]) -> Endpoint:
            # Classes defined beside the endpoint inside a function are found through that function's variables.
            caller = sys._getframe(1)  # noqa: SLF001 -- the documented way; `inspect` has no cheaper one
            local_names = caller.f_locals if caller.f_locals is not caller.f_globals else {}
            guarded_endpoint = GuardedEndpoint(self._gate, endpoint, options, local_names)

            async def guarded(*args: object, **kwargs: object) -> Response:
                return await guarded_endpoint(args, kwargs)

            guarded_endpoint.signature.dress(guarded, endpoint)
            setattr(guarded, MARK, guarded_endpoint)
            return guarded

        return decorate

    # -- routes -------------------------------------------------------------------------------------------------------

    def install(self, app: Starlette, prefix: str) -> None:
        """Add the guard's routes under `prefix` to a Starlette or FastAPI application, before it starts.

        Also wraps the application in an outermost layer that has a response which was cut short end as a broken
        connection, whatever middlewares are used.

        Raises:
            ConfigurationError: the prefix is not a plain path, or the application has started.
        """
        if not prefix.startswith("/") or prefix.endswith("/") or any(mark in prefix for mark in "{}?#%"):
            raise ConfigurationError(
                "install needs a plain path such as '/api/chat', with a slash first, none last and no parameters, "
                f"not {prefix!r}"
            )
        add_outermost_layer(app)
        app.router.routes.append(GuardRoute(prefix, self._routes, beside=lambda: app.router.routes))

    @property
    def app(self) -> ASGIApp:
        """The routes alone as an ASGI application, with the guard's life as its lifespan: to serve, or to mount."""
        if self._app is None:
            app = Starlette(
                routes=[GuardRoute("", self._routes)], lifespan=self.lifespan, exception_handlers={404: not_found}
            )
            add_outermost_layer(app)
            self._app = app
        return self._app


class _Lifespan(AbstractAsyncContextManager[None]):
    """A guard's life, giving nothing: Starlette takes what a lifespan gives for the application's state."""

    def __init__(self, guard: StreamGuard) -> None:
        self._guard = guard

    async def __aenter__(self) -> None:
        await self._guard.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._guard.__aexit__(exc_type, exc, traceback)


class _Reconciling(AbstractAsyncContextManager[Reconciler]):
    """A guard's life without background work, and without its signal handlers: they drain servers."""

    def __init__(self, guard: StreamGuard, observer: Observer | None) -> None:
        self._guard = guard
        self._instruments = guard.instrumented(observer=observer)

    async def __aenter__(self) -> Reconciler:
        with self._instruments:  # a runtime takes its observers when it is made
            return Reconciler(await self._guard._start())  # noqa: SLF001 -- a part of it

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._guard.__aexit__(exc_type, exc, traceback)


def _as_it_is(store: StreamStore) -> StreamStore:
    return store
