"""The call of the application inside for one request: its response becomes a stream, or is passed on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Collection
from functools import partial
from typing import Final

from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ...deadlines import Deadline
from ...errors import FaultError, NotStartedError
from ...faults import Fault, FaultCode
from ...runtime import LiveStream, Runtime
from ...runtime.producing.item_source import ItemSource
from ...runtime.request import Ending
from ...values import Outcome
from ...wire import protocol_named, recognise
from ...wire.base import WireProtocol
from ...wire.recognition import MOST_BYTES
from ..endpoint.endpoint_result import EndpointResult
from ..endpoint.returned_response import UI_MESSAGE_HEADER, ResponseHead, media_type_of
from ..headers import plain_lines
from ..middleware.exchange import exchange_of
from ..misuse import Misuse
from .inner_call import InnerCall
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
        loop = exchange_of(matched.scope).loop
        self._call = matched.call = InnerCall(matched.app, _inner_scope(matched.scope), matched.body.receive, loop)

    def launch(self, runtime: Runtime, stream: LiveStream) -> EndpointResult:
        """Let the runtime call the application as the stream's producer. Returns what to wait for: the head of the
        stream, or the response that is passed on."""
        result = EndpointResult()
        runtime.launch(stream, lambda: ItemSource(lambda source: self._first_pieces(runtime, stream, result, source)))
        return result

    async def _first_pieces(
        self, runtime: Runtime, stream: LiveStream, result: EndpointResult, source: ItemSource
    ) -> AsyncGenerator[object, None]:
        """Call the application, and give the beginning of its stream, by which its protocol is decided; `source` is
        handed the others."""
        call = self._call
        source.close_later(call)

        async def end_unfinished() -> bool:
            """Some applications end their streams when the server begins to stop: sse-starlette's, for example."""
            if not runtime.draining:
                return False
            stream.cancel(Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN)))
            await asyncio.sleep(0)  # where the cancellation arrives
            return True

        try:
            start = await call.head()
            raw_headers = [] if start is None else _headers_of(start)
            headers = Headers(raw=raw_headers)
            media_type = media_type_of(headers)
            if start is None or start["status"] not in _STREAMED or media_type not in self._media_types:
                self._pass_on(start, stream, result)
                await asyncio.sleep(0)  # where the cancellation arrives
                return
            self._check_encoding(headers)
            call.capture(on_unfinished=end_unfinished, on_rest=partial(_adopt, runtime))
            result.resolve(ResponseHead(start["status"], raw_headers, None))
        finally:
            result.resolve(None)
        beginning = await self._beginning(media_type, headers, stream)
        if beginning:
            yield beginning
            source.hand_over(call)

    def _pass_on(self, start: Message | None, stream: LiveStream, result: EndpointResult) -> None:
        self._call.pass_on()
        exchange = exchange_of(self._matched.scope)
        exchange.ids = None  # it is the application's own answer, unchanged
        if exchange.reader is not None:
            exchange.reader.release()  # before the stream ends: that is no disconnect of the client
        status = 500 if start is None else start["status"]
        result.resolve(PassedResponse(self._call, status))
        stream.cancel(Ending(Outcome.FAILED, None, status=status))

    def _check_encoding(self, headers: Headers) -> None:
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise Misuse.RULE_COMPRESSED.error(rule=self._name, given=encoding)

    async def _beginning(self, media_type: str, headers: Headers, stream: LiveStream) -> bytes:
        """The first pieces of the stream, by which its protocol is decided where its rule names none.

        Raises:
            FaultError: `provider_timeout`.
        """
        undecided = stream.speaking.undecided
        ui_message = UI_MESSAGE_HEADER in headers

        def decided(beginning: bytes) -> WireProtocol | None:
            return recognise(media_type, ui_message, beginning) if undecided else stream.protocol

        beginning = self._call.at_once() or b""  # what is here needs no timer: measured, 1 % of a short stream
        protocol = decided(beginning) if beginning else None
        if protocol is None:
            limit = Deadline.after(self._first_item_seconds).limit()
            try:
                async with limit:
                    beginning = beginning or await anext(self._call, b"")
                    while (
                        (protocol := decided(beginning)) is None
                        and len(beginning) < MOST_BYTES
                        and (more := await anext(self._call, b""))
                    ):
                        beginning += more
            except TimeoutError:
                if not limit.expired:
                    raise
                raise FaultError(Fault.of(FaultCode.PROVIDER_TIMEOUT, reason="first_item_seconds")) from None
        if undecided:
            protocol = protocol or protocol_named("opaque")
            stream.speak(protocol, protocol.message_id_in(beginning))
        return beginning


def _headers_of(start: Message) -> list[tuple[bytes, bytes]]:
    """The headers of a response. Their names should be in lower case, but servers take any, and so do clients."""
    return [(name.lower(), value) for name, value in plain_lines(start.get("headers", ()))]


class PassedResponse(Response):
    """The application's own response, on its way to the client as if there were no guard."""

    def __init__(self, call: InnerCall, status_code: int) -> None:
        self.status_code = status_code
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.background: BackgroundTask | None = None
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call.answer(send)


def _inner_scope(scope: Scope) -> Scope:
    """The scope of the application inside. A compressed stream could not be logged event by event, so the application
    does not see which encodings the client takes."""
    headers = [line for line in scope["headers"] if line[0].lower() != b"accept-encoding"]
    _have_litestar_read_them(scope)
    asgi = {**scope.get("asgi", {})}
    if asgi.get("spec_version", "2.0") > _SPEC_VERSION:
        # From 2.4 on Starlette takes every OSError, also one of the body, for a client that left. And it watches for no
        # such client: a response that is passed on would notice with its next piece only, and its background task would
        # not run. Measured, 2.4 would save an eighth of a stream of one event: a task group, and two turns of the loop.
        asgi["spec_version"] = _SPEC_VERSION
    return {**scope, "headers": headers, "asgi": asgi}


def _have_litestar_read_them(scope: Scope) -> None:
    """Litestar keeps the headers that it has read once beside the scope, and would go on with those."""
    types, state = sys.modules.get("litestar.types"), scope.get("state")
    kept = state.get("_ls_connection_state") if isinstance(state, dict) else None
    if types is not None and kept is not None:
        kept.headers = types.Empty


def _adopt(runtime: Runtime, task: asyncio.Task[None]) -> None:
    """What the application does after its response is no part of the stream."""
    try:
        runtime.adopt(task)
    except NotStartedError:
        task.cancel()
