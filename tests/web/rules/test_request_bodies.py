"""The application inside reads its request as if there were no guard, whoever else read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamguard import StreamGuardMiddleware, StreamRule

from ..misuses.sites import TIMING
from ..serving import Gate, make_guard
from .inside import PATH, Inside, client_of, guarding, sse

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each

BODY = b'{"id": "s", "stream": true, "messages": [{"role": "user", "id": "m1"}]}'
JSON = {"content-type": "application/json"}


async def never(request: Request) -> bool:
    await request.json()
    return False


async def by_form(request: Request) -> object:
    return request.headers.get("x-session")


OPTIONS: list[dict[str, Any]] = [
    {"session": None},
    {"session": "body.id"},
    {"session": "body.messages.-1.id", "message_id": "body.messages.0.id"},
    {"session": "query.s"},
    {"session": "header.x-session"},
    {"session": by_form},
    {"when": "body.stream"},
    {"when": "body.missing"},
    {"when": never},
    {"on_conflict": "join"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "below a BaseHTTPMiddleware"])
async def test_the_body_is_whole(options: dict[str, Any], wrapped: bool) -> None:
    async def echo(request: Request) -> Response:
        return JSONResponse({"body": (await request.body()).decode(), "session": request.headers.get("x-session")})

    app = guarding(make_guard(), echo, **options)
    if wrapped:
        app.user_middleware.insert(0, TIMING)
    async with client_of(app) as client:
        answer = await client.post(PATH, content=BODY, headers={**JSON, "x-session": "h"}, params={"s": "q"})
        assert answer.json()["body"] == BODY.decode()
        answer = await client.post(PATH, content=BODY, headers={**JSON, "idempotency-key": "k", "x-session": "h"})
        assert answer.json()["body"] == BODY.decode()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"session": "body.id"}, "s"),
        ({"session": "body.messages.-1.id"}, "m1"),
        ({"session": "query.s"}, "q"),
        ({"session": "header.X-Session"}, "h"),
        ({"session": by_form}, "h"),
        ({"session": "body.stream.id"}, None),
        ({"session": "body.messages.7.id"}, None),
    ],
)
async def test_a_session_is_found(options: dict[str, Any], expected: str | None) -> None:
    async def one(_: Request) -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"

    async with client_of(guarding(make_guard(), sse(one), **options)) as client:
        answer = await client.post(PATH, content=BODY, headers={**JSON, "x-session": "h"}, params={"s": "q"})
        found = answer.headers["x-session-id"]
        assert found == expected or (expected is None and found.startswith("ses_"))


def reading(guard: Any, read: list[int], gate: Gate) -> Inside:
    """Reads one piece at a time, and tells when the first is there."""

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            read.append(len(message["body"]))
            gate.reached.set()
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % sum(read)})

    return Inside(guard, act)


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "application/octet-stream", ""])
@pytest.mark.parametrize("options", [{}, {"session": "body.id", "when": None}], ids=["", "with a selector"])
async def test_an_upload_is_streamed(content_type: str, options: dict[str, Any]) -> None:
    """The application reads the first piece before the client has sent the last."""
    guard, read, gate = make_guard(max_request_bytes=1_000_000), list[int](), Gate()
    app = StreamGuardMiddleware(reading(guard, read, gate), guard=guard, rules=[StreamRule("/v1/*", **options)])

    async def upload() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await gate.reached.wait()
        for _ in range(10):
            yield b"y" * 1_000_000

    headers = {"content-type": content_type} if content_type else {}
    async with client_of(app) as client:
        answer = await client.post("/v1/files", content=upload(), headers=headers)
        assert answer.text == "12000000"


async def test_an_upload_is_read_no_faster_than_the_application_reads_it() -> None:
    gate, read = Gate(), list[int]()
    sent = 0

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        read.append(len((await receive())["body"]))
        await gate.wait()
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def upload() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(400):
            yield b"x" * 100_000
            sent += 100_000

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        asking = asyncio.ensure_future(client.post(PATH, content=upload()))
        await gate.reached.wait()
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert sent < 30_000_000  # the sockets' buffers and ours
        gate.open()
        assert (await asking).status_code == 204


@pytest.mark.parametrize("options", [{"session": "body.id"}, {"when": "body.stream"}, {"when": never}])
async def test_json_that_a_rule_has_to_read_is_bounded(options: dict[str, Any]) -> None:
    async def echo(request: Request) -> Response:
        raise AssertionError("it was called")

    app = guarding(make_guard(max_request_bytes=1_000), echo, **options)
    async with client_of(app) as client:
        answer = await client.post(PATH, json={"text": "x" * 2_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_a_client_that_leaves_in_its_upload_is_seen() -> None:
    seen: list[Message] = []
    reached = asyncio.Event()

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            seen.append(await receive())
            reached.set()
            if seen[-1]["type"] == "http.disconnect":
                return

    async def upload() -> AsyncIterator[bytes]:
        yield b"x"
        await reached.wait()
        raise OSError("the client's network is gone")

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        with pytest.raises((httpx.HTTPError, OSError)):
            await client.post(PATH, content=upload())
    assert seen[-1]["type"] == "http.disconnect"


@pytest.mark.parametrize("when", ["body.stream", never, lambda request: False], ids=["place", "async", "sync"])
async def test_a_request_that_a_condition_excludes_is_not_guarded(when: Any) -> None:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        return Response(b"data: %s\n\n" % body, media_type="text/event-stream")

    app = guarding(make_guard(), endpoint, when=when)
    async with client_of(app) as client:
        answer = await client.post(PATH, content=b'{"stream": false}', headers=JSON)
    assert answer.content == b'data: {"stream": false}\n\n'
    assert "x-stream-id" not in answer.headers


async def test_the_first_rule_that_matches_decides() -> None:
    async def one(request: Request) -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"

    guard = make_guard()
    app = guarding(guard, sse(one))
    app.user_middleware.clear()
    rules = [
        StreamRule("/v1/{name}", session="path.name", when="query.by_path"),
        StreamRule("/*", session=lambda request: "fixed"),
    ]
    wrapped: ASGIApp = StreamGuardMiddleware(app, guard=guard, rules=rules)
    async with client_of(wrapped) as client:
        assert (await client.post(PATH)).headers["x-session-id"] == "fixed"
        assert (await client.post(PATH, params={"by_path": 1})).headers["x-session-id"] == "chat"
        stopped = await client.post("/api/chat/fixed/stop")  # the guard's own routes are no rule's
        assert "x-stream-id" not in stopped.headers or stopped.status_code in (202, 204)
