"""A guarded endpoint: how one request is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Scope

from ...errors import FaultError
from ...runtime import QuotaRefusedError
from ...stores.records import StreamMeta
from ...wire import WireProtocol
from ..application.guarded_endpoint import ItemWriter
from ..guard_context import GuardContext
from ..headers import header_names, header_of, request_id_of, stream_headers
from ..middleware.body_too_large import BodyTooLargeError
from ..middleware.exchange import exchange_of, reader_of
from ..response.plain_responses import empty_response, fault_response
from ..response_ids import ResponseIds
from .admission import Admission
from .admitted_request import AdmittedRequest
from .arguments import EndpointArguments, bind_arguments
from .configuration import EndpointConfiguration
from .framework import Framework
from .quota_options import standing_headers
from .retried_request import replay, resume_after
from .stream_start import StreamStart

__all__ = ["GuardedEndpoint"]


class GuardedEndpoint:
    """Answers the requests of one endpoint."""

    def __init__(self, context: GuardContext, configuration: EndpointConfiguration) -> None:
        self._context = context
        self._configuration = configuration
        self._admission = Admission(context, configuration)
        self.max_request_bytes: int | None = (
            None if configuration.keeps_response else context.settings.max_request_bytes
        )
        """How large the bodies of its requests may be; None for any size."""

    def __call__(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Awaitable[Response]:
        """Answer one request, for which a framework calls the endpoint with these arguments.

        Raises:
            HTTPException: the endpoint's own, raised before its first item.
            ConfigurationError: the endpoint or the guard is used in a way that cannot work.
        """
        return self.answer(bind_arguments(self._configuration.signature, args, kwargs))

    async def answer(self, arguments: EndpointArguments) -> Response:
        """Answer one request: with its stream, or with the failure that came before it.

        Raises:
            HTTPException, ConfigurationError: see above.
        """
        context, configuration = self._context, self._configuration
        signature, request = configuration.signature, arguments.request
        scope = request.scope
        names = header_names(scope)
        ids = ResponseIds(request_id_of(header_of(scope, b"x-request-id") if b"x-request-id" in names else None))
        exchange = exchange_of(scope)
        runtime = context.started(scope)
        context.usage.check_call(scope, exchange, signature.name, remedy=signature.framework.installing)
        ids.trace = context.trace_of(request, names, runtime)
        exchange.ids = ids
        if scope["method"] == "HEAD":
            protocol = configuration.protocol
            return empty_response(200, stream_headers(protocol.media_type, protocol.headers) + ids.headers())
        reader = exchange.reader if configuration.keeps_response else None
        reader = reader or reader_of(request, exchange)
        try:
            if self.max_request_bytes is not None:
                reader.check(self.max_request_bytes)
            with context.checking(runtime, ids, binding=configuration.binding, protocol=configuration.protocol.name):
                admitted = await self._admission.admit(arguments, names, ids, exchange, runtime)
        except FaultError as exc:
            reader.endpoint_answers = True
            fault = context.observe_refusal(exc, ids, request.scope, protocol=configuration.protocol.name)
            return fault_response(fault, ids.headers())
        if admitted.cursor is not None:
            return await resume_after(context, admitted, admitted.cursor, request, ids)
        try:
            opened = await runtime.idempotent_opening.open(admitted.request, admitted.key)
        except FaultError as exc:  # it has been observed
            return self._not_opened(exc, admitted, ids)
        except BaseException:
            admitted.slots.release()
            raise
        if isinstance(opened, StreamMeta):
            return replay(context, admitted, opened, request, ids, ids_option=configuration.options.ids)
        start = StreamStart(context, runtime, configuration, opened, admitted, arguments, ids, reader, exchange)
        return await start.response()

    @property
    def protocol(self) -> WireProtocol:
        """What its answers are, as far as that is known before it is called."""
        return self._configuration.protocol

    @property
    def name(self) -> str:
        """The endpoint's name, for messages."""
        return self._configuration.signature.name

    @property
    def framework(self) -> Framework:
        """The framework that calls the endpoint."""
        return self._configuration.signature.framework

    @property
    def configuration(self) -> EndpointConfiguration:
        """What was decided about the endpoint when it was decorated."""
        return self._configuration

    @property
    def reads_plain(self) -> bool:
        """Whether its responses are read here, and so must not be compressed."""
        return self._configuration.keeps_response

    def too_large(self, scope: Scope) -> Response:
        """The answer to a request whose body was refused before the endpoint was called. Observes the refusal."""
        ids = ResponseIds(request_id_of(header_of(scope, b"x-request-id")))
        fault = self._context.observe_refusal(BodyTooLargeError(), ids, scope, protocol=self.protocol.name)
        return fault_response(fault, ids.headers())

    def send_events(self, writer_for: Callable[[object], ItemWriter]) -> None:
        """From now on, before the guard starts, what the endpoint yields becomes server-sent events. `writer_for` is
        given its return annotation. Does nothing the second time, for a second route.

        Raises:
            ConfigurationError: an option of the endpoint does not work with events.
        """
        configuration = self._configuration
        if configuration.write_item is None:
            writer = writer_for(configuration.signature.returns)
            self._configuration = configuration.sending_events(self._context, writer)
            self._admission = Admission(self._context, self._configuration)

    def _not_opened(self, error: FaultError, admitted: AdmittedRequest, ids: ResponseIds) -> Response:
        """The answer to a request whose stream could not be registered."""
        admitted.slots.release()
        self._context.limits.count_refusal(admitted.identity, error.fault.code)
        ids.stream_id, ids.message_id = error.fault.stream_id, error.fault.message_id
        standings = error.standings if isinstance(error, QuotaRefusedError) else ()
        return fault_response(ids.complete(error.fault), ids.headers() + standing_headers(standings))
