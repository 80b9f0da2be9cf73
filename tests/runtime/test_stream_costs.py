"""What a stream costs besides its events, counted: calls of our functions, tasks, exchanges with Redis and commands.

A count that grows fails here. One that a change makes smaller on purpose is written down anew, with the change.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope

from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.settings import Settings
from tests.harness.call_counts import counted_calls
from tests.harness.redis import RedisServer
from tests.web.serving import user_of

pytestmark = [pytest.mark.anyio, pytest.mark.repeats]

GROWTH: Final = 1.1
"""By how much a count of calls may grow."""
STREAMS: Final = 20
QUIET: Final = Settings(
    lease_seconds=600, heartbeat_seconds=120, sweep_seconds=600, max_streams_per_owner=1_000, drain_seconds=5
)
"""Nothing runs beside the streams that are counted."""
TOKENS: Final = Quota(limit=10**9, per="day", unit="tokens")


@dataclass(frozen=True)
class Kind:
    """An endpoint of one event."""

    returned: bool = False
    """It returns a response, and does not yield itself."""
    saved: bool = False
    charged: bool = False
    by_rule: bool = False
    """It is as it was, and a rule of the middleware guards it."""


@dataclass(frozen=True)
class Cost:
    """Of one stream, in the mean of some that run one after the other."""

    calls: float
    tasks: float


async def events() -> AsyncIterator[bytes]:
    yield b"data: one\n\n"


async def generator(request: Request) -> AsyncIterator[str]:
    yield "one"


async def returning(request: Request) -> StreamingResponse:
    return StreamingResponse(events(), media_type="text/event-stream")


def guarded(url: str, kind: Kind) -> tuple[StreamGuard, ASGIApp]:
    messages = MemoryMessageStore() if kind.saved else None
    guard = StreamGuard(url, authenticate=user_of, settings=QUIET, messages=messages)
    if kind.by_rule:
        inside = Starlette(routes=[Route("/chat", returning, methods=["POST"])])
        guard.install(inside, "/chat")
        return guard, StreamGuardMiddleware(inside, guard=guard, rules=[StreamRule("/chat")])
    endpoint = guard.stream(
        protocol="opaque" if kind.returned else "plain",
        quota=TOKENS if kind.charged else None,
        estimate=10 if kind.charged else None,
    )(returning if kind.returned else generator)
    app = Starlette(routes=[Route("/chat", endpoint, methods=["POST"])])
    guard.install(app, "/chat")
    return guard, app


async def ask(app: ASGIApp) -> None:
    """One request, to the end of its answer."""
    asked, sent = False, b""

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/chat",
        "raw_path": b"/chat",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"x-user", b"ann"), (b"content-length", b"0")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    assert b"one" in sent


async def run(app: ASGIApp, guard: StreamGuard, streams: int = STREAMS) -> None:
    for _ in range(streams):
        await ask(app)
        await guard.idle()


async def cost_of(url: str, kind: Kind) -> Cost:
    guard, app = guarded(url, kind)
    loop, made = asyncio.get_running_loop(), 0

    def factory(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **options: Any
    ) -> asyncio.Task[Any]:
        nonlocal made
        made += 1
        return asyncio.Task(coro, loop=loop, **options)

    async with guard:
        await run(app, guard, 3)
        with counted_calls() as counted:
            await run(app, guard)
        loop.set_task_factory(factory)
        try:
            await run(app, guard)
        finally:
            loop.set_task_factory(None)
    return Cost(counted.calls / STREAMS, made / STREAMS)


def check(cost: Cost, calls: int, tasks: int) -> None:
    assert cost.tasks < tasks + 0.5  # a duty of the worker's own may fall into the time of the streams
    assert cost.calls <= calls * GROWTH, f"{calls} calls before; write the new count down if it has to grow"


@pytest.mark.parametrize(
    ("kind", "calls", "tasks"),
    [
        pytest.param(Kind(), 536, 2, id="generator"),
        pytest.param(Kind(returned=True), 583, 2, id="returned"),
        pytest.param(Kind(by_rule=True), 679, 4, id="by a rule"),
        pytest.param(Kind(saved=True), 884, 5, id="saved"),
        pytest.param(Kind(saved=True, charged=True), 1094, 5, id="saved and charged"),
    ],
)
async def test_what_a_stream_of_one_event_costs_in_memory(kind: Kind, calls: int, tasks: int) -> None:
    check(await cost_of("memory://", kind), calls, tasks)


@dataclass(frozen=True)
class Traffic:
    """Of one stream, likewise."""

    exchanges: float
    """What Redis read at once."""
    scripts: float


async def traffic_of(server: RedisServer, kind: Kind) -> Traffic:
    guard, app = guarded(server.url, kind)
    client = server.client()
    async with guard:
        await run(app, guard, 3)
        client.config_resetstat()
        await run(app, guard)
        reads = client.info("stats")["total_reads_processed"] - 1
        scripts = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    return Traffic(reads / STREAMS, scripts / STREAMS)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "traffic", "calls", "tasks"),
    [
        pytest.param(Kind(), Traffic(2, 3), 582, 2, id="generator"),
        pytest.param(Kind(returned=True), Traffic(2, 3), 622, 2, id="returned"),
        pytest.param(Kind(by_rule=True), Traffic(2, 3), 722, 4, id="by a rule"),
        pytest.param(Kind(saved=True), Traffic(7, 6), 1090, 5, id="saved"),
        pytest.param(Kind(saved=True, charged=True), Traffic(12, 11), 1557, 5, id="saved and charged"),
    ],
)
async def test_what_a_stream_of_one_event_costs_in_redis(
    own_redis: Callable[..., RedisServer], kind: Kind, traffic: Traffic, calls: int, tasks: int
) -> None:
    """One exchange registers a stream, and one holds its event, its seal and its close, where nothing is owed."""
    server = own_redis()
    found = await traffic_of(server, kind)
    assert found.exchanges < traffic.exchanges + 0.5  # the worker's own, on a slow machine
    assert found.scripts < traffic.scripts + 0.5
    check(await cost_of(server.url, kind), calls, tasks)


@pytest.mark.parametrize("on_redis", [False, True], ids=["memory", "redis"])
@pytest.mark.parametrize(
    "kind",
    [Kind(), Kind(returned=True), Kind(by_rule=True), Kind(saved=True, charged=True)],
    ids=["generator", "returned", "by a rule", "saved and charged"],
)
async def test_a_stream_that_is_over_leaves_nothing_to_the_garbage_collector(
    kind: Kind, on_redis: bool, redis_url: str
) -> None:
    """It is freed as soon as nobody needs it. Cycles would be freed in the collector's time, which no stream gets."""
    guard, app = guarded(redis_url if on_redis else "memory://", kind)
    async with guard:
        await run(app, guard, 3)
        await settled()
        gc.collect()
        gc.disable()
        try:
            await run(app, guard)
            await settled()
            left = gc.collect()
        finally:
            gc.enable()
    assert left < STREAMS, f"{left} objects of {STREAMS} streams are left to the garbage collector"


async def settled() -> None:
    """Let the tasks and callbacks of what has just ended run to their ends."""
    for _ in range(5):
        await asyncio.sleep(0)
