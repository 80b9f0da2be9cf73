"""What the endpoints and the routes of one guard share: settings, limits, the running runtime, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from starlette.requests import HTTPConnection
from starlette.types import Scope

from ..errors import FaultError, NotStartedError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..runtime import Runtime
from ..scopes import StreamContext, Work, scope
from ..settings import Settings
from ..values import read_traceparent
from .access.identity import Authenticate, Identity, identify
from .access.origin import ForbiddenOriginError
from .access.process_limits import ProcessLimits
from .access.sync_streams import SyncStreams
from .endpoint_registry import EndpointRegistry
from .frameworks import framework_of
from .middleware.not_started import why_not_started
from .misuse import Misuse
from .response_ids import ResponseIds
from .usage_checks import RouteInspection, UsageChecks

__all__ = ["GuardContext"]


class GuardContext:
    """One per guard.

    Args:
        settings: the guard's.
        authenticate: names the owner of a request.
        runtime: gives the runtime that is running; raises `NotStartedError` while there is none.
        endpoints: the guarded endpoints.
        inspection: where the guard's routes are.
    """

    def __init__(
        self,
        settings: Settings,
        authenticate: Authenticate,
        runtime: Callable[[], Runtime],
        endpoints: EndpointRegistry,
        inspection: RouteInspection,
    ) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.limits: ProcessLimits = ProcessLimits(settings, warn=self._warn)
        self.sync_streams: SyncStreams = SyncStreams(settings.max_sync_streams)
        self.usage: UsageChecks = UsageChecks(self._observe, inspection)
        self.authenticate = authenticate
        self._runtime = runtime
        self._warned_of_secret = False

    @property
    def runtime(self) -> Runtime:
        """The running runtime.

        Raises:
            NotStartedError: the guard's lifespan has not begun, or is over.
        """
        return self._runtime()

    def started(self, scope: Scope) -> Runtime:
        """The running runtime.

        Raises:
            NotStartedError: the guard is not running, with what in this request's scope tells why.
        """
        try:
            return self._runtime()
        except NotStartedError as exc:
            misuse = why_not_started(scope)
            if misuse is None or str(exc) != Misuse.NOT_STARTED.text():
                raise
            raise misuse.not_started() from None

    async def owner(self, connection: HTTPConnection) -> Identity:
        """Who is asking.

        Raises:
            FaultError: `unauthenticated`.
            ConfigurationError: `authenticate` gave something that cannot name an owner.
        """
        identity = await identify(self.authenticate, connection)
        if identity is None:
            raise FaultError(Fault.of(FaultCode.UNAUTHENTICATED))
        if identity.random_secret and not self._warned_of_secret and self.runtime.store.shared:
            # An `Anonymous` given as `authenticate` was refused at startup; here a function of the host's called one.
            self._warned_of_secret = True
            self._warn(Misuse.VISITORS_UNKNOWN.text())
        return identity

    @staticmethod
    def trace_of(request: HTTPConnection, names: Collection[bytes], runtime: Runtime) -> str | None:
        """The trace that the present request belongs to, as a sink knows it, or else its header `traceparent` says.
        `names` are those of its headers."""
        known = runtime.observe.traceparent()
        if known is not None:
            return known
        if b"traceparent" not in names:
            return None
        incoming = request.headers.getlist("traceparent")
        return read_traceparent(incoming[0]) if len(incoming) == 1 else None

    @staticmethod
    def checking(
        runtime: Runtime, ids: ResponseIds, *, binding: str | None = None, protocol: str | None = None
    ) -> AbstractContextManager[StreamContext]:
        """The scope of code that checks a request, `authenticate` included: it knows the request."""
        about = StreamContext(Work.REQUEST, None, None, None, None, ids.request_id, ids.trace, binding, protocol)
        return scope(about, runtime.observe)

    def observe_refusal(
        self,
        error: FaultError,
        ids: ResponseIds,
        scope: Scope,
        *,
        protocol: str | None = None,
        signal: Signal = Signal.FAULT,
    ) -> Fault:
        """Observe the fault of a request that never reached a stream, with its cause. Returns the fault with its
        ids. `protocol` is the one that its answer would have had, where that is known."""
        fault = ids.complete(error.fault)
        fields = {"framework": framework_of(scope)}
        if protocol is not None:
            fields["protocol"] = protocol
        if isinstance(error, ForbiddenOriginError):
            fields["origin"] = error.origin
        self._observe(
            Observation(
                signal,
                request_id=ids.request_id,
                message_id=ids.message_id,
                fault=fault,
                error=error.__cause__,
                fields=fields,
                owner=ids.owner,
                trace=ids.trace,
            )
        )
        return fault

    def _observe(self, observation: Observation) -> None:
        self.runtime.observe(observation)

    def _warn(self, warning: str) -> None:
        self._observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))
