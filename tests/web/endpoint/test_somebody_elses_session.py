"""A session that the message store says is somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from streamguard import StreamGuard
from streamguard.errors import MessageForbiddenError, MessageUnavailableError
from streamguard.stores.memory import MemoryStore
from streamguard.testing._passing import PassingStore
from tests.runtime.savers import Messages

from ..serving import calling
from .keeping import app_of, ids_of, keeping

pytestmark = pytest.mark.anyio


T = TypeVar("T")


@dataclass
class Somebody:
    """A session that the message store says is somebody else's."""

    guard: StreamGuard
    messages: Messages
    app: Starlette
    asked: list[str]
    """Calls of the model."""


@pytest.fixture
def somebodys() -> Somebody:
    messages, asked = Messages(), list[str]()
    messages.may_forbid = True
    messages.errors["open_session"] = MessageForbiddenError("no", operation="open_session")
    guard = keeping(messages)

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        asked.append("the model")
        for _ in range(3):
            yield "because "

    return Somebody(guard, messages, app_of(chat), asked)


async def test_a_session_of_somebody_else_is_not_found(somebodys: Somebody) -> None:
    async with calling(somebodys.app, somebodys.guard) as client:
        answer = await client.post("/chat?id=s")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert b"because" not in answer.content
        assert "x-should-retry" not in answer.headers
        assert not somebodys.guard._running().streams
        again = await client.post("/chat?id=s")
    assert again.status_code == 404
    assert somebodys.messages.calls["append"] == 0
    assert somebodys.asked == []


async def test_the_store_is_asked_while_the_stream_is_registered(somebodys: Somebody) -> None:
    """So its word costs a request no time that the registration does not take anyway."""
    registering, go_on = asyncio.Event(), asyncio.Event()

    class Slow(PassingStore):
        async def _pass(self, step: str, call: Callable[[], Awaitable[T]], /) -> T:
            if step == "register":
                registering.set()
                await go_on.wait()
            return await call()

    with somebodys.guard.instrumented(store=Slow):
        async with calling(somebodys.app, somebodys.guard) as client:
            request = asyncio.create_task(client.post("/chat?id=s"))
            await registering.wait()
            while not somebodys.messages.calls["open_session"]:
                await asyncio.sleep(0)
            go_on.set()
            assert (await request).status_code == 404
    assert somebodys.asked == []


@pytest.mark.parametrize("why", ["never forbids", "is down"])
@pytest.mark.long
async def test_a_store_that_has_no_say_is_not_waited_for(somebodys: Somebody, why: str) -> None:
    messages, guard = somebodys.messages, somebodys.guard
    if why == "never forbids":
        messages.may_forbid = False
        messages.errors.clear()
    else:
        messages.errors["open_session"] = MessageUnavailableError("no", operation="open_session")
    async with calling(somebodys.app, guard) as client:
        if why == "is down":
            for number in range(5):  # and so its breaker opens
                await client.post(f"/chat?id=before-{number}")
            assert guard._running().saving.paused
        somebodys.asked.clear()
        messages.hold("open_session")
        request = asyncio.create_task(client.post("/chat?id=s"))
        while not somebodys.asked:
            assert not request.done()
            await asyncio.sleep(0)
        stream = next(iter(guard._running().streams.values()))
        assert stream.backlog.budget.session_deadline.left_seconds > 0  # it was not waited out
        messages.let_go("open_session")
        await request


@pytest.mark.long
async def test_a_database_that_is_slow_to_say_so_holds_nobody_up_for_long(somebodys: Somebody) -> None:
    """Then the answer goes out, but nothing of it is saved."""
    somebodys.messages.hold("open_session")
    async with calling(somebodys.app, somebodys.guard) as client:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        request = asyncio.create_task(client.post("/chat?id=s"))
        await asyncio.wait({request}, timeout=somebodys.guard._settings.registration_seconds + 2)
        somebodys.messages.let_go("open_session")
        answer = await request
        assert loop.time() - begun < 10
        assert answer.status_code == 200
        assert b'"persistence_failed"' in answer.content
        assert b"data-streamguard-persisted" not in answer.content
    assert await ids_of(somebodys.messages) == []


async def test_a_request_in_somebody_elses_session_leaves_no_claim(somebodys: Somebody) -> None:
    async with calling(somebodys.app, somebodys.guard) as client:
        answer = await client.post("/chat?id=s", headers={"Idempotency-Key": "k"})
        assert answer.status_code == 404
        store = somebodys.guard._running().store
        assert isinstance(store, MemoryStore)
        assert len(store._tables.claims) == 0


async def test_a_request_cancelled_while_the_store_is_asked_leaves_no_stream(somebodys: Somebody) -> None:
    """Its session would be taken by a stream that nobody produces."""
    messages, guard = somebodys.messages, somebodys.guard
    messages.errors.clear()
    messages.hold("open_session")
    async with calling(somebodys.app, guard) as client:
        request = asyncio.create_task(client.post("/chat?id=s", headers={"Idempotency-Key": "k"}))
        streams = guard._running().streams
        while not any(stream.log.registered for stream in streams.values()):
            await asyncio.sleep(0)
        stream = next(iter(streams.values()))
        for _ in range(20):  # past the registration, to where the store's word is awaited
            await asyncio.sleep(0)
        assert somebodys.asked == []
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        messages.let_go("open_session")
        async with asyncio.timeout(5):
            await stream.ended()
        assert not streams
        assert guard._context.limits.viewers.count == 0
        store = guard._running().store
        assert isinstance(store, MemoryStore)
        assert len(store._tables.claims) == 0
        assert (await client.post("/chat?id=s")).status_code == 200
    assert somebodys.asked == ["the model"]
