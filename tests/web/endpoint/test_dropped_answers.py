"""What an endpoint returned is closed in every way in which its answer is refused, dropped or broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import sse_starlette
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from streamguard import ConfigurationError
from streamguard.runtime.request import Ending
from streamguard.values import Outcome

from ...harness.waiting import wait_until_async
from ..serving import USER, calling, make_guard, request_scope
from .test_returned_responses import SSE, app_of

pytestmark = pytest.mark.anyio


class Upstream(AsyncIterator[bytes]):
    """A provider's stream, of an async client."""

    def __init__(self) -> None:
        self.closed = 0
        self.stream: Any = None
        """Stopped once it has said something."""
        self.over = False

    async def __anext__(self) -> bytes:
        if self.over:
            raise StopAsyncIteration
        if self.stream is not None:
            self.stream.cancel(Ending(Outcome.STOPPED, None))
        return b"data: one\n\n"

    async def aclose(self) -> None:
        self.closed += 1


class SyncUpstream(Iterator[bytes]):
    """The same, of a client that is not."""

    def __init__(self) -> None:
        self.closed = 0
        self.stream: Any = None
        self.over = False
        self.loop = asyncio.get_running_loop()

    def __next__(self) -> bytes:
        if self.over:
            raise StopIteration
        if self.stream is not None:
            self.loop.call_soon_threadsafe(self.stream.cancel, Ending(Outcome.STOPPED, None))
        return b"data: one\n\n"

    def close(self) -> None:
        self.closed += 1


class Iterated(SyncUpstream):
    """Gives an iterator of its own, and is closed itself, as `requests.Response` is."""

    def __iter__(self) -> Iterator[bytes]:  # noqa: PYI034 -- a new one each time
        while not self.over:
            yield next(self)


class OwnSending(StreamingResponse):
    """Sends in a way of its own, so the guard has to call it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


KINDS: dict[str, Callable[..., tuple[Any, Response]]] = {}


def kind(name: str, make: Callable[[], Any], wrap: Callable[..., Response]) -> None:
    def made(**options: Any) -> tuple[Any, Response]:
        upstream = make()
        return upstream, wrap(upstream, **options)

    KINDS[name] = made


kind("StreamingResponse", Upstream, lambda up, **more: StreamingResponse(up, **{"media_type": SSE, **more}))
kind("of a sync iterator", SyncUpstream, lambda up, **more: StreamingResponse(up, **{"media_type": SSE, **more}))
kind("of an iterable", Iterated, lambda up, **more: StreamingResponse(up, **{"media_type": SSE, **more}))
kind("EventSourceResponse", Upstream, sse_starlette.EventSourceResponse)
kind("EventSourceResponse, sync", SyncUpstream, sse_starlette.EventSourceResponse)
kind("own sending", Upstream, lambda up, **more: OwnSending(up, **{"media_type": SSE, **more}))
kind("own sending, sync", SyncUpstream, lambda up, **more: OwnSending(up, **{"media_type": SSE, **more}))


def with_text_headers(response: Response) -> Response:
    response.raw_headers.append(("x-own", "text"))  # type: ignore[arg-type] # that is wrong
    return response


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("why", ["text in its headers", "compressed", "another media type"])
async def test_one_that_is_refused(name: str, why: str) -> None:
    guard = make_guard()
    upstream, response = KINDS[name](**({"headers": {"content-encoding": "br"}} if why == "compressed" else {}))
    if why == "text in its headers":
        with_text_headers(response)
    elif why == "another media type":
        response.headers["content-type"] = "text/html"

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Response:
        return response

    async with calling(app_of(guard, chat), guard) as client:
        with pytest.raises(ConfigurationError):
            await client.post("/chat")
    assert upstream.closed == 1


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("when", ["before it returns", "in the next turn", "after its first piece"])
async def test_one_that_is_stopped(name: str, when: str) -> None:
    guard = make_guard()
    upstream, response = KINDS[name]()

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Response:
        (stream,) = guard._running().streams.values()
        if when == "before it returns":
            stream.cancel(Ending(Outcome.STOPPED, None))
        elif when == "in the next turn":
            asyncio.get_running_loop().call_soon(stream.cancel, Ending(Outcome.STOPPED, None))
        else:
            upstream.stream = stream
        return response

    async with calling(app_of(guard, chat), guard) as client:
        await client.post("/chat")
        await guard.idle()
    assert upstream.closed == 1


@pytest.mark.parametrize("name", KINDS)
async def test_one_that_has_ended(name: str) -> None:
    guard = make_guard()
    upstream, response = KINDS[name]()
    upstream.over = True

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Response:
        return response

    async with calling(app_of(guard, chat), guard) as client:
        assert (await client.post("/chat")).status_code == 200
        await guard.idle()
    assert upstream.closed == 1


@pytest.mark.parametrize("is_found", [True, False])
async def test_an_iterator_that_cannot_be_found_costs_its_answer_nothing(is_found: bool) -> None:
    """As if Starlette put another generator around it some day: the answer is the same, and the iterator is left to
    the end of its own."""

    class Two(SyncUpstream):
        def __next__(self) -> bytes:
            if self.over:
                raise StopIteration
            self.over = True
            return b"data: one\n\n"

    async def another_kind(iterated: Iterator[bytes]) -> AsyncIterator[bytes]:
        for piece in iterated:
            yield piece

    guard, upstream = make_guard(), Two()

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Response:
        return StreamingResponse(upstream if is_found else another_kind(upstream), media_type=SSE)

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat")
        resumed = await client.get("/api/chat/s/stream")
    assert (answer.content, resumed.content) == (b"data: one\n\n", b"data: one\n\n")
    assert upstream.closed == is_found


async def test_what_can_be_iterated_and_is_refused() -> None:
    class Answer:
        """As `httpx.Response`, which is iterated by its methods: this one by itself."""

        def __iter__(self) -> Iterator[bytes]:
            return iter(upstream)

        def close(self) -> None:
            upstream.close()

    guard, upstream = make_guard(), SyncUpstream()

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Any:
        return Answer()

    async with calling(app_of(guard, chat), guard) as client:
        with pytest.raises(ConfigurationError, match="returned Answer"):
            await client.post("/chat")
    assert upstream.closed == 1


async def test_a_model_with_a_field_of_that_name_is_refused_as_any_other() -> None:
    """Such as the price at which a day closed."""

    class Day(BaseModel):
        open: float = 1.0
        close: float = 2.0

    guard = make_guard()

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Any:
        return Day()

    async with calling(app_of(guard, chat), guard) as client:
        with pytest.raises(ConfigurationError, match="returned Day"):
            await client.post("/chat")


@pytest.mark.parametrize("when", ["before it returns", "in the turn it returns"])
async def test_a_whole_response_whose_request_is_cancelled(when: str) -> None:
    """A provider's error, which is passed on as it is: nobody sends it any more."""
    guard = make_guard()
    entered, go_on = asyncio.Event(), asyncio.Event()
    upstream = SyncUpstream()

    @guard.stream(lambda request: "s")
    async def chat(request: Request) -> Response:
        entered.set()
        await go_on.wait()
        if when == "in the turn it returns":
            asyncio.get_running_loop().call_soon(asking.cancel)
        return StreamingResponse(upstream, status_code=502)

    async with guard:
        asking = asyncio.create_task(endpoint_called(chat))
        await entered.wait()
        if when == "before it returns":
            asking.cancel()
            await asyncio.wait({asking})
        go_on.set()
        await wait_until_async(lambda: upstream.closed, description="it is closed")
        await asyncio.wait({asking})
    assert asking.cancelled()
    assert upstream.closed == 1


async def endpoint_called(endpoint: Callable[..., Any]) -> None:
    """One request, without the layer that lets it outlive its server's call."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    await endpoint(Request({**request_scope("/chat"), "headers": [(b"x-user", USER["X-User"].encode())]}, receive))
