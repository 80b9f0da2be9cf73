"""A guard that loops of several threads start at the same moment starts in one of them, and only there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from streamguard import ConfigurationError, NotStartedError, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.stores import RedisClient
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore

from ..harness.racing import raced
from ..web.serving import make_guard, user_of
from .kinds import Places, chat_app

LOOPS = 4
ROUNDS = 25


class Counted:
    """A host's middleware, which counts how often it is made."""

    def __init__(self, app: ASGIApp, *, made: list[object]) -> None:
        self.app = app
        made.append(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_a_guard_starts_in_one_of_the_loops_that_start_it_at_once() -> None:
    for _ in range(ROUNDS):
        _start_at_once(chat_app(Places("", "", ""), "memory://")[0])


def _start_at_once(guard: StreamGuard) -> None:
    meeting = threading.Barrier(LOOPS, timeout=20)

    async def start() -> bool:
        try:
            await guard.__aenter__()
        except ConfigurationError:
            meeting.wait()
            return False
        meeting.wait()
        await guard.__aexit__(None, None, None)
        return True

    assert raced([start] * LOOPS).count(True) == 1


async def _started_and_left(guard: StreamGuard) -> None:
    async with guard:
        pass


def test_a_start_that_is_refused_looks_at_no_application() -> None:
    """It would make the middlewares, and the rules in them, a second time: advice would be told twice."""
    guard = make_guard()
    made: list[object] = []
    refused: list[BaseException] = []

    class StartingAgain(Counted):
        """While it is made, another loop starts the guard."""

        def __init__(self, app: ASGIApp) -> None:
            super().__init__(app, made=made)
            if len(made) == 1:
                thread = threading.Thread(target=self._start_again)
                thread.start()
                thread.join()

        def _start_again(self) -> None:
            try:
                asyncio.run(_started_and_left(guard))
            except ConfigurationError as exc:
                refused.append(exc)

    rules = Middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule("/chat")])
    app = Starlette(middleware=[rules, Middleware(StartingAgain)], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    asyncio.run(_started_and_left(guard))
    assert (len(made), len(refused)) == (1, 1)


def test_guards_that_start_at_once_make_the_middlewares_of_their_application_once() -> None:
    for _ in range(ROUNDS):
        guards = [make_guard() for _ in range(LOOPS)]
        made: list[object] = []
        app = Starlette(
            middleware=[
                *(Middleware(StreamGuardMiddleware, guard=guard, rules=[StreamRule("/chat")]) for guard in guards),
                Middleware(Counted, made=made),
            ]
        )
        for number, guard in enumerate(guards):
            guard.install(app, f"/api/{number}")
        raced([lambda guard=guard: _started_and_left(guard) for guard in guards])  # type: ignore[misc]
        assert len(made) == 1


class FailingMessages(MemoryMessageStore):
    async def start(self) -> list[str]:
        raise OSError("no such disk")


class NamedStore(RedisStore):
    """Has `closing` called while the client of its quota store is closed."""

    def __init__(self, url: str, closing: Callable[[], Awaitable[None]]) -> None:
        super().__init__(url)
        self._closing = closing

    def new_client(self) -> RedisClient:
        client, close = super().new_client(), self._closing

        class Client(type(client)):  # type: ignore[misc] # whatever it is
            async def aclose(self) -> None:
                await close()
                await super().aclose()

        client.__class__ = Client
        return client


@pytest.mark.anyio
async def test_a_start_that_fails_has_its_home_until_its_quota_store_is_closed(redis_url: str) -> None:
    """A start in between would have the quota store closed that it has just made."""
    refused: list[bool] = []

    async def start_again() -> None:
        with pytest.raises(ConfigurationError, match="already"):
            await guard.__aenter__()
        refused.append(True)

    guard = StreamGuard(NamedStore(redis_url, start_again), authenticate=user_of, messages=FailingMessages())

    @guard.stream("request.query_params.id", quota=Quota(10, "day", "requests"))
    async def chat(request: Request) -> AsyncIterator[str]:
        yield ""

    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            await guard.__aenter__()
    assert refused == [True, True]


class CancelledStore(MemoryStore):
    """Has its guard's start cancelled, when the store is probed for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.scope = anyio.CancelScope()
        self.closed = 0

    async def ping(self) -> None:
        self.scope.cancel()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed += 1
        await super().aclose()


@pytest.mark.anyio
async def test_a_start_that_is_cancelled_closes_what_it_had_started() -> None:
    store = CancelledStore()
    guard = StreamGuard(store, authenticate=user_of)
    with store.scope:
        await guard.__aenter__()
    assert (store.scope.cancelled_caught, store.closed) == (True, 1)
    with pytest.raises(NotStartedError):
        await guard.idle()
