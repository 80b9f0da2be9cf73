"""One request's stream, from its registration to the response that its request gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.responses import Response

from ...deadlines import Deadline
from ...errors import ConfigurationError, FaultError
from ...faults import Fault, FaultCode
from ...runtime import FirstItem, LiveStream, Runtime
from ...runtime.request import Ending
from ...runtime.upkeep.unwatched import RequestWaiting
from ...scopes import StreamContext, Work
from ...values import Outcome
from ..guard_context import GuardContext
from ..headers import add_headers, merge_headers, stream_headers
from ..middleware.exchange import Exchange
from ..middleware.request_reader import RequestReader
from ..misuse import Misuse
from ..response.plain_responses import fault_response
from ..response.stream_response import StreamResponse
from ..response.view_options import ViewOptions
from ..response_ids import ResponseIds
from .admitted_request import AdmittedRequest
from .arguments import EndpointArguments
from .closing import close_dropped
from .configuration import EndpointConfiguration
from .endpoint_result import EndpointResult
from .quota_options import standing_headers
from .returned_response import ResponseHead
from .unfinished_call import UnfinishedCall

__all__ = ["StreamStart"]


class StreamStart:
    """Calls the endpoint for a stream that has been registered, and answers the request."""

    def __init__(
        self,
        context: GuardContext,
        runtime: Runtime,
        configuration: EndpointConfiguration,
        stream: LiveStream,
        admitted: AdmittedRequest,
        arguments: EndpointArguments,
        ids: ResponseIds,
        reader: RequestReader,
        exchange: Exchange,
    ) -> None:
        ids.stream_id, ids.message_id = stream.ref.stream_id, stream.message_id
        self._context = context
        self._runtime = runtime
        self._configuration = configuration
        self._stream = stream
        self._admitted = admitted
        self._arguments = arguments
        self._ids = ids
        self._exchange = exchange
        self._reader = reader

    async def response(self) -> Response:
        """Start producing. Returns the response once it is known whether the stream begins.

        Raises:
            Exception: one that the framework answers (an `HTTPException`, say), which the endpoint raised before its
                first item; or what a dependency of the endpoint raised when it saw the failure.
            ConfigurationError: what the endpoint returned cannot be streamed.
        """
        try:
            if self._stream.user_messages is not None and await self._is_forbidden():
                return await self._hide(launched=False)
            self._reader.keep_for(self._stream)
            result = self._admitted.call.launch(self._runtime, self._stream)
        except BaseException:  # cancelled, for example: there is no producer
            self._admitted.slots.release()
            error = FaultError(self._ids.complete(Fault.of(FaultCode.INTERRUPTED)))
            self._runtime.idempotent_opening.abandon(self._stream, self._admitted.key, error)
            raise
        call = self._exchange.call
        if call is not None:
            call.allow_detaching(self._runtime.adopt)
        with RequestWaiting(self._stream):
            response = await self._first_response(result)
        if call is not None and not isinstance(response, StreamResponse):
            call.forbid_detaching()
        return response

    async def _first_response(self, result: EndpointResult | None) -> Response:
        stream, ids = self._stream, self._ids
        returned = await result.wait(stream) if result is not None else None
        if isinstance(returned, Response):
            self._reader.release()
            try:
                await self._end_without_events()
            except BaseException:  # cancelled, for example
                await close_dropped(returned)
                raise
            self._forget_stream()
            if not self._configuration.keeps_response:
                self._warn_of_whole_answer(returned)
            return returned
        if await stream.first(self._context.settings.headers_after_seconds) is FirstItem.FAILED:
            await self._end_without_events()
            refused = self._reader.refused
            self._reader.endpoint_answers = refused
            error = stream.first_answer.error
            # None behind a rule: its application has answered with a stream by then, and can make nothing of either.
            answered = stream.request.answering_errors
            if error is not None and isinstance(error, (*answered, ConfigurationError)) and not refused:
                if isinstance(error, answered):
                    self._forget_stream()
                raise error
            await self._close_dependencies()
            fault = stream.fault or Fault.of(FaultCode.INTERNAL)
            return fault_response(ids.complete(fault), ids.headers(), work_started=True)
        if stream.user_messages is not None and await self._is_forbidden():
            return await self._hide(launched=True)
        runtime, configuration = self._runtime, self._configuration
        view = ViewOptions.of(
            self._context,
            self._arguments.request,
            binding=configuration.binding,
            ids=configuration.options.ids,
        )
        ids.message_id = None if stream.speaking.undecided else stream.message_id
        head = self._head(returned)
        return StreamResponse(
            runtime,
            lambda: runtime.view(stream, ids=view.ids, keep_alive=view.keep_alive),
            self._admitted.slots.viewer,
            status_code=head.status_code,
            headers=head.raw_headers,
            about=StreamContext.about(stream, Work.VIEW, binding=configuration.binding, protocol=stream.protocol.name),
            stream=stream,
            background=head.background,
            on_end=self._closing_dependencies(),
        )

    # -- a session of another owner -----------------------------------------------------------------------------------

    async def _is_forbidden(self) -> bool:
        """Whether the message store says that the session belongs to another owner. The store was asked while the
        stream was registered, and gets no longer than the registration may take."""
        messages = self._stream.user_messages
        return messages is not None and await messages.forbidden(self._stream.backlog.budget.session_deadline)

    async def _hide(self, *, launched: bool) -> Response:
        """End a stream in another owner's session, and answer as if there were no such session."""
        stream, ids, runtime = self._stream, self._ids, self._runtime
        error = FaultError(ids.complete(Fault.of(FaultCode.NOT_FOUND)))
        if stream.finalising:
            self._context.observe_refusal(error, ids, self._arguments.request.scope)
        if launched:
            stream.cancel(Ending(Outcome.FAILED, error.fault))
            await self._wait_for_end()
            self._admitted.slots.viewer.release()
        else:
            await runtime.reject(stream, error)
            self._admitted.slots.release()
        await runtime.idempotent_opening.give_back(self._admitted.key, stream)
        if launched:
            await self._close_dependencies()
        return fault_response(error.fault, ids.headers(), work_started=launched)

    # -- no stream ----------------------------------------------------------------------------------------------------

    async def _end_without_events(self) -> None:
        """The stream ended before its first event: its request may be sent again under the same key."""
        await self._wait_for_end()
        self._admitted.slots.viewer.release()
        await self._runtime.idempotent_opening.give_back(self._admitted.key, self._stream)

    def _forget_stream(self) -> None:
        """The answer is no stream's: it names none. One that passes through a rule has no headers of ours anyway."""
        self._ids.stream_id = self._ids.message_id = None

    async def _wait_for_end(self) -> None:
        """Wait a moment for the stream's end, so that an immediate retry does not meet the stream. Not while the store
        is known to be silent: the retry then meets that."""
        if self._runtime.breaker.open:
            return
        with suppress(TimeoutError):
            async with Deadline.after(self._context.settings.registration_seconds).limit():
                await self._stream.ended()

    def _warn_of_whole_answer(self, answer: Response) -> None:
        """Tell observers, once, of an answer that was neither saved nor counted, by an endpoint that does either."""
        configuration = self._configuration
        succeeded = 200 <= answer.status_code < 300 and answer.status_code != 204
        saves = self._context.endpoints.bindings.target_of(configuration.binding) is not None
        if succeeded and (saves or configuration.demand_source is not None):
            name = configuration.signature.name
            self._context.usage.advise(Misuse.WHOLE_ANSWER, name, given=type(answer).__name__)

    # -- what the framework keeps open for the endpoint ---------------------------------------------------------------

    async def _close_dependencies(self) -> None:
        closing = self._closing_dependencies()
        if closing is not None:
            await closing()

    def _closing_dependencies(self) -> Callable[[], Awaitable[None]] | None:
        """See `UnfinishedCall`. None behind a rule: its application's framework does that itself."""
        configuration = self._configuration
        if configuration.keeps_response:
            return None
        return UnfinishedCall(configuration.signature.framework, self._arguments.request.scope, self._stream)

    # -- a stream -----------------------------------------------------------------------------------------------------

    def _head(self, returned: ResponseHead | None) -> ResponseHead:
        """Status, headers and background task: ours, and those that the host added to a response of its own."""
        stream, injected, protocol = self._stream, self._arguments.injected, self._stream.protocol
        keeps_response, content_type = self._configuration.keeps_response, None
        if returned is not None and not keeps_response and self._configuration.options.protocol is None:
            content_type = dict(returned.raw_headers).get(b"content-type")
        headers = stream_headers(protocol.media_type, protocol.headers, content_type=content_type)
        if stream.degraded:
            headers.append((b"x-streamguard-notice", FaultCode.NOT_RESUMABLE.encode()))
        held = self._runtime.reservations.held(stream.ref)
        if held is not None:
            headers += standing_headers(held.standings)
            if held.owing:
                headers.append((b"x-streamguard-notice", FaultCode.QUOTA_RELEASE_FAILED.encode()))
        headers += self._ids.headers()  # at the end, where `OutermostLayer` looks for them
        status_code, background = None, None
        if injected is not None:
            status_code = injected.status_code
            headers = merge_headers(headers, injected.raw_headers)
        if returned is not None:
            status_code, background = returned.status_code, returned.background
            merge = add_headers if keeps_response else merge_headers
            headers = merge(headers, returned.raw_headers)
        else:
            status_code = status_code or self._configuration.signature.framework.status_code(self._arguments.request)
        return ResponseHead(status_code or 200, headers, background)
