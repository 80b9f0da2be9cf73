"""Before the first item a failure is an answer of its own; once its head is sent, it is told in band."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from ..serving import Gate, calling, make_guard
from .chat import app_of, blocks

pytestmark = pytest.mark.anyio


def raising(error: Exception) -> str:
    raise error


class StatusError(Exception):
    """As provider SDKs make them."""

    status_code = 500


async def test_a_failure_before_the_first_item_is_an_envelope_with_safe_text() -> None:
    guard = make_guard()

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield raising(StatusError("secret"))

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat?id=s")
        again = await client.post("/chat?id=s")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (502, "provider_error", "streamguard_error")
    assert again.status_code == 502  # not a conflict with the stream that failed
    assert answer.headers["x-should-retry"] == "false"
    assert "secret" not in answer.text
    assert error["session_id"] == "s"
    assert error["stream_id"] == answer.headers["x-stream-id"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(TimeoutError, 504, "provider_timeout"), (StopAsyncIteration, 500, "internal")],  # the second ends an iteration
)
async def test_a_coroutine_that_fails_does_too(error: type[Exception], status: int, code: str) -> None:
    guard = make_guard()

    @guard.stream()
    async def chat(request: Request) -> StreamingResponse:
        raise error

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_late_first_item_fails_in_band() -> None:
    guard = make_guard(headers_after_seconds=0.01)
    gate, headed = Gate(), asyncio.Event()

    @guard.stream()
    async def chat(request: Request) -> AsyncIterator[str]:
        await gate.wait()
        yield raising(StatusError("secret"))

    app = app_of(guard, chat)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            await send(message)
            headed.set()

        await app(scope, receive, sent)

    async with calling(watched, guard) as client, asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(client.post("/chat"))
        await asyncio.wait_for(headed.wait(), 10)
        gate.open()
        answer = await answering
    assert answer.status_code == 200
    assert b'"provider_error"' in answer.content


async def test_a_first_item_that_never_comes_is_a_timeout() -> None:
    guard = make_guard()

    @guard.stream(first_item_seconds=0.1)
    async def generator(request: Request) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    @guard.stream(first_item_seconds=0.1)
    async def coroutine(request: Request) -> StreamingResponse:
        await asyncio.Event().wait()
        return StreamingResponse(blocks())

    app = Starlette(routes=[Route("/a", generator, methods=["POST"]), Route("/b", coroutine, methods=["POST"])])
    async with calling(app, guard) as client:
        for path in "ab":
            answer = await client.post(f"/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "provider_timeout")
