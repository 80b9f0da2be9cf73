"""Endpoints that return a response: whatever streams is guarded, or refused with the remedy; what does not passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from streamguard import Endpoint, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota

from ...harness.versions import only_from, skip_before
from ..serving import calling, user_of

pytestmark = pytest.mark.anyio

LIMIT = Quota(limit=100, per="day", unit="requests")
SSE = "text/event-stream"


def guard_of() -> StreamGuard:
    return StreamGuard(authenticate=user_of, messages=MemoryMessageStore())


def app_of(guard: StreamGuard, endpoint: Callable[..., object], *more: BaseRoute) -> Starlette:
    app = Starlette(routes=[Route("/chat", endpoint, methods=["POST"]), *more], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return app


def guarded(guard: StreamGuard, make: Callable[[], Response], protocol: str | None = None) -> Endpoint:
    @guard.stream("request.query_params.id", protocol=protocol, quota=LIMIT)
    async def chat(request: Request) -> Response:
        return make()

    return chat


async def said_of(client: httpx.AsyncClient, session: str = "s") -> tuple[str, int, list[str]]:
    """The last stream's outcome, how much of the quota was used, and the roles of the saved messages."""
    status = (await client.get(f"/api/chat/{session}")).json()
    messages = (await client.get(f"/api/chat/{session}/messages")).json()["messages"]
    (limit,) = status["quota"]["limits"]
    return status["last"]["outcome"], limit["used"], [message["role"] for message in messages]


# -- what streams is guarded ------------------------------------------------------------------------------------------


async def dicts() -> AsyncIterator[dict[str, str]]:
    yield {"data": "one", "event": "token", "id": "7"}
    yield {"data": "two\nlines"}


def every_kind() -> Iterator[object]:
    yield "one"
    yield ServerSentEvent("two", event="token", comment="note")
    yield b"data: three\r\n\r\n"


async def blocks() -> AsyncIterator[bytes | str]:
    yield b"data: one\n"
    yield "\ndata: two\n\n"


def pushed() -> Response:
    """sse-starlette's other way: a task that sends into a channel."""
    into, out = anyio.create_memory_object_stream[dict[str, str]](1)

    async def push() -> None:
        async with into:
            await into.send({"data": "one"})
            await into.send({"data": "two"})

    return EventSourceResponse(out, data_sender_callable=push, sep="\n")


class Marked(StreamingResponse):
    media_type = SSE


class Counting(StreamingResponse):
    """Sends in a way of its own."""

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self.body_iterator:
            body = chunk.encode() if isinstance(chunk, str) else bytes(chunk)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: counted\n\n", "more_body": False})


class Own(Response):
    """No `body_iterator`; only its media type says what it is."""

    media_type = SSE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": [*self.raw_headers, (b"x-own", b"1")]})
        for number in range(3):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await send({"type": "http.response.body"})


class Pinging(EventSourceResponse):
    """sse-starlette's, with a way of sending of its own, and a ping before each event."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen_for_disconnect, receive)
            async for item in self.body_iterator:
                await send({"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True})
                await send(
                    {"type": "http.response.body", "body": b"data: %b\n\n" % str(item).encode(), "more_body": True}
                )
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def words() -> AsyncIterator[str]:
    yield "one"
    yield "two"


FASTAPI_SSE = only_from("fastapi", "0.135", "has no SSE of its own")


def fastapis() -> Response:
    from fastapi.sse import EventSourceResponse  # noqa: PLC0415 -- which earlier versions lack

    return EventSourceResponse(blocks())


STREAMS: dict[str, tuple[Callable[[], Response], bytes]] = {
    "sse-starlette, dicts": (
        lambda: EventSourceResponse(dicts()),
        b"id: 7\r\nevent: token\r\ndata: one\r\n\r\ndata: two\r\ndata: lines\r\n\r\n",
    ),
    "sse-starlette, a sync iterator of every kind": (
        lambda: EventSourceResponse(every_kind(), sep="\n"),
        b"data: one\n\n: note\r\nevent: token\r\ndata: two\r\n\r\ndata: three\r\n\r\n",
    ),
    "sse-starlette, pushed": (pushed, b"data: one\n\ndata: two\n\n"),
    "sse-starlette, a subclass with pings": (lambda: Pinging(words()), b"data: one\n\ndata: two\n\n"),
    "FastAPI's": (fastapis, b"data: one\n\ndata: two\n\n"),
    "a subclass of StreamingResponse": (lambda: Marked(blocks()), b"data: one\n\ndata: two\n\n"),
    "one that sends by itself": (
        lambda: Counting(blocks(), media_type=SSE),
        b"data: one\n\ndata: two\n\ndata: counted\n\n",
    ),
    "a Response of its own": (Own, b"data: 0\n\ndata: 1\n\ndata: 2\n\n"),
    "a whole one": (lambda: Response("data: one\n\ndata: two\n\n", media_type=SSE), b"data: one\n\ndata: two\n\n"),
}


@pytest.mark.parametrize(
    ("make", "body"),
    [pytest.param(*row, id=name, marks=FASTAPI_SSE if name == "FastAPI's" else ()) for name, row in STREAMS.items()],
)
async def test_a_response_that_streams_is_logged_saved_and_counted(make: Callable[[], Response], body: bytes) -> None:
    guard = guard_of()
    async with calling(app_of(guard, guarded(guard, make)), guard) as client:
        answer = await client.post("/chat?id=s")
        again = await client.get("/api/chat/s/stream")
        outcome, used, roles = await said_of(client)
        (message,) = (await client.get("/api/chat/s/messages")).json()["messages"]
    assert answer.content == again.content == body
    assert answer.headers["content-type"].partition(";")[0] == SSE
    assert (outcome, used, roles) == ("completed", 1, ["assistant"])
    assert [part["type"] for part in message["parts"]] == ["data-streamguard-sse"]  # never text


async def test_its_status_headers_cookies_and_background_task_are_kept() -> None:
    after, answers = list[str](), []

    def sse_starlette() -> Response:
        response = EventSourceResponse(
            words(), status_code=201, headers={"X-Up": "1"}, background=BackgroundTask(after.append, "first")
        )
        response.set_cookie("seen", "yes")
        return response

    def own() -> Response:
        response = Own(headers={"X-Up": "2"}, background=BackgroundTask(after.append, "second"))
        response.set_cookie("seen", "too")
        return response

    for make in (sse_starlette, own):
        guard = guard_of()
        async with calling(app_of(guard, guarded(guard, make)), guard) as client:
            answers.append(await client.post("/chat?id=s"))
    assert [answer.status_code for answer in answers] == [201, 202]
    assert [answer.headers["x-up"] for answer in answers] == ["1", "2"]
    assert [answer.headers["set-cookie"].partition(";")[0] for answer in answers] == ["seen=yes", "seen=too"]
    assert answers[1].headers["x-own"] == "1"
    assert after == ["first", "second"]


async def test_wherever_it_comes_from() -> None:
    skip_before("fastapi", "0.129", "lets no dependency be annotated with a response")
    guard = guard_of()
    app = FastAPI(lifespan=guard.lifespan)

    def made() -> EventSourceResponse:
        return EventSourceResponse(words(), sep="\n")

    @app.post("/depends")
    @guard.stream("id")
    async def depends(id: str, response: EventSourceResponse = Depends(made)) -> EventSourceResponse:  # noqa: A002, B008
        return response

    @app.post("/sync")
    @guard.stream("id")
    def sync(id: str) -> EventSourceResponse:  # noqa: A002
        return made()

    class Chat(HTTPEndpoint):
        @guard.stream("request.query_params.id")
        async def post(self, request: Request) -> Response:
            return made()

    app.router.routes.append(Route("/class", Chat))
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        for path in ("depends", "sync", "class"):
            answer = await client.post(f"/{path}?id={path}")
            again = await client.get(f"/api/chat/{path}/stream")
            assert (path, answer.content) == (path, b"data: one\n\ndata: two\n\n") == (path, again.content)


# -- what does not stream passes --------------------------------------------------------------------------------------


class Template(HTMLResponse):
    """As Starlette's templates do: a call of its own around a whole body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.debug", "info": {}}) if "http.response.debug" in scope else None
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize(
    ("make", "body"),
    [
        (lambda path, task: JSONResponse({"cached": 1}, headers={"X-Up": "1"}, background=task), b'{"cached":1}'),
        (lambda path, task: Template("<p>", headers={"X-Up": "1"}, background=task), b"<p>"),
        (lambda path, task: FileResponse(path, 200, {"X-Up": "1"}, "text/plain", task), b"x" * 200_000),
        (lambda path, task: Response(b"data: x\n\n", 503, {"X-Up": "1"}, SSE, task), b"data: x\n\n"),
    ],
    ids=["json", "template", "file", "failure"],
)
async def test_a_whole_answer_passes_as_it_is(
    make: Callable[[Path, BackgroundTask], Response], body: bytes, tmp_path: Path
) -> None:
    guard, after = guard_of(), list[str]()
    (tmp_path / "file").write_bytes(b"x" * 200_000)
    returned = make(tmp_path / "file", BackgroundTask(after.append, "ran"))
    async with calling(app_of(guard, guarded(guard, lambda: returned)), guard) as client:
        answer = await client.post("/chat?id=s")
        resumed = await client.get("/api/chat/s/stream")
    assert (answer.status_code, answer.content, answer.headers["x-up"]) == (returned.status_code, body, "1")
    assert resumed.status_code == 204
    assert after == ["ran"]
