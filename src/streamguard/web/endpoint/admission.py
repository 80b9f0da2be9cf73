"""What happens to a request before its stream is registered: every check, and everything it asks for."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from starlette.requests import Request

from ...errors import FaultError
from ...runtime import Runtime, StreamRequest
from ...runtime.opening.request_key import RequestKey
from ...values import SessionKey, new_stream_id
from ..access.checked_ids import checked_message_id, checked_session_id
from ..access.origin import SAFE_METHODS, check_origin
from ..guard_context import GuardContext
from ..middleware.body_too_large import BodyTooLargeError
from ..middleware.exchange import Exchange
from ..response.resumption import cursor_of
from ..response_ids import ResponseIds
from .admitted_request import AdmittedRequest, take_slots
from .arguments import EndpointArguments
from .client_version import protocol_for
from .configuration import EndpointConfiguration, StreamCall
from .endpoint_call import EndpointCall
from .fingerprint import fingerprint_of
from .idempotency_key import HEADER, has_idempotency_key, request_key, retention_seconds
from .revision import revision_of
from .signature import EndpointKind

__all__ = ["Admission"]


class Admission:
    """Admits the requests of one endpoint."""

    def __init__(self, context: GuardContext, configuration: EndpointConfiguration) -> None:
        self._context = context
        self._configuration = configuration
        self._first_item_seconds = _first_item_seconds(context, configuration)
        self._abandon_after_seconds = configuration.options.abandon_after(context.settings)
        self._joins = configuration.options.on_conflict == "join"
        self._rejects = configuration.options.on_conflict == "reject"
        self._is_sync = configuration.signature.kind is EndpointKind.SYNC_GENERATOR

    async def admit(
        self,
        arguments: EndpointArguments,
        names: Collection[bytes],
        ids: ResponseIds,
        exchange: Exchange,
        runtime: Runtime,
    ) -> AdmittedRequest:
        """Check a request, and find everything that its stream is registered with. `ids` become complete on the way.
        `names` are those of its headers.

        Raises:
            FaultError: it is refused. It holds nothing then.
        """
        context, configuration, options = self._context, self._configuration, self._configuration.options
        request, named = arguments.request, arguments.named
        if b"origin" in names and request.scope["method"] not in SAFE_METHODS:
            try:
                check_origin(request, context.settings.cors_origins)
            except FaultError:  # refused whoever asks; operators are to be told who does
                with suppress(FaultError):
                    ids.owner = str(await context.owner(request))
                raise
        identity = await context.owner(request)
        owner = ids.owner = str(identity)
        context.limits.check_open(identity, request)
        ids.set_cookie = identity.set_cookie
        has_key = b"idempotency-key" in names and has_idempotency_key(request)
        if self._rejects and not has_key:  # every other request may get a stream that there is
            runtime.capacity.check()
        selected_session = None if configuration.session is None else await configuration.session.find(named, request)
        ids.session_id = checked_session_id(selected_session)
        # A cursor means something where a request may be a retry, and nowhere else.
        may_retry = has_key or self._joins
        cursor = cursor_of(request) if may_retry else None
        selected_message = (
            None if configuration.message_id is None else await configuration.message_id.find(named, request)
        )
        stream_id = new_stream_id()
        message_id = checked_message_id(selected_message, stream_id)
        source = configuration.demand_source
        demand = None if source is None else await source.demand(named, request)
        protocol = configuration.protocol
        if b"x-ai-sdk-version" in names:
            protocol = protocol_for(protocol, request)
        revision = None if selected_session is None else await revision_of(request)
        content = await self._fingerprint(request) if may_retry else ""
        key = self._key(request, content, None if selected_session is None else ids.session_id) if has_key else None
        # Nothing is awaited and nothing can fail after the slots are taken: a refused request holds none.
        slots = take_slots(context, identity, owner, request, sync=self._is_sync)
        call: StreamCall
        answering_errors: tuple[type[Exception], ...] = ()
        if configuration.call_inside is not None:
            framework, call = "asgi", configuration.call_inside(request)
        else:
            framework = configuration.signature.framework.name_for(request)
            answering_errors = configuration.signature.framework.answered_errors(request)
            call = EndpointCall(
                configuration, named, protocol, request, sync_streams=context.sync_streams, sync_slot=slots.sync
            )
        stream_request = StreamRequest(
            key=SessionKey(owner, ids.session_id),
            protocol=protocol,
            binding=configuration.binding,
            message_id=message_id,
            fingerprint=content if self._joins else "",
            on_conflict=options.on_conflict,
            on_store_failure=options.on_store_failure,
            request_id=ids.request_id,
            framework=framework,
            trace=ids.trace,
            stream_id=stream_id,
            arrived_at=exchange.arrived_at,
            first_item_seconds=self._first_item_seconds,
            stall_seconds=options.stall_seconds,
            max_stream_seconds=options.max_stream_seconds,
            abandon_after_seconds=self._abandon_after_seconds,
            retry_key=request.headers[HEADER] if has_key else None,
            revision=revision,
            answering_errors=answering_errors,
            demand=demand,
            on_over=None if slots.new_visitor is None else slots.new_visitor.release,
        )
        return AdmittedRequest(stream_request, key, identity, slots, call, cursor)

    async def _fingerprint(self, request: Request) -> str:
        """The request's fingerprint; empty for an upload to a rule's application that is too large to be kept."""
        try:
            return await fingerprint_of(request)
        except BodyTooLargeError:
            if not self._configuration.keeps_response:
                raise
            return ""

    def _key(self, request: Request, content: str, session: str | None) -> RequestKey:
        """The request's idempotency key, which holds for as long as its answer may be asked for."""
        settings, configuration = self._context.settings, self._configuration
        saves = self._context.endpoints.bindings.target_of(configuration.binding) is not None
        return request_key(
            request,
            binding=configuration.binding,
            content=content,
            session=session,
            ttl_seconds=retention_seconds(
                settings,
                max_stream_seconds=configuration.options.max_stream_seconds,
                owes=saves or configuration.demand_source is not None,
            ),
            attempt_seconds=settings.finished_ttl_seconds,
        )


def _first_item_seconds(context: GuardContext, configuration: EndpointConfiguration) -> float | None:
    """A rule's application may take its time until it is known whether it answers with a stream at all: an upload, a
    download. The rule's call counts the seconds from then on."""
    options = configuration.options
    if not configuration.keeps_response:
        return options.first_item_seconds
    return options.max_stream_seconds or context.settings.max_stream_seconds
