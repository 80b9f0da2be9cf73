"""The application inside sees no version of ASGI in which an `OSError` is a client that left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import StreamGuardMiddleware, StreamRule

from ..serving import make_guard
from .inside import PATH, client_of, guarding, sse, status_of

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each

VERSIONS = ["2.0", "2.3", "2.4"]


def of_version(app: ASGIApp, version: str) -> ASGIApp:
    """`app` as a server of that version calls it."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "asgi": {"version": "3.0", "spec_version": version}}, receive, send)

    return serve


class Watching:
    """A middleware of the host's, inside."""

    def __init__(self, app: ASGIApp, seen: list[type[Exception]]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as exc:
            lone: Exception = exc
            while isinstance(lone, ExceptionGroup):  # of the tasks of an older Starlette's response
                [lone] = lone.exceptions
            self._seen.append(type(lone))
            raise


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("error", [TimeoutError, ConnectionResetError])
async def test_an_error_of_the_body_reaches_everybody_as_it_is(version: str, error: type[OSError]) -> None:
    async def blocks(_: Request) -> AsyncIterator[bytes]:
        yield b"data: one\n\n"
        raise error("secret")

    seen: list[type[Exception]] = []
    guard = make_guard()
    rule = StreamRule(PATH, session="body.id")
    layers = [Middleware(StreamGuardMiddleware, guard=guard, rules=[rule]), Middleware(Watching, seen=seen)]
    app = Starlette(routes=[Route(PATH, sse(blocks), methods=["POST"])], middleware=layers, lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with client_of(of_version(app, version)) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert answer.content.startswith(b"data: one\n\n")
        assert b"secret" not in answer.content
        assert (await status_of(client))["outcome"] == "failed"
    assert seen == [error]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_response_that_is_passed_on_ends_with_its_client(version: str) -> None:
    ended, cleaned_up = asyncio.Event(), asyncio.Event()

    async def clean_up() -> None:
        cleaned_up.set()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def endpoint(_: Request) -> Response:
        return StreamingResponse(pieces(), media_type="text/plain", background=BackgroundTask(clean_up))

    async with client_of(of_version(guarding(make_guard(), endpoint), version)) as client:
        async with client.stream("POST", PATH, json={"id": "s"}) as answer:
            assert await anext(answer.aiter_raw()) == b"one"
        async with asyncio.timeout(20):
            await ended.wait()
            await cleaned_up.wait()
