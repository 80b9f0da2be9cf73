"""From whatever an endpoint is or returns to one async iterator of items, run in the producer's task."""

from __future__ import annotations

import asyncio
import codecs
import inspect
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Final, cast

import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from ..errors import ConfigurationError
from ..model import Outcome
from ..runtime import LiveStream, Runtime
from ..runtime.request import Ending
from ..wire import WireProtocol
from .run import Run
from .signature import EndpointKind, EndpointSignature
from .sync import SyncSlot, SyncStreams, ThreadedIterator

__all__ = ["Answer", "Items", "default_protocol"]

GENERATED: Final = "ui-message"
PASSED_ON: Final = "opaque"


def default_protocol(signature: EndpointSignature) -> str:
    """The protocol of an endpoint that names none.

    Items an endpoint yields are the AI SDK's; bytes of a response it returns are passed on. A stream's protocol is
    registered before the endpoint runs, so for one that returns something its annotation decides, and without one
    it counts as returning a response.
    """
    if signature.kind in (EndpointKind.ASYNC_GENERATOR, EndpointKind.SYNC_GENERATOR):
        return GENERATED
    origin = typing.get_origin(signature.returns) or signature.returns
    if isinstance(origin, type) and (
        origin in (Iterable, list, tuple) or issubclass(origin, (AsyncIterable, Iterator))
    ):
        return GENERATED
    return PASSED_ON


class Answer:
    """What a coroutine or plain function returned, as soon as it has: a response to answer with, or nothing."""

    def __init__(self) -> None:
        self._known = asyncio.get_running_loop().create_future()
        self.streams: bool = False
        """The response is a stream's: its status and headers count, its body goes through the log."""
        self._response: Response | None = None

    def settle(self, response: Response | None, *, streams: bool) -> None:
        """The endpoint returned."""
        self._response, self.streams = response, streams
        self.give_up()

    def give_up(self) -> None:
        """The endpoint raised: how it failed is the stream's to tell."""
        if not self._known.done():
            self._known.set_result(None)

    async def wait(self, stream: LiveStream) -> Response | None:
        """The response it returned; None for an iterator, and when the stream ends without its having returned."""
        ended = asyncio.ensure_future(stream.ended())
        try:
            await asyncio.wait({self._known, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        return self._response


class Items:
    """One request's items. `call` calls the endpoint with its arguments and the given `Run`."""

    def __init__(
        self,
        signature: EndpointSignature,
        call: Callable[[Run], object],
        protocol: WireProtocol,
        *,
        named: bool,
        sync_streams: SyncStreams,
        sync_slot: SyncSlot | None,
    ) -> None:
        self._signature = signature
        self._call = call
        self._protocol = protocol
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
            items = self._items_of(result, run, answer)
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
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _result(self, run: Run) -> object:
        if self._signature.kind is EndpointKind.FUNCTION:
            result = await anyio.to_thread.run_sync(self._call, run, abandon_on_cancel=True)
        else:
            result = self._call(run)
        return await result if inspect.isawaitable(result) else result

    def _items_of(self, result: object, run: Run, answer: Answer) -> AsyncIterator[object] | None:
        """The items of what was returned; None for a response to be answered as it is."""
        name = self._signature.name
        if isinstance(result, Response):
            if not isinstance(result, StreamingResponse) or result.status_code >= 400:
                answer.settle(result, streams=False)
                return None
            self._check_passed_on(result)
            answer.settle(result, streams=True)
            return self._body(result)
        # Not any iterable: strings, mappings and pydantic models are that too, and never meant so.
        if not isinstance(result, (AsyncIterable, Iterator, list, tuple)):
            raise ConfigurationError(
                f"{name} returned {type(result).__name__}; a guarded endpoint yields items, or returns an iterator "
                "of them or a Response"
            )
        if not self._named and self._protocol.name == PASSED_ON:
            raise ConfigurationError(
                f"{name} returned an iterator without saying so: annotate its return type (AsyncIterator[str]), "
                "or name protocol= in @guard.stream"
            )
        if isinstance(result, AsyncIterable):
            return aiter(result)
        slot = self._sync_streams.take()
        return _threaded(lambda: iter(result), slot, run)

    def _check_passed_on(self, response: StreamingResponse) -> None:
        if self._named:
            return
        media_type = response.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
        if self._protocol.name != PASSED_ON or media_type != "text/event-stream":
            raise ConfigurationError(
                f"{self._signature.name} returned a StreamingResponse of {media_type}; only server-sent events are "
                "passed on by themselves: set media_type='text/event-stream' (and annotate the return type as "
                "StreamingResponse), or name protocol= in @guard.stream"
            )

    async def _body(self, response: StreamingResponse) -> AsyncIterator[object]:
        """The response's chunks; as text unless they are passed on byte for byte."""
        body = response.body_iterator
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        as_text = self._protocol.name != PASSED_ON
        try:
            async for chunk in body:
                if isinstance(chunk, str):
                    yield chunk
                elif as_text:
                    yield decoder.decode(bytes(chunk))
                else:
                    yield bytes(chunk)
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()


def _threaded(make: Callable[[], Iterator[object]], slot: SyncSlot, run: Run) -> ThreadedIterator:
    # The iterator is told to the run before its thread begins, so that the first line may already use it.
    iterator = ThreadedIterator(make, slot)
    run.driven_by(iterator)
    iterator.start()
    return iterator
