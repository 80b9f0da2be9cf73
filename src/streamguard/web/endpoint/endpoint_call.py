"""One call of an endpoint, whatever its kind: its items, as one async iterator in the producer's task."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...errors import ConfigurationError, FaultError
from ...runtime import LiveStream, Runtime
from ...runtime.producing.item_source import ItemSource
from ...runtime.request import Ending
from ...values import Outcome
from ...wire import WireProtocol
from ...wire.recognition import LINES, SSE
from ..access.sync_streams import SyncSlot, SyncStreams
from ..application.guarded_endpoint import ItemWriter
from .arguments import call_endpoint
from .closing import aclose_if_possible, close_unread
from .configuration import EndpointConfiguration
from .default_protocol import RECOGNISED
from .endpoint_result import EndpointResult
from .recognised_items import FirstItems, items_of_iterator, items_of_response
from .response_items import items_of
from .returned_response import ReturnedStream, stream_of
from .run import Run
from .signature import EndpointKind
from .threaded_call import threaded_call
from .threaded_iterator import ThreadedIterator

__all__ = ["EndpointCall"]


class EndpointCall:
    """The call of the endpoint for one request.

    Args:
        configuration: the endpoint's.
        named: its own arguments by name, without its `Run`.
        protocol: what the stream speaks, or is undecided.
        request: the request.
        sync_streams: where the slot of an iterator comes from that a function returned.
        sync_slot: of a sync generator function.
    """

    def __init__(
        self,
        configuration: EndpointConfiguration,
        named: Mapping[str, object],
        protocol: WireProtocol,
        request: Request,
        *,
        sync_streams: SyncStreams,
        sync_slot: SyncSlot | None,
    ) -> None:
        self._configuration = configuration
        self._signature = configuration.signature
        self._named = named
        self._protocol = protocol
        self._request = request
        self._sync_streams = sync_streams
        self._sync_slot = sync_slot

    def launch(self, runtime: Runtime, stream: LiveStream) -> EndpointResult | None:
        """Let the runtime run the endpoint as the stream's producer. Returns what to wait for, where the endpoint is a
        function that returns something; None for a generator."""
        run = None if self._signature.run is None else Run(stream)
        match self._signature.kind:
            case EndpointKind.ASYNC_GENERATOR:
                runtime.launch(stream, partial(self._yielded, stream, partial(self._call, run)))
                return None
            case EndpointKind.SYNC_GENERATOR:
                slot, self._sync_slot = self._sync_slot, None
                if slot is None:
                    slot = self._sync_streams.take()
                items = partial(ThreadedIterator, partial(self._call, run), slot, stream)
                runtime.launch(stream, partial(self._yielded, stream, items))
                return None
            case _:
                result = EndpointResult()
                runtime.launch(
                    stream,
                    lambda: ItemSource(lambda source: _CalledItems(partial(self._called, stream, run, result, source))),
                )
                return result

    def _call(self, run: Run | None) -> Any:
        """What the endpoint returns for its arguments and this `Run`, if it takes one."""
        return call_endpoint(self._configuration.function, self._signature, self._named, run)

    def _yielded(self, stream: LiveStream, make: Callable[[], AsyncIterator[object]]) -> AsyncIterator[object]:
        """The items of a generator, which `make` makes, written where they have to be."""
        write = self._configuration.write_item
        if write is None:
            return make()
        written = _written(make, write)
        return items_of_iterator(written, self._signature.name, stream) if stream.speaking.undecided else written

    async def _called(
        self, stream: LiveStream, run: Run | None, result: EndpointResult, source: ItemSource
    ) -> FirstItems | None:
        """Call the endpoint. Returns the items by which its stream's protocol is decided, if there are such: `source`
        is handed the others."""
        try:
            items = await self._items_of(await self._returned_by(run), stream, result, source)
        except StopAsyncIteration as exc:  # which would end the items
            raise RuntimeError(f"{self._signature.name} raised StopAsyncIteration") from exc
        finally:
            result.resolve(None)
        if items is None:
            # A whole response: there is nothing to log, and nothing failed either.
            stream.cancel(Ending(Outcome.FAILED, None, status=result.status))
            await asyncio.sleep(0)  # where the cancellation arrives
            return None
        if isinstance(items, FirstItems):
            return items
        source.close_later(items)
        source.hand_over(items)
        return None

    async def _returned_by(self, run: Run | None) -> object:
        if self._signature.kind is EndpointKind.FUNCTION:
            result = await threaded_call(partial(self._call, run))
        else:
            result = self._call(run)
        return await result if inspect.isawaitable(result) else result

    async def _items_of(
        self, returned: object, stream: LiveStream, result: EndpointResult, source: ItemSource
    ) -> AsyncIterator[object] | None:
        """The items of what the endpoint returned, or those that decide what they are; None for a response that is
        passed on as it is."""
        name = self._signature.name
        if isinstance(returned, Response):
            body = await stream_of(returned, self._request, endpoint=name)
            if isinstance(body, Response):
                if not result.resolve(body):
                    await close_unread(body)
                return None
            try:
                self._check_readable(body)
            except ConfigurationError:
                await aclose_if_possible(body.chunks)
                raise
            result.resolve(body.head)
            source.close_later(body.chunks)
            if stream.speaking.undecided:
                return items_of_response(
                    body, stream, source, message_id_chosen=self._configuration.message_id is not None
                )
            return items_of(body, self._protocol)
        # Strings, mappings and pydantic models are iterable too, but no host returns one as items.
        if not isinstance(returned, (AsyncIterable, Iterator, list, tuple)):
            if isinstance(returned, Iterable):
                await close_unread(returned)
            raise ConfigurationError(
                f"{name} returned {type(returned).__name__}; a guarded endpoint yields items, or returns an iterator "
                "of them or a Response. To answer without a stream, return it as one: JSONResponse(…)"
            )
        items: AsyncIterator[object]
        if isinstance(returned, AsyncIterable):
            items = aiter(returned)
        else:
            try:
                slot = self._sync_streams.take()
            except FaultError:
                await close_unread(returned)
                raise
            items = ThreadedIterator(lambda: iter(returned), slot, stream)
        write = self._configuration.write_item
        if write is not None:
            source.close_later(items)  # a generator around it that is never begun would close nothing
            returned_items = items
            items = (write(item) async for item in returned_items)
        if not stream.speaking.undecided:
            return items
        source.close_later(items)
        return FirstItems(items, "", name, stream, source)

    def _check_readable(self, body: ReturnedStream) -> None:
        name = self._signature.name
        if body.encoding:
            raise ConfigurationError(
                f"{name} returned a {body.type_name} whose body is compressed (content-encoding: {body.encoding}), "
                "which cannot be read event by event: return it uncompressed, and leave compressing to a proxy"
            )
        media_type = body.media_type or SSE
        recognised = body.is_ui_message or media_type == SSE or media_type in LINES
        if self._protocol.name == RECOGNISED and recognised:
            return
        if self._protocol.name == RECOGNISED or self._configuration.options.protocol is None:
            raise ConfigurationError(
                f"{name} returned a {body.type_name} of {media_type}; only server-sent events and lines of JSON are "
                "recognised by themselves: set media_type='text/event-stream' (and annotate the return type as "
                "StreamingResponse), or name protocol= in @guard.stream"
            )


class _CalledItems(AsyncIterator[object]):
    """Calls an endpoint when its first item is asked for, and gives the items that this comes to.

    Hot path: no async generator, for the reason that `FirstItems` is none.
    """

    __slots__ = ("_call", "_items")

    def __init__(self, call: Callable[[], Awaitable[AsyncIterator[object] | None]]) -> None:
        self._call = call
        self._items: AsyncIterator[object] | None = None

    async def __anext__(self) -> object:
        if self._items is None:
            self._items = await self._call()
            if self._items is None:
                raise StopAsyncIteration
        return await self._items.__anext__()


async def _written(make: Callable[[], AsyncIterator[object]], write: ItemWriter) -> AsyncIterator[object]:
    """`make` makes the items when the first is asked for: what is never begun has nothing to close."""
    items = make()
    try:
        async for item in items:
            yield write(item)
    finally:
        await aclose_if_possible(items)
