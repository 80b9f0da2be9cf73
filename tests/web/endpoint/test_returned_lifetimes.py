"""How long a returned response's body is produced, whoever else would end it, and how it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamguard.testing import GuardedApp
from streamguard.web.endpoint.called_response import CalledResponse

from ..serving import USER, calling
from .test_returned_responses import SSE, Counting, Own, Pinging, app_of, guard_of, guarded

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("response_class", [EventSourceResponse, Counting, Pinging])
async def test_a_client_that_leaves_does_not_end_it_and_a_stop_does(response_class: type[Response]) -> None:
    guard, gate, done = guard_of(), asyncio.Event(), list[str]()

    async def slow() -> AsyncIterator[str]:
        try:
            yield "data: one\n\n"
            await gate.wait()
            yield "data: two\n\n"
            done.append("whole")
            await asyncio.Event().wait()
        finally:
            done.append("closed")

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> Response:
        return response_class(slow(), media_type=SSE)

    async with GuardedApp(app_of(guard, chat), guard, headers=USER) as app:
        answer = await app.request("POST", "/chat?id=s")
        await answer.read(1)
        answer.drop()
        gate.set()
        resumed = await app.resume("s")
        await resumed.read(2)
        assert done == ["whole"]
        await app.stop("s")
        ended = await app.ended(answer)
    assert (done, ended.fields["outcome"]) == (["whole", "closed"], "stopped")


async def test_a_servers_shutdown_leaves_it_to_the_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guard_of()

    async def late() -> AsyncIterator[str]:
        yield "one"
        monkeypatch.setattr(AppStatus, "should_exit", True)  # what sse-starlette hears of a signal
        await wait_all_tasks_blocked()
        yield "two"

    chat = guarded(guard, lambda: EventSourceResponse(late(), sep="\n"))
    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat?id=s")
    assert answer.content == b"data: one\n\ndata: two\n\n"


class OnlyPings(Own):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while True:
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})


class Silent(Own):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("make", [OnlyPings, Silent, lambda: EventSourceResponse(silence(), ping=0.001)])
async def test_its_pings_are_no_sign_of_life(make: Callable[[], Response]) -> None:
    guard = guard_of()

    @guard.stream("request.query_params.id", first_item_seconds=0.1)
    async def chat(request: Request) -> Response:
        return make()

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat?id=s")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "provider_timeout")


async def silence() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield ""


class Breaking(Own):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})


class Raising(Breaking):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        raise ValueError("secret")


def pushed_by_a_failure() -> Response:
    into, out = anyio.create_memory_object_stream[dict[str, str]](1)
    into.send_nowait({"data": "one"})

    async def push() -> None:
        with into:
            await checkpoint()
            raise ValueError("secret")

    return EventSourceResponse(out, data_sender_callable=push)


class Timed(StreamingResponse):
    """A call around Starlette's own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize("response_class", [StreamingResponse, Timed, Counting, EventSourceResponse])
async def test_a_broken_upstream_is_the_providers_failure(response_class: type[Response]) -> None:
    async def upstream() -> AsyncIterator[str]:
        yield "data: one\n\n"
        raise ConnectionResetError

    guard = guard_of()
    app = app_of(guard, guarded(guard, lambda: response_class(upstream(), media_type=SSE)))

    async def modern(scope: Scope, receive: Receive, send: Send) -> None:  # where an OSError is a client that left
        await app({**scope, "asgi": {"version": "3.0", "spec_version": "2.4"}}, receive, send)

    async with calling(modern, guard) as client:
        answer = await client.post("/chat?id=s")
    assert b'"code":"provider_aborted"' in answer.content


@pytest.mark.parametrize("make", [Breaking, Raising, pushed_by_a_failure])
async def test_one_that_breaks_off_has_failed(make: Callable[[], Response]) -> None:
    guard = guard_of()
    async with calling(app_of(guard, guarded(guard, make)), guard) as client:
        answer = await client.post("/chat?id=s")
        status = (await client.get("/api/chat/s")).json()
    assert status["last"]["outcome"] == "failed"
    assert answer.status_code == 500 or b'"code":"internal"' in answer.content
    assert b"secret" not in answer.content


class Helped(Response):
    """Another task sends the rest of it."""

    helper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.helper = asyncio.create_task(self._help(send))
        await asyncio.Event().wait()

    async def _help(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})


async def test_a_task_beside_it_that_sends_hears_of_its_end() -> None:
    response = Helped()
    chunks = CalledResponse(response, Request({"type": "http"}))
    await chunks.start()
    await wait_all_tasks_blocked()
    helper = response.helper
    assert helper is not None
    assert not helper.done()
    await chunks.aclose()
    async with asyncio.timeout(20):
        with pytest.raises(anyio.ClosedResourceError):
            await helper


class ClosedOnce(AsyncIterator[bytes]):
    """Cannot be closed again, as some connections cannot."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks
        self.closed = 0

    async def __anext__(self) -> bytes:
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop(0)

    async def aclose(self) -> None:
        self.closed += 1
        if self.closed > 1:
            raise RuntimeError("closed already")


@pytest.mark.parametrize("protocol", [None, "opaque"])
@pytest.mark.parametrize(("media_type", "chunk"), [(SSE, b"data: one\n\n"), ("application/x-ndjson", b'{"a":1}\n')])
async def test_an_iterator_is_closed_once(media_type: str, chunk: bytes, protocol: str | None) -> None:
    guard, chunks = guard_of(), ClosedOnce([chunk])

    @guard.stream(protocol=protocol)
    async def chat(request: Request) -> Response:
        return StreamingResponse(chunks, media_type=media_type)

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat")
    assert (answer.content, chunks.closed) == (chunk, 1)
