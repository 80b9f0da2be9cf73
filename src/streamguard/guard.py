"""`StreamGuard`: what an application makes, decorates its endpoints with, installs and starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Final, Literal, Self

from starlette.applications import Starlette
from starlette.types import ASGIApp

from .backends import Backends
from .errors import ConfigurationError
from .lifetime import Lifespan, Lifetime, Reconciling
from .messages import MessageStore, Save
from .observations import Observation, Observer
from .overrides import check_overrides
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
from .settings import Settings, with_debug
from .started.answer_starter import AnswerStarter
from .stores import StreamLog, StreamStore
from .stores.abilities import Ability
from .web.access.authenticate import check_authenticate
from .web.access.identity import Authenticate
from .web.endpoint.decorator import Endpoint, EndpointDecorator
from .web.endpoint.demand_source import EstimateSource
from .web.endpoint.options import KeepAlive, StreamOptions
from .web.endpoint.quota_options import QuotaOptions
from .web.endpoint.selector import SelectorSource
from .web.endpoint_registry import EndpointRegistry
from .web.guard_context import GuardContext
from .web.middleware.outermost_layer import OutermostLayer
from .web.misuse import Misuse
from .web.routes.edge import HttpEdge
from .web.routes.installation import Installations
from .web.routes.routes import Routes
from .web.rules.rule_table import RuleTable
from .web.rules.stream_rule import StreamRule

__all__ = ["Endpoint", "StreamGuard"]


class _NotGiven:
    """`authenticate` was left out. None is another mistake."""


_NOT_GIVEN: Final = _NotGiven()


class StreamGuard(AnswerStarter):
    """Guards the streaming endpoints of one application.

    Args:
        store: where streams are logged: a URL, or a stream store (see `streamguard.stores`). `memory://` needs nothing
            and serves one process; a Redis URL serves many (see `docs/reference/redis.md`); other installed packages
            may bring more. The guard starts a store with itself and closes it after the drain, as often as it is
            started itself.
        authenticate: names the owner of a request, or None for nobody (401). For applications without users:
            `authenticate=anonymous`.
        messages: where replies are saved: a message store, or any `async def save(message)`. The guard starts a store
            with itself and closes it after the drain. None saves nothing.
        quota: where usage is counted that endpoints limit with `quota=…`: a quota store, or a `CallableQuota` of your
            own service. The guard starts it with itself and closes it after the drain. By default it is counted where
            streams are logged.
        observers: functions, or callable objects, that are told everything that happens, beside the log and Sentry.
            They are called on the event loop, so they must not block; what one raises harms nothing.
        settings: every number; the defaults otherwise.
        debug: for development: logs have tracebacks, and faults tell the exception's class and text (`debug`) to the
            client. None: as the settings say, or the environment (`STREAMGUARD_DEBUG=1`). The log says at every start
            that it is on. Refused where `ENVIRONMENT`, `ENV`, `APP_ENV`, `PYTHON_ENV`, `FASTAPI_ENV`, `FLASK_ENV` or
            `SENTRY_ENVIRONMENT` says `production`, `prod` or `live`.

    Raises:
        ConfigurationError: `authenticate` is missing, `debug` is on in production, or the store, `messages`, `quota`,
            `observers` or `settings` cannot be used.
    """

    def __init__(
        self,
        store: str | StreamLog = "memory://",
        *,
        authenticate: Authenticate | _NotGiven = _NOT_GIVEN,
        messages: MessageStore | Save | None = None,
        quota: QuotaService | None = None,
        observers: Iterable[Observer] = (),
        settings: Settings | None = None,
        debug: bool | None = None,
    ) -> None:
        check_authenticate(authenticate)
        if isinstance(authenticate, _NotGiven):
            raise Misuse.NO_AUTHENTICATE.error()
        self._settings = with_debug(settings, debug)
        self._backends = Backends(store, self._settings)
        if messages is not None:
            self._backends.require(Ability.SAVES)
        bindings = Bindings(messages)
        if quota is not None and not isinstance(quota, QuotaService):
            raise ConfigurationError(
                "quota is a quota store, or CallableQuota(reserve, commit, release) for a service of your own; limits "
                "are given to endpoints: @guard.stream(quota=Quota(…))"
            )
        check_overrides(quota)
        own_quota = quota is not None and not isinstance(quota, QuotaStore)
        self._lifetime = Lifetime(
            self._backends,
            self._settings,
            authenticate=authenticate,
            bindings=bindings,
            quota=quota,
            observers=observers,
        )
        self._endpoints = EndpointRegistry(
            bindings, max_stream_seconds=self._settings.max_stream_seconds, own_quota=own_quota
        )
        self._installations = Installations(self._endpoints)
        self._context = GuardContext(
            self._settings, authenticate, self._lifetime.running, self._endpoints, self._installations
        )
        super().__init__(self._context, self._backends.require)
        self._routes = Routes(self._context)
        self._rule_tables: list[RuleTable] = []
        self._app: ASGIApp | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start: for a lifespan of your own, `async with guard:`.

        Raises:
            ConfigurationError: it runs already, or a request that is meant for the guard would not get to it.
        """
        await self._lifetime.serve(self._endpoints.terms, self._advice)
        return self

    def _advice(self) -> list[Observation]:
        """Check the applications that the guard is in. Returns warnings for observers.

        Raises:
            ConfigurationError: a request that is meant for the guard would not get to it, or cannot be answered.
        """
        self._installations.begin_rules()
        return [*self._installations.check(), *(advice for table in self._rule_tables for advice in table.check())]

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain, then stop. May be called in another task than the one that started the guard, of the same event loop.

        Raises:
            ConfigurationError: this is another event loop. The one it was started in ended its streams, if it was
                closed properly, or their leases will run out.
        """
        await self._lifetime.leave(exc_type, exc, traceback)

    def lifespan(self, app: object) -> AbstractAsyncContextManager[None]:
        """The guard's life as an application's lifespan: `FastAPI(lifespan=guard.lifespan)`.

        Inside a lifespan of your own, `async with guard:` or `async with guard.lifespan(app):`. `app` is the outermost
        application, whose lifespan it is; it gets the guard's outermost layer where it has none yet (see `wrap`).
        """
        self._installations.started_by(app)
        return Lifespan(self)

    def reconciling(self, observer: Observer | None = None) -> AbstractAsyncContextManager[Reconciler]:
        """The guard's life in a process that serves nothing, but ends what other workers left. It begins nothing by
        itself: the reconciler it gives is told what to do. `observer` is told everything too.

        `streamguard reconcile` is made of this.
        """
        return Reconciling(self._lifetime, self._endpoints.terms, observer)

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
        if not self._lifetime.begun:
            async with self.reconciling() as reconciler:
                return await (reconciler.rehearse(limit=limit) if dry_run else reconciler.once(patience=patience))
        reconciler = Reconciler(self._lifetime.running())
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
        with self._lifetime.instrumented(observer=observer, store=store):
            yield

    def _running(self) -> Runtime:
        return self._lifetime.running()

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
        abandon_after_seconds: float | Literal[False] | None = None,
        binding: str | None = None,
        save: SaveOption = None,
        quota: QuotaOption = None,
        estimate: EstimateSource = None,
        charge_partial: PartialCharge = "consumed",
        on_quota_failure: OnQuotaFailure = "fail",
        keep_alive: KeepAlive | None = None,
        client_version: str | None = None,
    ) -> Callable[[Callable[..., object]], Endpoint]:
        """Decorate an endpoint whose answer is a stream, below the framework's own decorator.

        The endpoint may be an async or sync generator function, or a function, async or not, that returns an iterator
        or a response that streams, such as Starlette's `StreamingResponse` or sse-starlette's `EventSourceResponse`.
        A response that does not is the answer as it is. It takes what it took before, and a `run: Run` if it wants one.

        Args:
            session: the conversation's id: `"body.id"`, or a callable, async or not, whose parameters are named like
                the endpoint's. None, or an id that is missing, gives each request a session of its own.
            protocol: `ui-message` or `plain`, for text and parts; for a stream that is passed on byte for byte,
                `openai`, `anthropic`, `ui-message-raw`, `ndjson` or `opaque` (any server-sent events). By default what
                is yielded is `ui-message`, and a returned response or iterator decides by itself (`auto`): by its
                headers, its first block or its first item.
            on_conflict: when the session is already receiving an answer, `reject` (409), `replace` it, or `join` it
                if the request is the same one.
            on_store_failure: `continue` unlogged when the store cannot be reached, or `fail`.
            message_id: the reply's id, found like the session's; a fresh one otherwise.
            ids: whether events carry ids on this endpoint's own answer; the protocol's default otherwise.
            first_item_seconds: overrides the setting of that name, in seconds; so do the next two.
            stall_seconds: silence between items.
            max_stream_seconds: the whole stream.
            abandon_after_seconds: how long the answer goes on while nobody watches it, on any worker, before it ends as
                `interrupted`, reason `abandoned`; False for never. The setting of that name otherwise.
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
            keep_alive: how a quiet connection is kept open: by a `comment` line, which every client that reads SSE by
                the specification passes over, or by a comment in a `block` of its own, for clients that split the
                answer at blank lines themselves. The second only with `ids=False`, or a protocol without ids. None:
                by a block where this endpoint says `ids=False` and yields text or parts, by a line otherwise.
            client_version: the version of the npm package `ai` that pages have, for `ui-message`: parts and fields
                that it does not take are not sent. A request's own `X-AI-SDK-Version` goes before it. None for a recent
                one.

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
            abandon_after_seconds=abandon_after_seconds,
            save=save,
            quotas=QuotaOptions(
                quota=quota,
                estimate=estimate,
                charge_partial=charge_partial,
                on_quota_failure=on_quota_failure,
            ),
            keep_alive=keep_alive,
            client_version=client_version,
        )
        options.check()
        self._require_abilities(options)
        return EndpointDecorator(self._context, options)

    def rule_table(self, rules: Sequence[StreamRule], app: ASGIApp) -> RuleTable:
        """The `rules` of a middleware around `app`, which this guard applies: `StreamGuardMiddleware` is made of this.

        Raises:
            ConfigurationError: a rule can never work under this guard.
        """
        for rule in rules:
            self._require_abilities(rule.options)
            if rule.options.quotas.counts and self._lifetime.begun and not self._lifetime.counts:
                raise Misuse.RULES_LATE.error(rule=rule.name)
        table = RuleTable(self._context, rules, app, self._installations.is_own_elsewhere)
        self._rule_tables.append(table)
        return table

    def _require_abilities(self, options: StreamOptions) -> None:
        """Raises `ConfigurationError` for options that the stream store is not able to keep."""
        self._backends.require(Ability.ENDPOINTS)
        if options.save is not None and options.save is not False:
            self._backends.require(Ability.SAVES)
        if options.quotas.quota is not None and options.quotas.quota is not False:
            self._backends.require(Ability.QUOTAS)
        if options.abandon_after(self._settings) is not None:
            self._backends.require(Ability.ABANDONMENT)

    # -- routes -------------------------------------------------------------------------------------------------------

    def install(self, app: Starlette, prefix: str) -> None:
        """Add the guard's routes under `prefix` to `app`, of Starlette or FastAPI, before it starts.

        They come first: a catch-all route of the application takes nothing from them, wherever it is declared. Paths
        that the application spells out stay its own.

        Also wraps the application in an outermost layer that has a response which was cut short end as a broken
        connection, whatever middlewares are used. In an application that is mounted in another one, see `wrap`.

        Raises:
            ConfigurationError: this is no application, or it has started; the prefix is not a plain path, or a guard
                has it already; or the guard's routes would hide one of the application's.

        Warns:
            ConfigurationWarning: the application has FastAPI's `dependencies=[…]`, which do not protect the routes.
        """
        self._installations.install(app, prefix, self._routes)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application inside the guard's outermost layer: `app = guard.wrap(app)`.

        For the outermost application, after everything else was done to it, where the guard is installed in one that
        is mounted in it, or where it is itself wrapped in middlewares. Whatever is inside, an answer that is cut short
        then ends as a broken connection, and a body that is too large is refused before it is read. Inside another
        layer it does nothing. The lifespan is passed through.
        """
        return OutermostLayer(app)

    @property
    def edge(self) -> HttpEdge:
        """The guard's HTTP edge in parts, for integrations with frameworks (`streamguard.contrib`)."""
        return HttpEdge(self._routes, self._installations)

    @property
    def app(self) -> ASGIApp:
        """The routes alone as an ASGI application, with the guard's life as its lifespan: to serve, or to mount."""
        if self._app is None:
            self._app = self._installations.application(self._routes, self.lifespan)
        return self._app
