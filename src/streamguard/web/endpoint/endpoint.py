"""A decorated endpoint: what is decided when decorating, and how one request becomes a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ...deadlines import Deadline
from ...errors import ConfigurationError, FaultError
from ...faults import Fault, FaultCode
from ...runtime import FirstItem, LiveStream, QuotaRefusedError, StreamRequest
from ...runtime.opening.idempotent_opening import open_idempotently
from ...runtime.opening.request_key import RequestKey, abandon, give_back
from ...runtime.request import Ending
from ...stores.base import StreamMeta
from ...values import Outcome, SessionKey
from ...wire import WireProtocol, protocol_named
from ..access.origin import SAFE_METHODS, check_origin
from ..guard_context import GuardContext, ResponseIds, fault_response
from ..headers import merged, request_id_of, stream_headers
from ..middleware.exchange import exchange_of, intake_of
from ..middleware.request_reader import BodyTooLargeError, Intake
from ..misuse import Misuse
from ..response.response import StreamResponse
from ..response.resumption import bare
from ..response.view_options import ViewOptions
from .admitted_request import Admitted, take_places
from .client_version import protocol_for
from .endpoint_call import Answer, Items, default_protocol
from .fingerprint import fingerprint_of
from .idempotency_key import carries_key, request_key
from .options import StreamOptions
from .quota import DemandSource, standing_headers
from .retried_request import answer_after, answer_from_start, cursor_of_repetition
from .returned_response import Head
from .revision import revision_of
from .run import Run
from .selector import Selector, checked_message_id, checked_session_id
from .signature import REQUEST_PARAMETER, RESPONSE_PARAMETER, EndpointKind, EndpointSignature

__all__ = ["GuardedEndpoint"]


class GuardedEndpoint:
    """One endpoint under one guard.

    Raises:
        ConfigurationError: when constructed, if it can never work: not a callable, a selector that names no
            parameter, an unknown protocol.
    """

    def __init__(
        self,
        context: GuardContext,
        endpoint: Callable[..., object],
        options: StreamOptions,
        local_names: Mapping[str, object],
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._options = options
        signature = EndpointSignature.read(endpoint, local_names)
        self.signature: EndpointSignature = signature
        self._protocol = options.spoken(protocol_named(options.protocol or default_protocol(signature)))
        self._session = Selector.optional(options.session, "session", signature, context.selected_none)
        self._message_id = Selector.optional(options.message_id, "message_id", signature)
        self._binding = options.binding or signature.name
        context.bindings.register(self._binding, options.save)
        terms = options.quotas.terms(own_service=context.own_quota)
        self._counting = None if terms is None else DemandSource(terms, options.quotas.estimate, signature)
        context.terms.register(self._binding, terms)
        context.longest_stream_seconds = max(context.longest_stream_seconds, options.max_stream_seconds or 0.0)
        context.protocols.add(self._protocol.name)
        if options.keep_alive == "block":
            context.keep_alive_blocks.add(self._binding)

    async def __call__(self, args: tuple[object, ...], kwargs: dict[str, object]) -> Response:
        """Answer one request: the stream, or the failure that came before it.

        Raises:
            HTTPException: the endpoint's own, raised before its first item.
            ConfigurationError: the endpoint or the guard is used in a way that cannot work.
        """
        arguments, request, injected = self._bind(args, dict(kwargs))
        ids = ResponseIds(request_id_of(request.headers.get("x-request-id")))
        exchange = exchange_of(request.scope)
        self._context.check_use(request.scope, exchange, self.signature.name)
        exchange.headers = ids.headers()
        if request.method == "HEAD":
            return bare(200, stream_headers(self._protocol.media_type, self._protocol.headers) + ids.headers())
        intake = intake_of(request)
        try:
            intake.check(self.max_request_bytes)
            admitted = await self._admit(arguments, request, ids)
        except FaultError as exc:
            intake.told = True
            return fault_response(self._context.refused(exc, ids), ids.headers())
        if admitted.cursor is not None:
            return await answer_after(self._context, admitted, admitted.cursor, request, ids)
        try:
            opened = await open_idempotently(self._context.runtime, admitted.request, admitted.key)
        except FaultError as exc:  # it has been observed
            admitted.places.release()
            self._context.allowances.refused(admitted.identity, exc.fault.code)
            ids.stream_id, ids.message_id = exc.fault.stream_id, exc.fault.message_id
            standings = exc.standings if isinstance(exc, QuotaRefusedError) else ()
            return fault_response(ids.complete(exc.fault), ids.headers() + standing_headers(standings))
        except BaseException:
            admitted.places.release()
            raise
        if isinstance(opened, StreamMeta):
            return answer_from_start(self._context, admitted, opened, request, ids, has_ids=self._options.ids)
        ids.stream_id, ids.message_id = opened.ref.stream_id, opened.message_id
        exchange.headers = ids.headers()
        try:
            if await self._is_forbidden(opened):
                return await self._as_if_never(opened, admitted, ids, launched=False)
            intake.hold(opened)
            answer = admitted.items.launch(self._context.runtime, opened)
        except BaseException:  # cancelled, say: nobody produces it
            admitted.places.release()
            error = FaultError(ids.complete(Fault.of(FaultCode.INTERRUPTED)))
            abandon(self._context.runtime, opened, admitted.key, error)
            raise
        call = exchange.call
        if call is not None:
            call.lend(self._context.runtime.adopt)
        with opened.attending():
            response = await self._started(opened, answer, admitted, request, injected, ids, intake)
        if call is not None and not isinstance(response, StreamResponse):
            call.take_back()
        return response

    @property
    def max_request_bytes(self) -> int:
        """The limit of its requests' bodies."""
        return self._context.settings.max_request_bytes

    def too_large(self, scope: Scope) -> Response:
        """The answer to a request whose body was refused before the endpoint was called; observes that."""
        ids = ResponseIds(request_id_of(Headers(scope=scope).get("x-request-id")))
        return fault_response(self._context.refused(BodyTooLargeError(), ids), ids.headers())

    # -- before the stream --------------------------------------------------------------------------------------------

    def _bind(
        self, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[dict[str, object], Request, Response | None]:
        """The endpoint's arguments but for `run`, its request, and the response whose headers were injected."""
        signature = self.signature
        request = kwargs.pop(REQUEST_PARAMETER, None)
        injected = kwargs.pop(RESPONSE_PARAMETER, None)
        if request is None and signature.request is None and args and isinstance(args[-1], Request):
            *rest, request = args  # Starlette's plain endpoints get the request as their one argument
            args = tuple(rest)
        visible = signature.inner.replace(
            parameters=[parameter for name, parameter in signature.inner.parameters.items() if name != signature.run]
        )
        try:
            bound = visible.bind(*args, **kwargs)
        except TypeError as exc:
            raise ConfigurationError(f"{signature.name} was called with arguments it does not take: {exc}") from exc
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        if signature.request is not None:
            request = arguments[signature.request]
        if signature.response is not None:
            injected = arguments[signature.response]
        if not isinstance(request, Request):
            raise ConfigurationError(
                f"{signature.name} was called without a request: register what @guard.stream returns, as "
                "@app.post(…) above @guard.stream(…) does"
            )
        return arguments, request, injected if isinstance(injected, Response) else None

    async def _admit(self, arguments: dict[str, object], request: Request, ids: ResponseIds) -> Admitted:
        """Everything up to registration.

        Raises:
            FaultError: it is refused.
        """
        context, options = self._context, self._options
        if request.method not in SAFE_METHODS:
            check_origin(request, context.settings.cors_origins)
        cursor = cursor_of_repetition(request, options)
        identity = await context.owner(request)
        context.allowances.open(identity, request)
        ids.set_cookie = identity.set_cookie
        joinable, once = options.on_conflict == "join", carries_key(request)
        if options.on_conflict == "reject" and not once:  # any other may need no place
            context.runtime.room.check()
        found = None if self._session is None else await self._session.find(arguments, request)
        ids.session_id = checked_session_id(found)
        exchange_of(request.scope).headers = ids.headers()
        named = None if self._message_id is None else await self._message_id.find(arguments, request)
        message_id = checked_message_id(named)
        demand = None if self._counting is None else await self._counting.demand(arguments, request)
        protocol = protocol_for(self._protocol, request)
        revision = None if found is None else await revision_of(request)
        content = await fingerprint_of(request) if joinable or once else ""
        # Nothing is awaited from here on, and nothing can fail any more: who is refused holds nothing.
        places = take_places(context, identity, request, sync=self.signature.kind is EndpointKind.SYNC_GENERATOR)
        return Admitted(
            StreamRequest(
                key=SessionKey(str(identity), ids.session_id),
                protocol=protocol,
                binding=self._binding,
                message_id=message_id,
                fingerprint=content if joinable else "",
                on_conflict=options.on_conflict,
                on_store_failure=options.on_store_failure,
                request_id=ids.request_id,
                arrived_at=exchange_of(request.scope).arrived_at,
                first_item_seconds=options.first_item_seconds,
                stall_seconds=options.stall_seconds,
                max_stream_seconds=options.max_stream_seconds,
                abandon_after_seconds=options.abandon_after(context.settings),
                retry_key=request.headers["idempotency-key"] if once else None,
                revision=revision,
                demand=demand,
                on_over=None if places.stranger is None else places.stranger.release,
            ),
            self._key(request, content, None if found is None else ids.session_id) if once else None,
            identity,
            places,
            Items(
                self.signature,
                lambda run: self._call(arguments, run),
                protocol,
                request,
                named=options.protocol is not None,
                sync_streams=context.sync_streams,
                sync_slot=places.sync,
            ),
            cursor,
        )

    def _key(self, request: Request, content: str, session: str | None) -> RequestKey:
        settings = self._context.settings
        running = self._options.max_stream_seconds or settings.max_stream_seconds
        owing = self._context.bindings.target_of(self._binding) is not None or self._counting is not None
        kept = settings.outbox_retention_seconds if owing else settings.finished_ttl_seconds
        return request_key(
            request,
            binding=self._binding,
            content=content,
            session=session,
            ttl_seconds=running + settings.save_total_seconds + kept,
            attempt_seconds=settings.finished_ttl_seconds,
        )

    def _call(self, arguments: dict[str, object], run: Run) -> object:
        if self.signature.run is not None:
            arguments = {**arguments, self.signature.run: run}
        bound = self.signature.inner.bind_partial()
        bound.arguments.update({name: arguments[name] for name in self.signature.inner.parameters if name in arguments})
        return self._endpoint(*bound.args, **bound.kwargs)

    # -- with a stream ------------------------------------------------------------------------------------------------

    async def _started(
        self,
        stream: LiveStream,
        answer: Answer | None,
        admitted: Admitted,
        request: Request,
        injected: Response | None,
        ids: ResponseIds,
        intake: Intake,
    ) -> Response:
        """The answer to the request that started `stream`, once it is known whether it begins."""
        returned = await answer.wait(stream) if answer is not None else None
        if isinstance(returned, Response):
            intake.release()
            await self._came_to_nothing(stream, admitted)
            self._advise_of(returned)
            return returned
        if await stream.first(self._context.settings.headers_after_seconds) is FirstItem.FAILED:
            await self._came_to_nothing(stream, admitted)
            intake.told = intake.refused
            if isinstance(stream.failure, (HTTPException, ConfigurationError)) and not intake.refused:
                raise stream.failure
            fault = stream.fault or Fault.of(FaultCode.INTERNAL)
            return fault_response(ids.complete(fault), ids.headers(), work_started=True)
        if await self._is_forbidden(stream):
            return await self._as_if_never(stream, admitted, ids, launched=True)
        runtime = self._context.runtime
        options = self._view_options(stream.protocol, request)
        status_code, headers, background = self._head(stream, returned, injected, ids)
        return StreamResponse(
            runtime,
            lambda: runtime.view(stream, ids=options.ids, keep_alive=options.keep_alive),
            admitted.places.viewer,
            status_code=status_code,
            headers=headers,
            stream=stream,
            background=background,
        )

    def _advise_of(self, answer: Response) -> None:
        """Tell observers, once, of an answer that a quota or a message store should have seen."""
        succeeded = 200 <= answer.status_code < 300 and answer.status_code != 204
        if succeeded and (self._counting is not None or self._context.bindings.target_of(self._binding) is not None):
            self._context.advise(Misuse.WHOLE_ANSWER, self.signature.name, given=type(answer).__name__)

    async def _is_forbidden(self, stream: LiveStream) -> bool:
        """Whether the message store says that the session is somebody else's. It was asked beside the registration, and
        has no longer than that might have taken."""
        return stream.user_messages is not None and await stream.user_messages.forbidden(stream.budget.session_deadline)

    async def _as_if_never(
        self, stream: LiveStream, admitted: Admitted, ids: ResponseIds, *, launched: bool
    ) -> Response:
        """End a stream in somebody else's session, and answer as for one that never was."""
        error = FaultError(ids.complete(Fault.of(FaultCode.NOT_FOUND)))
        if stream.finalising:
            self._context.refused(error, ids)
        if launched:
            stream.cancel(Ending(Outcome.FAILED, error.fault))
            await self._settled(stream)
            admitted.places.viewer.release()
        else:
            await self._context.runtime.reject(stream, error)
            admitted.places.release()
        await give_back(self._context.runtime, admitted.key, stream)
        return fault_response(error.fault, ids.headers(), work_started=launched)

    async def _came_to_nothing(self, stream: LiveStream, admitted: Admitted) -> None:
        """The stream ended before its first event: what it was to answer may be asked again."""
        await self._settled(stream)
        admitted.places.viewer.release()
        await give_back(self._context.runtime, admitted.key, stream)

    async def _settled(self, stream: LiveStream) -> None:
        """Wait a moment for the stream's end, so that a retry at once does not meet it; not for a store that is known
        to be silent, and which the retry meets instead."""
        if self._context.runtime.breaker.open:
            return
        with suppress(TimeoutError):
            async with Deadline.after(self._context.settings.registration_seconds).limit():
                await stream.ended()

    def _head(self, stream: LiveStream, returned: Head | None, injected: Response | None, ids: ResponseIds) -> Head:
        """Status, headers and background task: ours, and what the host added to a response of its own."""
        protocol = stream.protocol
        headers = stream_headers(protocol.media_type, protocol.headers) + ids.headers()
        if stream.degraded:
            headers.append((b"x-streamguard-notice", FaultCode.NOT_RESUMABLE.encode()))
        held = self._context.runtime.reserving.held(stream.ref)
        if held is not None:
            headers += standing_headers(held.standings)
            if held.owing:
                headers.append((b"x-streamguard-notice", FaultCode.QUOTA_RELEASE_FAILED.encode()))
        status_code, background = 200, None
        if injected is not None:
            status_code = injected.status_code or 200
            headers = merged(headers, injected.raw_headers)
        if returned is not None:
            status_code, background = returned.status_code, returned.background
            headers = merged(headers, returned.raw_headers, own_type=self._options.protocol is None)
        return Head(status_code, headers, background)

    def _view_options(self, protocol: WireProtocol, request: Request) -> ViewOptions:
        ids = protocol.ids_by_default if self._options.ids is None else self._options.ids
        return ViewOptions.of(self._context, request, binding=self._binding, ids=ids)
