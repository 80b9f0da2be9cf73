"""The guard's ASGI middleware, outside every middleware of the host's: what must hold whichever those are."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..application.guarded_endpoint import EndpointLookup, Guarded
from ..application.rule_search import RuleSearch
from ..headers import EXPOSE_NAME, RawHeaders, expose, plain_lines, without_encodings
from ..misuse import Misuse
from .application_call import ApplicationCall
from .base_http_middleware import break_connection, runs_in_base_http_middleware
from .body_too_large import TooLargeResponse, caused_by_large_body
from .exchange import EXCHANGE, Exchange, LayerSends, Placement, ResponseState
from .hypercorn_streams import reset_http2_stream
from .request_reader import RequestReader, body_of

__all__ = ["OutermostLayer", "add_outermost_layer"]


class OutermostLayer:
    """Wraps `app`. `application` is the one whose endpoints it leads to, if that cannot be seen by looking at `app`.

    **A response that is cut short ends as a broken connection.** A response that stops without its final body message
    is enough for a server to break the connection. But `BaseHTTPMiddleware` sends that final message itself when the
    application returns, and every client reads it as success. The layer swallows that one message and nothing else.

    **The request is read here**, for the endpoint and for its viewer: see `RequestReader`.

    **A body that is too large is refused** as its bytes arrive: see `TooLargeResponse`.

    **A response that a rule of `StreamGuardMiddleware` captures must not be compressed** on its way out either: the
    application does not see which encodings the client of such a request takes, unless the rule's `when` turns out to
    be false (`RuleTable.answer`).

    The call of a guarded endpoint, and of a request that matches a rule, runs in a task of its own: see
    `ApplicationCall`. Inside another such layer, as in a mounted application, the layer does nothing.

    A `BaseHTTPMiddleware` outside the layer can complete a response that was cut short: see `break_connection`.
    """

    def __init__(self, app: ASGIApp, application: object = None) -> None:
        self.app = app
        self._lookup = EndpointLookup(app if application is None else application)
        self._rules: RuleSearch | None = None
        """The rules inside; None before the first request, when all middlewares have been made."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or EXCHANGE in scope:
            await self.app(scope, receive, send)
            return
        exchange = scope[EXCHANGE] = Exchange()
        exchange.placement = Placement.INSIDE if runs_in_base_http_middleware(exchange.loop) else Placement.OUTERMOST
        exchange.mounted = "router" in scope  # the outermost router puts it there
        rule = self._rule_for(scope)
        layered = _LayeredExchange(self.app, self._lookup, exchange, scope, send, rule)
        endpoint = layered.endpoint()
        if endpoint is not None and endpoint.reads_plain:
            headers = without_encodings(scope["headers"])
            if headers is not scope["headers"]:  # else the rule that was found for this scope is found no more
                if endpoint is rule:
                    exchange.withheld = scope["headers"]
                scope = {**scope, "headers": headers}
        try:
            if endpoint is None:
                await layered.call(scope, receive, layered.send)
            else:
                exchange.call = ApplicationCall(
                    layered.call, scope, receive, layered.send, silence=layered.silence, loop=exchange.loop
                )
                await exchange.call.wait()
        except Exception:
            await _break_if_cut_short(exchange, send)
            raise
        await _break_if_cut_short(exchange, send)

    def _rule_for(self, scope: Scope) -> Guarded | None:
        if self._rules is None:
            self._rules = RuleSearch(self.app)
        return self._rules.find(scope) if self._rules.any else None


async def _break_if_cut_short(exchange: Exchange, send: Send) -> None:
    if exchange.response is not ResponseState.CUT_SHORT:
        return
    if exchange.placement is Placement.INSIDE:
        await break_connection(send)
    else:
        await reset_http2_stream(send)


class _LayeredExchange:
    """One exchange on its way through the layer: how the application is called, and what becomes of its messages."""

    __slots__ = (
        "_app",
        "_exchange",
        "_forward",
        "_lookup",
        "_rule",
        "_scope",
        "_send",
        "_silent",
        "_started",
        "_too_large",
    )

    def __init__(
        self,
        app: ASGIApp,
        lookup: EndpointLookup,
        exchange: Exchange,
        scope: Scope,
        send: Send,
        rule: Guarded | None,
    ) -> None:
        self._app = app
        self._lookup = lookup
        self._rule = rule
        self._exchange = exchange
        self._scope = scope
        self._send = send
        self._forward = send
        """Where the application's messages go."""
        self._silent = False
        """Nothing can be sent any more."""
        self._started = False
        """The application's response has begun."""
        self._too_large: TooLargeResponse | None = None
        """The answer to a body that is too large, once one was refused."""

    def endpoint(self) -> Guarded | None:
        """The guarded endpoint that the request is for, as far as it is known now; None for every other request."""
        return self._lookup.find(self._scope) or self._rule

    async def call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, which reads the request through a `RequestReader`."""
        declared, empty = body_of(scope)
        reader = self._exchange.reader = RequestReader(
            receive,
            limit=self._limit,
            declared=declared,
            empty=empty,
            on_refused=self._refuse,
        )
        self._exchange.sends = LayerSends(send, self._send)
        try:
            await self._app(scope, reader.receive, send)
        except Exception as exc:
            if self._too_large is None or not caused_by_large_body(exc):
                raise
        finally:
            reader.close()
            # These lead back here, and would keep all in a cycle.
            self._exchange.reader = self._exchange.call = self._exchange.sends = None
            if self._too_large is not None:
                await self._too_large.finish()
        if self._too_large is not None and not self._started:
            await self._too_large.send()

    def send(self, message: Message) -> Awaitable[None]:
        """The application's `send`. Hot path: no coroutine of its own for each event."""
        if message.get("more_body"):
            forward = self._forward
            return forward(message)
        if self._silent:
            return _discard(message)
        exchange = self._exchange
        if message["type"] == "http.response.body":
            if exchange.response is not ResponseState.WHOLE:
                return _discard(message)
        elif message["type"] == "http.response.start":
            too_large = self._too_large
            if too_large is not None and (too_large.sent or not self._endpoint_answers()):
                self._forward, exchange.sends = _discard, None
                return too_large.send(message.get("headers", ()))
            self._started = True
            if exchange.ids is not None:
                given = message.get("headers", ())  # any iterable, and perhaps for once
                headers = _with_ids(given if type(given) is list else list(given), exchange.ids.headers())
                exchange.ids = None  # there is no other answer to this exchange, and a stream's lasts
                if headers is not given:
                    message = {**message, "headers": headers}
        return self._forward(message)

    def silence(self) -> None:
        """Send nothing any more: the connection is gone."""
        self._silent, self._forward, self._exchange.sends = True, _discard, None

    def _limit(self) -> int | None:
        endpoint = self.endpoint()
        return None if endpoint is None else endpoint.max_request_bytes

    def _refuse(self) -> None:
        endpoint = self.endpoint()
        if endpoint is not None and not self._started:
            self._too_large = TooLargeResponse(endpoint, self._scope, self._send)
            self._too_large.send_when_late()

    def _endpoint_answers(self) -> bool:
        """Whether the endpoint itself answers that the body is too large."""
        return self._exchange.reader is not None and self._exchange.reader.endpoint_answers


async def _discard(message: Message) -> None:
    """Send nothing."""


def _with_ids(headers: RawHeaders, ids: RawHeaders) -> RawHeaders:
    # Nearly always a stream's own response, which exposes its names too: without a loop, and so in a third of the time.
    if headers[-len(ids) :] == ids and next(zip(*headers, strict=True)).count(EXPOSE_NAME) == 1:
        return headers
    headers = plain_lines(headers)
    if set(ids).issubset(headers):
        return expose(headers)
    present = {name.lower() for name, _ in headers}
    return expose(headers + [line for line in ids if line[0] not in present])


class _LayeredStack(ServerErrorMiddleware):
    """A middleware stack in its layer, as the kind of object that Starlette builds.

    `FastAPIInstrumentor.instrument_app` of OpenTelemetry takes an application's stack apart: it wants a
    `ServerErrorMiddleware`, and puts its own around the `app` of that. Given anything else it does nothing but log an
    error. So this one passes everything to the layer, and leaves errors to the one inside: it has no `handler` that
    would be called a second time.
    """

    def __init__(self, layer: OutermostLayer) -> None:
        super().__init__(layer)

    def __call__(  # type: ignore[override] # a coroutine less for each request
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        return self.app(scope, receive, send)


def add_outermost_layer(app: Starlette, *, running: bool = False) -> None:
    """Put the layer outside everything in an application, error pages included. Once per application.

    Starlette builds its middleware stack when first called. With `running`, a stack that is built already is put
    inside the layer.

    Raises:
        ConfigurationError: the application has started, and `running` is false.
    """
    build, stack = app.build_middleware_stack, app.middleware_stack
    if stack is not None and not running:
        raise Misuse.INSTALLED_LATE.error()
    if getattr(build, "is_streamguard", False) or isinstance(stack, OutermostLayer):
        return
    if stack is not None:
        app.middleware_stack = OutermostLayer(stack, app)
        return

    def build_with_layer() -> ASGIApp:
        return _LayeredStack(OutermostLayer(build(), app))

    build_with_layer.is_streamguard = True  # type: ignore[attr-defined]
    app.build_middleware_stack = build_with_layer  # type: ignore[method-assign]
