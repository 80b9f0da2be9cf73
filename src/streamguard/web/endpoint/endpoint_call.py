"""From whatever an endpoint is or returns to one async iterator of items, run in the producer's task."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Final, cast

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from ...errors import ConfigurationError
from ...runtime import LiveStream, Runtime
from ...runtime.request import Ending
from ...values import Outcome
from ...wire import WireProtocol
from ...wire.server_sent import is_event_class
from .response_items import items_of
from .returned_response import SSE, Head, ReturnedStream, closed, stream_of
from .run import Run
from .signature import EndpointKind, EndpointSignature
from .threaded_iterator import SyncSlot, SyncStreams, ThreadedIterator

__all__ = ["Answer", "Items", "default_protocol"]

GENERATED: Final = "ui-message"
PASSED_ON: Final = "opaque"


def default_protocol(signature: EndpointSignature) -> str:
    """The protocol of an endpoint that names none.

    Items an endpoint yields are the AI SDK's, unless its annotation says that they are server-sent events; bytes of a
    response it returns are passed on. A stream's protocol is registered before the endpoint runs, so for one that
    returns something its annotation decides, and without one it counts as returning a response.
    """
    if is_event_class(item_type(signature)):
        return PASSED_ON
    if signature.kind in (EndpointKind.ASYNC_GENERATOR, EndpointKind.SYNC_GENERATOR):
        return GENERATED
    origin = typing.get_origin(signature.returns) or signature.returns
    if isinstance(origin, type) and (
        origin in (Iterable, list, tuple) or issubclass(origin, (AsyncIterable, Iterator))
    ):
        return GENERATED
    return PASSED_ON


def item_type(signature: EndpointSignature) -> object:
    """The type of its items, as the return annotation says: `str` of `AsyncIterator[str]`; None if it says none."""
    found = typing.get_args(signature.returns)
    return found[0] if found else None


class Answer:
    """What a coroutine or plain function returned, as soon as it has: a whole response to answer with, the head of one
    whose body goes through the log, or neither."""

    def __init__(self) -> None:
        self._known = asyncio.get_running_loop().create_future()
        self._returned: Response | Head | None = None

    def settle(self, returned: Response | Head) -> None:
        """The endpoint returned."""
        self._returned = returned
        self.give_up()

    def give_up(self) -> None:
        """The endpoint raised: how it failed is the stream's to tell."""
        if not self._known.done():
            self._known.set_result(None)

    async def wait(self, stream: LiveStream) -> Response | Head | None:
        """What it returned; None for an iterator, and when the stream ends without its having returned."""
        ended = asyncio.ensure_future(stream.ended())
        try:
            await asyncio.wait({self._known, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        return self._returned


class Items:
    """One request's items. `call` calls the endpoint with its arguments and the given `Run`."""

    def __init__(
        self,
        signature: EndpointSignature,
        call: Callable[[Run], object],
        protocol: WireProtocol,
        request: Request,
        *,
        named: bool,
        sync_streams: SyncStreams,
        sync_slot: SyncSlot | None,
    ) -> None:
        self._signature = signature
        self._call = call
        self._protocol = protocol
        self._request = request
        self._named = named
        self._sync_streams = sync_streams
        self._sync_slot = sync_slot

    def launch(self, runtime: Runtime, stream: LiveStream) -> Answer | None:
        """Have the runtime produce. Gives the answer to wait for where the endpoint returns one."""
        run = Run(stream)
        match self._signature.kind:
            case EndpointKind.ASYNC_GENERATOR:
                runtime.launch(stream, lambda: cast("AsyncIterator[object]", self._call(run)))
                return None
            case EndpointKind.SYNC_GENERATOR:
                slot, self._sync_slot = self._sync_slot, None
                if slot is None:
                    slot = self._sync_streams.take()
                runtime.launch(stream, lambda: _threaded(lambda: cast("Iterator[object]", self._call(run)), slot, run))
                return None
            case _:
                answer = Answer()
                runtime.launch(stream, lambda: self._returned(stream, run, answer))
                return answer

    async def _returned(self, stream: LiveStream, run: Run, answer: Answer) -> AsyncIterator[object]:
        try:
            result = await self._result(run)
            items = await self._items_of(result, run, answer)
        finally:
            answer.give_up()
        if items is None:
            # A whole answer of its own: there is nothing to log, and nothing failed either.
            stream.cancel(Ending(Outcome.FAILED, None))
            await asyncio.sleep(0)  # where the cancellation arrives
            return
        try:
            async for item in items:
                yield item
        finally:
            await closed(items)

    async def _result(self, run: Run) -> object:
        if self._signature.kind is EndpointKind.FUNCTION:
            result = await anyio.to_thread.run_sync(self._call, run, abandon_on_cancel=True)
        else:
            result = self._call(run)
        return await result if inspect.isawaitable(result) else result

    async def _items_of(self, result: object, run: Run, answer: Answer) -> AsyncIterator[object] | None:
        """The items of what was returned; None for a response to be answered as it is."""
        name = self._signature.name
        if isinstance(result, Response):
            returned = await stream_of(result, self._request, endpoint=name)
            if isinstance(returned, Response):
                answer.settle(returned)
                return None
            try:
                self._check_passed_on(returned)
            except ConfigurationError:
                await closed(returned.chunks)
                raise
            answer.settle(returned.head)
            return self._read(returned)
        # Not any iterable: strings, mappings and pydantic models are that too, and never meant so.
        if not isinstance(result, (AsyncIterable, Iterator, list, tuple)):
            raise ConfigurationError(
                f"{name} returned {type(result).__name__}; a guarded endpoint yields items, or returns an iterator "
                "of them or a Response"
            )
        if not self._named and self._protocol.name == PASSED_ON and not is_event_class(item_type(self._signature)):
            raise ConfigurationError(
                f"{name} returned an iterator without saying so: annotate its return type (AsyncIterator[str]), "
                "or name protocol= in @guard.stream"
            )
        if isinstance(result, AsyncIterable):
            return aiter(result)
        slot = self._sync_streams.take()
        return _threaded(lambda: iter(result), slot, run)

    def _check_passed_on(self, stream: ReturnedStream) -> None:
        name = self._signature.name
        if stream.encoding:
            raise ConfigurationError(
                f"{name} returned a {stream.type_name} whose body is compressed (content-encoding: {stream.encoding}), "
                "which cannot be read event by event: return it uncompressed, and leave compressing to a proxy"
            )
        if self._named:
            return
        media_type = stream.media_type or SSE
        if self._protocol.name != PASSED_ON or media_type != SSE:
            raise ConfigurationError(
                f"{name} returned a {stream.type_name} of {media_type}; only server-sent events are passed on by "
                "themselves: set media_type='text/event-stream' (and annotate the return type as StreamingResponse), "
                "or name protocol= in @guard.stream"
            )
        if stream.is_ui_message:
            raise ConfigurationError(
                f"{name} returned a UI message stream of AI SDK: name protocol='ui-message' in @guard.stream, so that "
                "its message is saved as one and failures are parts of it; or protocol='opaque', to pass it on unread"
            )

    async def _read(self, stream: ReturnedStream) -> AsyncIterator[object]:
        items = items_of(stream, self._protocol.name)
        try:
            async for item in items:
                yield item
        finally:
            await closed(items)
            await closed(stream.chunks)


def _threaded(make: Callable[[], Iterator[object]], slot: SyncSlot, run: Run) -> ThreadedIterator:
    # The iterator is told to the run before its thread begins, so that the first line may already use it.
    iterator = ThreadedIterator(make, slot)
    run.driven_by(iterator)
    iterator.start()
    return iterator
