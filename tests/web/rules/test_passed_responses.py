"""What is no stream passes a rule as if there were no guard, and holds nothing afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from streamguard import StreamCutError, StreamGuardMiddleware, StreamRule
from streamguard.quota import Quota
from tests.harness.waiting import wait_until_async

from ..serving import USER, Gate, make_guard
from .inside import PATH, Inside, client_of, guarding, sse

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each

DATE = {"date", "server"}


def headers_of(answer: httpx.Response) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in answer.headers.multi_items() if name not in DATE)


async def whole(_: Request) -> Response:
    answer = JSONResponse({"choices": []}, status_code=201, headers={"x-request-id": "req_1", "x-other": "ü"})
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2")
    return answer


async def refused(_: Request) -> Response:
    return Response("data: no\n\n", status_code=429, media_type="text/event-stream", headers={"retry-after": "3"})


async def moved(_: Request) -> Response:
    return StreamingResponse(
        iter([]), status_code=307, media_type="text/event-stream", headers={"location": "http://there.example/"}
    )


async def unchanged(_: Request) -> Response:
    return Response(status_code=304, media_type="text/event-stream", headers={"etag": '"1"'})


async def silent(_: Request) -> Response:
    return Response(status_code=204, media_type="text/event-stream")


async def pieces(_: Request) -> Response:
    return StreamingResponse(iter(["one ", "two ", "three"]), media_type="text/plain")


async def nothing(_: Request) -> Response:
    return Response(status_code=204)


async def not_found(_: Request) -> Response:
    raise HTTPException(404, "no such model", headers={"x-why": "model"})


async def file(_: Request) -> Response:
    return FileResponse(Path(__file__), media_type="application/octet-stream", filename="code.py")


ENDPOINTS: list[Any] = [whole, refused, moved, unchanged, silent, pieces, nothing, not_found, file]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_it_is_the_same_answer(method: str) -> None:
    def routes() -> list[Route]:
        return [Route(f"/v1/{one.__name__}", one, methods=["POST", "GET"]) for one in ENDPOINTS]

    guard = make_guard()
    guarded = Starlette(routes=routes(), lifespan=guard.lifespan)
    guarded.add_middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule("/v1/*", methods=["GET", "POST"])])
    async with client_of(Starlette(routes=routes())) as bare, client_of(guarded) as client:
        for endpoint in ENDPOINTS:
            for asked in ({}, {"range": "bytes=10-19"}):
                expected = await bare.request(method, f"/v1/{endpoint.__name__}", headers=asked)
                answer = await client.request(method, f"/v1/{endpoint.__name__}", headers=asked)
                assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
                assert headers_of(answer) == headers_of(expected)


async def test_it_holds_neither_its_session_nor_its_quota() -> None:
    quota = Quota(limit=1, per="day", unit="requests")
    streams = False

    async def endpoint(request: Request) -> Response:
        return (await sse(one)(request)) if streams else JSONResponse({})

    async def one(_: Request) -> Any:
        yield b"data: 1\n\n"

    guard = make_guard()
    async with client_of(guarding(guard, endpoint, quota=quota)) as client:
        for _ in range(3):
            assert (await client.post(PATH, json={"id": "s"})).json() == {}
            found = (await client.get("/api/chat/s")).json()
            assert found["active"] is None
        streams = True
        assert (await client.post(PATH, json={"id": "s"})).status_code == 200
        assert (await client.post(PATH, json={"id": "s"})).status_code == 429


async def test_its_client_is_waited_for() -> None:
    """Back-pressure is the connection's own: nothing of it is kept here."""
    sent: list[int] = []
    size = 1_000_000

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(40):
            await send({"type": "http.response.body", "body": b"x" * size, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body", "body": b""})

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client, client.stream("POST", PATH) as answer:
        chunks = answer.aiter_raw()
        await anext(chunks)
        for _ in range(50):  # turns in which nothing but the server could make progress
            await asyncio.sleep(0.002)
        assert len(sent) < 39
        total = 0
        async for chunk in chunks:
            total += len(chunk)
    assert len(sent) == 40


@pytest.mark.parametrize("begun", [True, False], ids=["in its body", "before it has begun"])
async def test_its_application_sees_that_the_client_left(begun: bool) -> None:
    seen: list[Message] = []
    gate = Gate()

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        gate.reached.set()
        if not begun:
            await gate.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
        seen.append(await receive())

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        asking = asyncio.ensure_future(client.send(client.build_request("POST", PATH), stream=True))
        await gate.reached.wait()
        if begun:
            await (await asking).aclose()
        else:
            asking.cancel()
            await asyncio.wait({asking})
            gate.open()
        await wait_until_async(lambda: bool(seen), description="the application knows")
    assert [message["type"] for message in seen] == ["http.disconnect"]


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("when", ["before", "after the start", "in the body", "after the body"])
async def test_what_the_application_raises_goes_out_unchanged(when: str) -> None:
    error = BrokenError("the host's")

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        if when != "before":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if when == "in the body":
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if when == "after the body":
            await send({"type": "http.response.body", "body": b"x"})
        raise error

    raised: list[BaseException] = []

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as exc:
            raised.append(exc)
            raise

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH, session="body.id")])
    async with client_of(outer) as client:
        try:
            answer = await client.post(PATH, json={"id": "s"})
            assert answer.status_code == (500 if when == "before" else 200)
        except httpx.RemoteProtocolError:
            assert when in ("after the start", "in the body")
    assert raised == [error]


async def test_an_application_that_answers_nothing() -> None:
    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        return

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        answer = await client.post(PATH)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")  # uvicorn's


async def test_background_tasks_run_as_usual() -> None:
    gate = Gate()

    async def endpoint(_: Request) -> Response:
        return PlainTextResponse("done", background=BackgroundTask(gate.wait))

    async with client_of(guarding(make_guard(), endpoint)) as client:
        assert (await client.post(PATH)).text == "done"
        await gate.reached.wait()
        gate.open()


async def test_messages_before_the_start_are_kept_in_order() -> None:
    seen: list[str] = []

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.debug", "info": {"template": "x"}})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async def send(message: Message) -> None:
        seen.append(message["type"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    headers = [(name.lower().encode(), value.encode()) for name, value in USER.items()]
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers, "query_string": b"", "asgi": {}}
    async with guard:
        await app(scope, receive, send)
    assert seen == ["http.response.debug", "http.response.start", "http.response.body"]


async def test_a_response_that_takes_longer_than_a_first_item_may() -> None:
    gate = Gate()

    async def endpoint(_: Request) -> Response:
        await gate.wait()
        return PlainTextResponse("late")

    guard = make_guard(first_item_seconds=0.1)
    app = guarding(guard, endpoint)
    async with client_of(app) as client:
        asking = asyncio.ensure_future(client.post(PATH))
        await gate.reached.wait()
        with pytest.raises(StreamCutError) as cut:  # one that began after it, and may not
            async with guard.start("ann", "another"):
                await asyncio.Event().wait()
        assert cut.value.fault.reason == "first_item_seconds"
        gate.open()
        assert (await asking).text == "late"


def test_a_websocket_below_a_rule() -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    guard = make_guard()
    app = Starlette(routes=[WebSocketRoute(PATH, echo)], lifespan=guard.lifespan)
    app.add_middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule("/*", methods=["GET", "POST"])])
    with TestClient(app) as client, client.websocket_connect(PATH) as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_scopes_pass(kind: str) -> None:
    calls: list[tuple[object, ...]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append((scope, receive, send))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    app: ASGIApp = StreamGuardMiddleware(inner, guard=make_guard(), rules=[StreamRule("/*")])
    scope: Scope = {"type": kind, "path": PATH}
    await app(scope, receive, send)
    assert calls == [(scope, receive, send)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
async def test_other_methods_pass_untouched(method: str) -> None:
    calls: list[tuple[object, ...]] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        calls.append((scope, receive, send))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    app = StreamGuardMiddleware(inner, guard=make_guard(), rules=[StreamRule("/*")])
    scope: Scope = {"type": "http", "method": method, "path": PATH}
    await app(scope, receive, send)
    assert calls == [(scope, receive, send)]
