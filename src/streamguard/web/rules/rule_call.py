"""The call of the application inside for one request: its response becomes a stream, or is passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Final

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ...errors import NotStartedError
from ...faults import Fault, FaultCode
from ...runtime import LiveStream, Runtime
from ...runtime.request import Ending
from ...values import Outcome
from ...wire import protocol_named, recognise
from ...wire.recognition import MOST_BYTES
from ..endpoint.endpoint_result import EndpointResult
from ..endpoint.returned_response import ResponseHead, ReturnedStream
from ..headers import RawHeaders, plain_lines, without_encodings
from ..misuse import Misuse
from .inner_call import InnerCall
from .litestar_headers import have_litestar_read_them
from .matched_request import MatchedRequest

__all__ = ["PassedResponse", "RuleCall"]

_SPEC_VERSION: Final = "2.3"
_STREAMED: Final = frozenset(range(200, 300)) - {204, 205}
"""The status of a response that is a stream: others have no body, or one that no client reads as a stream."""


class RuleCall:
    """Calls the application inside, as the producer of a stream.

    A response of one of the rule's media types that succeeded and has a body is the stream. Every other response, and
    every call that ends without one, is passed on: the stream then ends without an event.

    Args:
        name: the rule's, for messages.
        media_types: of responses that are streams.
        matched: the request.
        first_item_seconds: how long a stream's first piece may take after its headers.
    """

    def __init__(
        self, name: str, media_types: Collection[str], matched: MatchedRequest, *, first_item_seconds: float
    ) -> None:
        self._name = name
        self._media_types = media_types
        self._matched = matched
        self._first_item_seconds = first_item_seconds
        matched.exchange.withheld = None  # a rule further inside does not give them back
        scope = _inner_scope(matched.scope)
        self._call = matched.call = InnerCall(matched.app, scope, matched.body.receive, matched.exchange.loop)

    def launch(self, runtime: Runtime, stream: LiveStream) -> EndpointResult:
        """Let the runtime call the application as the stream's producer. Returns what to wait for: the head of the
        stream, or the response that is passed on."""
        result = EndpointResult()
        runtime.launch(stream, lambda: self._call.beginning_with(lambda: self._first_piece(runtime, stream, result)))
        return result

    async def _first_piece(self, runtime: Runtime, stream: LiveStream, result: EndpointResult) -> bytes:
        """Call the application. Returns the beginning of its stream, by which its protocol is decided; nothing for a
        response that is passed on."""
        call = self._call

        async def end_unfinished() -> bool:
            """Some applications end their streams when the server begins to stop: sse-starlette's, for example."""
            if not runtime.draining:
                return False
            stream.cancel(Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN)))
            await asyncio.sleep(0)  # where the cancellation arrives
            return True

        try:
            start = await call.head()
            captured = None if start is None else self._captured(start)
            if captured is None:
                self._pass_on(start, stream, result)
                await asyncio.sleep(0)  # where the cancellation arrives
                return b""
            if captured.encoding:
                raise Misuse.RULE_COMPRESSED.error(rule=self._name, given=captured.encoding)
            await call.end_if_whole()
            call.capture(on_unfinished=end_unfinished, on_rest=partial(_adopt, runtime))
            result.resolve(captured.head)
        finally:
            result.resolve(None)
        stream.activity.answered(self._first_item_seconds)
        return await self._beginning(captured, stream)

    def _captured(self, start: Message) -> ReturnedStream | None:
        """The response that begins so, as a stream; None for one that is passed on."""
        if start["status"] not in _STREAMED:
            return None
        found = ReturnedStream.of(self._name, ResponseHead(start["status"], _headers_of(start), None), self._call)
        return found if found.media_type in self._media_types else None

    def _pass_on(self, start: Message | None, stream: LiveStream, result: EndpointResult) -> None:
        self._call.pass_on()
        exchange = self._matched.exchange
        exchange.ids = None  # it is the application's own answer, unchanged
        if exchange.reader is not None:
            exchange.reader.release()  # before the stream ends: that is no disconnect of the client
        status = 500 if start is None else start["status"]
        result.resolve(PassedResponse(self._call, status))
        stream.cancel(Ending(Outcome.FAILED, None, status=status))

    async def _beginning(self, captured: ReturnedStream, stream: LiveStream) -> bytes:
        """The first pieces of the stream, by which its protocol is decided where its rule names none."""
        call = self._call
        beginning = call.at_once() or b""
        if not beginning:
            beginning = await anext(call, b"")
        if not stream.speaking.undecided:
            return beginning
        media_type, ui_message = captured.media_type, captured.is_ui_message
        while (
            (protocol := recognise(media_type, ui_message, beginning)) is None
            and len(beginning) < MOST_BYTES
            and (more := await anext(call, b""))
        ):
            beginning += more
        protocol = protocol or protocol_named("opaque")
        stream.speak(protocol, protocol.message_id_in(beginning))
        return beginning


def _headers_of(start: Message) -> RawHeaders:
    """The headers of a response. Their names should be in lower case, but servers take any, and so do clients."""
    given = start["headers"] = list(start.get("headers", ()))  # they may be there for once, and are passed on perhaps
    lines = plain_lines(given)
    names = b"".join(dict(lines))
    return lines if names == names.lower() else [(name.lower(), value) for name, value in lines]


class PassedResponse(Response):
    """The application's own response, on its way to the client as if there were no guard."""

    def __init__(self, call: InnerCall, status_code: int) -> None:
        self.status_code = status_code
        self.raw_headers: RawHeaders = []
        self.body = b""
        self.background: BackgroundTask | None = None
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call.answer(send)


def _inner_scope(scope: Scope) -> Scope:
    """The scope of the application inside. A compressed stream could not be logged event by event, so the application
    does not see which encodings the client takes."""
    have_litestar_read_them(scope)
    asgi = scope.get("asgi", {})
    if asgi.get("spec_version", "2.0") > _SPEC_VERSION:
        # From 2.4 on Starlette takes every OSError, also one of the body, for a client that left. And it watches for no
        # such client: a response that is passed on would notice with its next piece only, and its background task would
        # not run. Measured, 2.4 would save an eighth of a stream of one event: a task group, and two turns of the loop.
        asgi = {**asgi, "spec_version": _SPEC_VERSION}
    return {**scope, "headers": without_encodings(scope["headers"]), "asgi": asgi}


def _adopt(runtime: Runtime, task: asyncio.Task[None]) -> None:
    """What the application does after its response is no part of the stream."""
    try:
        runtime.adopt(task)
    except NotStartedError:
        task.cancel()
