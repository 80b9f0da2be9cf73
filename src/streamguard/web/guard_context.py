"""What every request of a guard passes through: the settings, the running runtime, identity and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from ..errors import FaultError, NotStartedError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..runtime import Bindings, QuotaBindings, Runtime
from ..settings import Settings
from ..wire import WireProtocol, protocol_named
from ..wire.sse import KEEP_ALIVE, KEEP_ALIVE_BLOCK
from .access.allowances import Allowances
from .access.identity import Authenticate, Identity, identify
from .access.origin import ForbiddenOriginError
from .application.guarded_endpoint import Guarded
from .endpoint.selector import SelectorSource
from .endpoint.threaded_iterator import SyncStreams
from .headers import RawHeaders, id_headers
from .middleware.exchange import Exchange, Placement
from .middleware.not_started import not_started_in
from .misuse import Misuse

__all__ = ["GuardContext", "ResponseIds", "fault_response"]

DEFAULT_PROTOCOL: Final = "ui-message"


@dataclass(slots=True)
class ResponseIds:
    """What is known so far of whom an answer is for; grows while a request is being admitted."""

    request_id: str
    session_id: str | None = None
    stream_id: str | None = None
    message_id: str | None = None
    set_cookie: str | None = None

    def headers(self) -> RawHeaders:
        """The id headers, and the cookie if the identity came with one."""
        headers = id_headers(
            request_id=self.request_id,
            session_id=self.session_id,
            stream_id=self.stream_id,
            message_id=self.message_id,
        )
        if self.set_cookie is not None:
            headers.append((b"set-cookie", self.set_cookie.encode("latin-1")))
        return headers

    def complete(self, fault: Fault) -> Fault:
        """The fault with the ids it lacks."""
        return replace(
            fault,
            request_id=fault.request_id or self.request_id,
            session_id=fault.session_id or self.session_id,
            stream_id=fault.stream_id or self.stream_id,
            message_id=fault.message_id or self.message_id,
        )


class GuardContext:
    """Shared by the decorated endpoints and the routes of one guard. `runtime` gives the one that runs, `bindings` say
    where messages are saved."""

    def __init__(
        self,
        settings: Settings,
        authenticate: Authenticate,
        runtime: Callable[[], Runtime],
        bindings: Bindings,
        *,
        own_quota: bool = False,
    ) -> None:
        self.settings = settings
        self.bindings = bindings
        self.terms: QuotaBindings = QuotaBindings()
        """What endpoints count."""
        self.own_quota = own_quota
        """The quota is a host's own service, which knows its limits."""
        self.allowances: Allowances = Allowances(settings, warn=self._warn)
        self.longest_stream_seconds: float = settings.max_stream_seconds
        """How long a stream of any endpoint may take."""
        self.sync_streams: SyncStreams = SyncStreams(settings.max_sync_streams)
        self.protocols: set[str] = set()
        """Names of the protocols that decorated endpoints speak."""
        self.keep_alive_blocks: set[str] = set()
        """Bindings of the endpoints whose keep-alives are blocks of their own."""
        self.endpoints: list[tuple[Callable[..., object], str, Guarded]] = []
        """Each function that was decorated, its name for messages, and what guards it."""
        self.met: Callable[[object], list[Observation]] = _nothing
        """Told the outermost router of each request; gives what is wrong with its routes."""
        self.installed: bool = False
        """The guard's routes were given to an application."""
        self._authenticate = authenticate
        self._runtime = runtime
        self._warned_of_secret = False
        self._advised: set[tuple[Misuse, str]] = set()

    @property
    def runtime(self) -> Runtime:
        """The running runtime.

        Raises:
            NotStartedError: the guard's lifespan has not begun, or is over.
        """
        return self._runtime()

    async def owner(self, connection: HTTPConnection) -> Identity:
        """Who is asking.

        Raises:
            FaultError: `unauthenticated`.
            ConfigurationError: `authenticate` gave something that cannot name an owner.
        """
        identity = await identify(self._authenticate, connection)
        if identity is None:
            raise FaultError(Fault.of(FaultCode.UNAUTHENTICATED))
        if identity.random_secret and not self._warned_of_secret and self.runtime.store.shared:
            # Refused at startup where `authenticate` is an `Anonymous`; here a host's own function asked one.
            self._warned_of_secret = True
            self._warn(Misuse.VISITORS_UNKNOWN.text())
        return identity

    def _warn(self, warning: str) -> None:
        self.runtime.observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))

    def check_started(self, scope: Scope) -> None:
        """Raises `NotStartedError` if the guard is not running, with what in this request's scope tells why."""
        try:
            self._runtime()
        except NotStartedError as exc:
            misuse = not_started_in(scope)
            if misuse is None or str(exc) != Misuse.NOT_STARTED.text():
                raise
            raise misuse.not_started() from None

    def check_use(self, scope: Scope, exchange: Exchange, endpoint: str) -> None:
        """Tell observers if clients cannot come back to an endpoint's answers, or take one that is cut for whole.

        Raises:
            NotStartedError: there will be no answers.
            ConfigurationError: another guarded endpoint calls this one: its code runs in the task of its stream.
        """
        self.check_started(scope)
        task = asyncio.current_task()
        if exchange.called_in not in (None, task):
            raise Misuse.NESTED.error(endpoint=endpoint)
        exchange.called_in = task
        for observation in self.met(scope.get("router")):
            self.runtime.observe(observation)
        if not self.installed:
            self.advise(Misuse.NOT_INSTALLED, endpoint)
        elif exchange.placement is Placement.NOWHERE:
            self.advise(Misuse.NO_LAYER, endpoint)
        elif exchange.placement is Placement.INSIDE:
            self.advise(Misuse.LAYER_INSIDE, endpoint)

    def advise(self, misuse: Misuse, endpoint: str, **values: object) -> None:
        """Tell observers, once for each endpoint, that the guard is used in a way that works only so far."""
        if (misuse, endpoint) not in self._advised:
            self._advised.add((misuse, endpoint))
            self.runtime.observe(misuse.observation(endpoint=endpoint, **values))

    def selected_none(self, source: SelectorSource, parameter: str, endpoint: str) -> None:
        """Tell observers, once, that a request had no session where a selector looked for it."""
        self.advise(Misuse.SELECTED_NONE, endpoint, source=source, parameter=parameter)

    def refused(self, error: FaultError, ids: ResponseIds, *, signal: Signal = Signal.FAULT) -> Fault:
        """Observe the fault of a request that never reached a stream, with what caused it, and give it back with its
        ids."""
        fault = ids.complete(error.fault)
        self.runtime.observe(
            Observation(
                signal,
                request_id=ids.request_id,
                message_id=ids.message_id,
                fault=fault,
                error=error.__cause__,
                fields={"origin": error.origin} if isinstance(error, ForbiddenOriginError) else {},
            )
        )
        return fault

    def keep_alive(self, binding: str, *, ids: bool) -> bytes:
        """What a viewer of an endpoint's stream gets while nothing is said. One whose events carry ids never gets a
        blank line by itself (see `KEEP_ALIVE`)."""
        return KEEP_ALIVE_BLOCK if binding in self.keep_alive_blocks and not ids else KEEP_ALIVE

    def fault_protocol(self) -> WireProtocol:
        """The protocol in which to tell of a failure that belongs to no stream: the endpoints', if they share one."""
        name = next(iter(self.protocols)) if len(self.protocols) == 1 else DEFAULT_PROTOCOL
        return protocol_named(name)


def _nothing(_: object) -> list[Observation]:
    return []


def fault_response(fault: Fault, headers: RawHeaders, *, work_started: bool = False) -> Response:
    """The HTTP answer of a failure: its status and its envelope.

    `work_started` tells OpenAI's and Anthropic's SDKs not to send the request again by themselves.
    """
    response = Response(fault.envelope(), status_code=fault.status, media_type="application/json")
    more = [(b"cache-control", b"no-store"), *headers]
    told = fault.retry_after_seconds
    if (told is not None and fault.status in (409, 429, 503)) or (fault.retryable and fault.status in (429, 503)):
        more.append((b"retry-after", str(told or 1).encode()))
    if work_started:
        more.append((b"x-should-retry", b"false"))
    response.raw_headers.extend(more)
    return response
