"""A stream that a rule captures: byte for byte, with the application's status and headers, whole whatever its client
does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sse_starlette.sse import AppStatus, EventSourceResponse
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from streamguard import StreamCutError, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.values import SessionKey
from tests.harness.waiting import wait_until_async

from ..misuses.sites import TIMING
from ..serving import Gate, make_guard, user_of
from .inside import PATH, Inside, client_of, guarding, sse, status_of, transcript

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each

CHAT = "openai-chat-text.sse"


def said(name: str = CHAT) -> Callable[[Request], AsyncIterator[bytes]]:
    async def blocks(_: Request) -> AsyncIterator[bytes]:
        body = transcript(name)
        for start in range(0, len(body), 37):
            yield body[start : start + 37]

    return blocks


async def ended(client: httpx.AsyncClient, session: str = "s") -> str:
    async def over() -> bool:
        return (await client.get(f"/api/chat/{session}")).json()["active"] is None

    is_over: Callable[[], Awaitable[bool] | bool] = over
    await wait_until_async(is_over, description="the stream has ended")
    return str((await status_of(client, session))["outcome"])


async def test_bytes_status_and_headers_are_the_applications() -> None:
    endpoint = sse(said(), status_code=203, headers={"x-request-id": "req_upstream", "openai-version": "2020-10-01"})
    async with client_of(guarding(make_guard(), endpoint)) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert (answer.status_code, answer.content) == (203, transcript(CHAT))
        assert answer.headers["x-request-id"] == "req_upstream"
        assert answer.headers["openai-version"] == "2020-10-01"
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-session-id"] == "s"
        assert answer.headers["x-stream-id"] == (await status_of(client))["stream_id"]
        resumed = await client.get("/api/chat/s/stream")
        assert resumed.content == transcript(CHAT)


async def test_a_file_that_the_server_would_send_itself(tmp_path: Path) -> None:
    """An extension of ASGI, which Granian has."""
    path = tmp_path / "recorded.sse"
    path.write_bytes(transcript(CHAT))

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": str(path)})

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        assert (await client.post(PATH)).content == transcript(CHAT)


@pytest.mark.parametrize("spelt", [bytes.lower, bytes.title], ids=["lower case", "capitals"])
async def test_a_content_type_stays_as_it_is(spelt: Callable[[bytes], bytes]) -> None:
    """ASGI wants lower case, but servers and clients take any, and so applications send it."""
    sent = {b"content-type": b"text/event-stream", b"cache-control": b"max-age=1", b"content-length": b"9"}

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(spelt(name), value) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: x\n\n"})

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        answer = await client.post(PATH)
    assert answer.content == b"data: x\n\n"
    assert "x-stream-id" in answer.headers
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers.get_list("cache-control") == ["max-age=1"]
    assert "content-length" not in answer.headers


async def test_each_event_arrives_before_the_next_is_produced() -> None:
    gate = Gate()

    async def blocks(_: Request) -> AsyncIterator[bytes]:
        yield b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        await gate.wait()
        yield b"data: [DONE]\n\n"

    async with (
        client_of(guarding(make_guard(), sse(blocks))) as client,
        client.stream("POST", PATH, json={"id": "s"}) as answer,
    ):
        chunks = answer.aiter_raw()
        assert b'"content":"a"' in await anext(chunks)
        gate.open()
        assert b"[DONE]" in await anext(chunks)


@pytest.mark.promise("I1", "I3")
@pytest.mark.parametrize("polls", [False, True], ids=["", "polls for a disconnect"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "inside a BaseHTTPMiddleware"])
async def test_a_client_that_leaves_ends_nothing(polls: bool, wrapped: bool) -> None:
    """Also where the application stops by itself when its client has left."""
    gate = Gate()
    body = transcript(CHAT)
    half = body.index(b"\n\n", len(body) // 2) + 2
    messages, quota = MemoryMessageStore(), Quota(limit=10_000, per="day", unit="tokens")

    async def blocks(request: Request) -> AsyncIterator[bytes]:
        yield body[:half]
        await gate.wait()
        for block in body[half:].split(b"\n\n")[:-1]:
            if polls and await request.is_disconnected():
                break
            yield block + b"\n\n"

    guard = StreamGuard(authenticate=user_of, messages=messages)
    app = guarding(guard, sse(blocks), quota=quota, estimate=100)
    if wrapped:
        app.user_middleware.append(TIMING)
    async with client_of(app) as client:
        async with client.stream("POST", PATH, json={"id": "s"}) as answer:
            await anext(answer.aiter_raw())
        gate.open()
        assert await ended(client) == "completed"
        last = await status_of(client)
        assert (last["persisted"], last["quota"]) == ("yes", "settled")
        assert (await client.get("/api/chat/s/stream")).content == body
        (stored,) = await messages.list(SessionKey("ann", "s"))
        assert stored.message.parts[0]["type"] == "text"
        usage = (await client.get("/api/chat/s")).json()["quota"]
        assert usage is not None


async def test_a_stop_ends_the_applications_call() -> None:
    ends: list[str] = []

    async def blocks(_: Request) -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            ends.append("closed")

    async with client_of(guarding(make_guard(), sse(blocks))) as client:
        async with client.stream("POST", PATH, json={"id": "s"}) as answer:
            chunks = answer.aiter_raw()
            await anext(chunks)
            assert (await client.post("/api/chat/s/stop")).status_code == 202
            rest = b"".join([chunk async for chunk in chunks])
        assert b"event: error" in rest
        assert await ended(client) == "stopped"
    assert ends == ["closed"]


@pytest.mark.parametrize("wrapped", [0, 1, 3], ids=["", "inside a BaseHTTPMiddleware", "inside three"])
async def test_an_application_that_fails_in_the_middle(wrapped: int) -> None:
    """Also where a `BaseHTTPMiddleware` completes the response for it."""

    async def blocks(_: Request) -> AsyncIterator[bytes]:
        yield b"data: 1\n\ndata: hal"
        raise RuntimeError("upstream broke")

    app = guarding(make_guard(), sse(blocks))
    app.user_middleware += [TIMING] * wrapped
    async with client_of(app) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert answer.text.startswith("data: 1\n\n")
        assert "event: error\n" in answer.text
        assert "data: hal" not in answer.text
        assert await ended(client) == "failed"


async def test_an_application_that_ends_without_its_last_message_failed() -> None:
    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        answer = await client.post(PATH)
    assert answer.text.startswith("data: 1\n\n")
    assert "event: error\n" in answer.text


async def test_an_application_that_ends_its_streams_at_a_shutdown_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard, tasks = make_guard(), []

    async def items() -> AsyncIterator[dict[str, str]]:
        yield {"data": "1"}
        tasks.append(asyncio.create_task(guard.drain()))
        monkeypatch.setattr(AppStatus, "should_exit", True)  # what sse-starlette hears of a signal
        await asyncio.Event().wait()

    async def endpoint(request: Request) -> Response:
        return EventSourceResponse(items(), sep="\n")

    async with client_of(guarding(guard, endpoint)) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert answer.text.startswith("data: 1\n\n")
        assert '"code":"shutting_down"' in answer.text
        assert await ended(client) == "interrupted"
        await asyncio.gather(*tasks)


async def test_a_stream_that_fails_before_its_first_event_is_an_http_answer() -> None:
    async def blocks(_: Request) -> AsyncIterator[bytes]:
        if _.method:
            raise ConnectionResetError("upstream broke")
        yield b""

    async with client_of(guarding(make_guard(), sse(blocks))) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "provider_aborted"
        assert answer.headers["x-should-retry"] == "false"


async def test_a_stream_whose_first_event_is_late_is_an_http_answer() -> None:
    async def blocks(_: Request) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    app = guarding(make_guard(), sse(blocks), first_item_seconds=0.05)
    async with client_of(app) as client:
        answer = await client.post(PATH, json={"id": "s"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "provider_timeout")


async def test_a_stream_whose_headers_take_longer_than_its_first_event_may() -> None:
    gate = Gate()

    async def endpoint(request: Request) -> Response:
        await gate.wait()
        return StreamingResponse(said()(request), media_type="text/event-stream")

    guard = make_guard(first_item_seconds=0.1)
    async with client_of(guarding(guard, endpoint)) as client:
        asking = asyncio.ensure_future(client.post(PATH, json={"id": "s"}))
        await gate.reached.wait()
        with pytest.raises(StreamCutError):  # one that began after it, and may not
            async with guard.start("ann", "another"):
                await asyncio.Event().wait()
        gate.open()
        assert (await asking).content == transcript(CHAT)
        assert await ended(client) == "completed"


async def test_what_an_application_does_after_its_response_delays_nothing() -> None:
    gate = Gate()

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(said()(request), media_type="text/event-stream", background=BackgroundTask(gate.wait))

    async with client_of(guarding(make_guard(), endpoint)) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert answer.content == transcript(CHAT)
        assert await ended(client) == "completed"
        await gate.reached.wait()
        gate.open()


async def test_a_background_task_that_fails_inside_a_base_http_middleware_is_no_failure_of_the_answer() -> None:
    async def fail() -> None:
        raise RuntimeError("the mail was not sent")

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(said()(request), media_type="text/event-stream", background=BackgroundTask(fail))

    app = guarding(make_guard(), endpoint)
    app.user_middleware.append(TIMING)
    async with client_of(app) as client:
        assert (await client.post(PATH, json={"id": "s"})).content == transcript(CHAT)
        assert await ended(client) == "completed"


async def test_an_application_that_sends_more_than_is_read_waits() -> None:
    sent = 0

    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(2_000):
            await send({"type": "http.response.body", "body": b"data: %s\n\n" % (b"x" * 1_000), "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b""})

    guard = make_guard()
    app = StreamGuardMiddleware(Inside(guard, act), guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app) as client:
        answer = await client.post(PATH)
    assert len(answer.content) == 2_000 * 1_008
    assert sent == 2_000


async def test_the_application_knows_no_encodings_and_no_newer_asgi() -> None:
    async def act(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guard = make_guard()
    inside = Inside(guard, act)
    app = StreamGuardMiddleware(inside, guard=guard, rules=[StreamRule(PATH)])
    async with client_of(app, **{"accept-encoding": "gzip, br", "x-kept": "1"}) as client:
        await client.post(PATH)
        names = {name for name, _ in inside.scope["headers"]}
        assert b"accept-encoding" not in names
        assert b"x-kept" in names
        await client.post("/other")
        assert b"accept-encoding" in {name for name, _ in inside.scope["headers"]}


@pytest.mark.parametrize(
    ("source", "given", "status"),
    [
        ("body.max_tokens", {"json": {"max_tokens": 7}}, 200),
        ("header.x-estimate", {"headers": {"x-estimate": "7"}}, 200),
        ("query.n", {"params": {"n": "7"}}, 200),
        ("body.max_tokens", {"json": {}}, 400),
        ("body.max_tokens", {"json": {"max_tokens": -1}}, 400),
        ("body.max_tokens", {"json": {"max_tokens": True}}, 400),
        ("header.x-estimate", {"headers": {"x-estimate": "many"}}, 400),
        (lambda _: "many", {}, 500),
    ],
)
async def test_an_estimate_of_the_client_is_checked(source: Any, given: dict[str, Any], status: int) -> None:
    """What no code of the host's has checked is no mistake of the host's."""
    quota = Quota(limit=10, per="day", unit="tokens")
    app = guarding(make_guard(), sse(said()), session="query.s", quota=quota, estimate=source)
    async with client_of(app) as client:
        answer = await client.post(PATH, **given)
    assert answer.status_code == status
    if status == 400:
        error = answer.json()["error"]
        assert (error["code"], error["reason"]) == ("request_invalid", "estimate")


async def test_context_variables_of_outer_middlewares_are_seen() -> None:
    seen: list[object] = []

    async def blocks(request: Request) -> AsyncIterator[bytes]:
        seen.append(request.state.who)
        yield b"data: 1\n\n"

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["who"] = "ann"
        await app(scope, receive, send)

    app = guarding(make_guard(), sse(blocks))
    async with client_of(outer) as client:
        await client.post(PATH, json={"id": "s"})
    assert seen == ["ann"]


async def test_pieces_may_be_views_of_a_buffer_that_is_used_again() -> None:
    buffer = bytearray(64)

    async def blocks(_: Request) -> AsyncIterator[memoryview]:
        body = transcript(CHAT)
        for start in range(0, len(body), 37):
            piece = body[start : start + 37]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(blocks(request), media_type="text/event-stream")

    async with client_of(guarding(make_guard(), endpoint)) as client:
        assert (await client.post(PATH, json={"id": "s"})).content == transcript(CHAT)
