from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from types import FrameType

import pytest
import structlog
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.routing import Route
from structlog.testing import LogCapture

from streamguard import Anonymous, ConfigurationError, NotStartedError, Signal, StreamGuard, anonymous
from streamguard.stores.store import StreamStore
from tests.harness.sse import EventReader, ui_text
from tests.harness.waiting import wait_until_async
from tests.web.serving import Gate, calling, make_guard, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def logged() -> LogCapture:
    """What structlog would have written."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    return capture


@pytest.fixture(autouse=True)
def _structlog_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def chat_app(guard: StreamGuard, gate: Gate | None = None) -> Starlette:
    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        if gate is not None:
            await gate.wait()
        yield "two"

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return app


def test_leaving_out_authenticate_names_the_fix() -> None:
    for wrong in ({}, {"authenticate": None}, {"authenticate": "ann"}):
        with pytest.raises(ConfigurationError, match="authenticate=anonymous"):
            StreamGuard(**wrong)


@pytest.mark.parametrize(
    "url", ["", "memory", "memory://x", "http://x", "redis", "redis+cluster://x:y", "redis://x:port", "redis://h/0?x=1"]
)
def test_urls_that_cannot_be_used_are_found_when_constructed(url: str) -> None:
    with pytest.raises(ConfigurationError):
        StreamGuard(url, authenticate=anonymous)


def test_settings_that_are_none_name_the_fix() -> None:
    with pytest.raises(ConfigurationError, match=r"settings=Settings\("):
        StreamGuard("memory://", authenticate=anonymous, settings={"drain_seconds": 60})  # type: ignore[arg-type]


def test_a_url_with_a_password_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as error:
        StreamGuard("redis://user:secret@host:port", authenticate=anonymous)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("prefix", ["", "/", "api", "/api/", "/api/{tenant}", "/a?b", "/a%20b"])
def test_prefixes_that_cannot_be_used(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="plain path"):
        make_guard().install(Starlette(), prefix)


async def test_installing_into_a_running_application_is_refused() -> None:
    guard = make_guard()
    app = Starlette()
    async with calling(app, guard) as client:
        await client.get("/")
        with pytest.raises(ConfigurationError, match="before"):
            guard.install(app, "/api/chat")


async def test_a_guard_that_never_started_names_the_fix() -> None:
    guard = make_guard()
    with pytest.raises(NotStartedError, match=r"lifespan=guard\.lifespan"):
        await guard.drain()


async def test_a_guard_is_started_once_at_a_time_and_may_be_started_again() -> None:
    guard = make_guard()
    app = chat_app(guard)
    for _ in range(2):
        async with calling(app, guard) as client:
            assert ui_text(EventReader().feed((await client.post("/chat?id=s")).content)) == "one two"
            with pytest.raises(ConfigurationError, match="running already"):
                async with guard:
                    pass
    with pytest.raises(NotStartedError):
        await guard.drain()


async def test_the_lifespan_composes_and_leaves_the_applications_state_alone() -> None:
    guard = make_guard()
    async with serving(FastAPI(lifespan=guard.lifespan)):
        assert not guard._running().draining
    async with guard.lifespan(object()) as given:
        assert given is None
    async with guard as itself:
        assert itself is guard


async def test_the_first_word_of_a_shutdown_begins_the_drain() -> None:
    """uvicorn reaches the lifespan's end only after streams have closed, so the signal must be heard before it."""
    received: list[int] = []

    def server(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = signal.signal(signal.SIGTERM, server)
    try:
        guard, gate = make_guard(drain_seconds=0.5), Gate()
        async with calling(chat_app(guard, gate), guard) as client, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(client.post("/chat?id=s"))
            await gate.reached.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await wait_until_async(lambda: guard._running().draining, description="the drain has begun")
            answer = await running
        assert received == [signal.SIGTERM]
        assert b'"shutting_down"' in answer.content
        assert signal.getsignal(signal.SIGTERM) is server
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_operators_are_warned_of_what_loses_streams(logged: LogCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    async with StreamGuard(authenticate=Anonymous("a secret of some length")):
        pass
    (warning,) = [entry["warning"] for entry in logged.entries if entry["event"] == "streamguard.store_warning"]
    assert "WEB_CONCURRENCY" in warning


async def test_an_anonymous_visitor_keeps_its_sessions_by_the_cookie_of_its_first_message() -> None:
    guard = StreamGuard(authenticate=anonymous)
    async with calling(chat_app(guard), guard) as client:
        looked = await client.get("/api/chat/s/stream")
        asked = await client.post("/chat?id=s")
        mine = await client.get("/api/chat/s/stream")
        client.cookies.clear()
        stranger = await client.get("/api/chat/s/stream")
    assert "set-cookie" not in looked.headers
    assert "HttpOnly" in asked.headers["set-cookie"]
    assert mine.status_code == 200
    assert (stranger.status_code, stranger.headers["x-resume-reason"]) == (204, "none")


async def test_authenticate_sees_the_connection() -> None:
    seen: list[HTTPConnection] = []

    def owner(connection: HTTPConnection) -> str | None:
        seen.append(connection)
        return connection.headers.get("x-user")

    guard = StreamGuard(authenticate=owner)
    async with calling(chat_app(guard), guard) as client:
        await client.post("/chat?id=s")
        await client.get("/api/chat/s")
        await client.get("/api/chat/health/live")
    assert [connection.url.path for connection in seen] == ["/chat", "/api/chat/s"]


async def test_an_instrumented_guard_tells_more_observers_while_it_is() -> None:
    guard = make_guard()
    seen: list[Signal] = []
    wrapped: list[StreamStore] = []

    def wrap(store: StreamStore) -> StreamStore:
        wrapped.append(store)
        return store

    with guard.instrumented(observer=lambda observation: seen.append(observation.name), store=wrap):
        async with guard:
            await guard.idle()
    async with guard:
        pass
    assert seen == [Signal.DRAIN_STARTED, Signal.DRAIN_ENDED]
    assert len(wrapped) == 1
    with pytest.raises(NotStartedError):
        await guard.idle()
