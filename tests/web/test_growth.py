"""No request costs more because its owner has finished sessions: Redis commands and SQL statements are counted.

A save looks at the stream's record if its session is not open yet in the message store. Which comes first depends on
how busy the machine is, so here the answer waits until its session is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import create_async_engine

from streamguard import StreamGuard
from streamguard.messages import MessageStore, Opened, RedisMessageStore
from streamguard.messages.sql import SQLMessageStore
from streamguard.settings import Settings
from streamguard.stores import RedisClient
from streamguard.values import SessionKey
from tests.harness.redis import RedisServer

from .saved import Body
from .serving import USER, user_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UNCOUNTED: Final = ("info", "config", "scan", "dbsize", "ping", "script")
QUIET: Final = Settings(
    lease_seconds=600,
    heartbeat_seconds=120,
    sweep_seconds=600,
    max_streams_per_owner=1_000,
    command_seconds=20,
    registration_seconds=20,
    append_deadline_seconds=20,
)
"""Nothing runs beside the requests that are counted, and none does without Redis because the machine is busy."""
SLACK: Final = 4
"""A request may meet another one's lazy work, of a few commands; it never costs less than the least."""

Step = Callable[[], Awaitable[object]]


class Counted:
    """Counts what a step costs: the least of some."""

    def __init__(self, server: RedisServer) -> None:
        self._client = server.client()
        self._statements = 0
        event.listen(Engine, "before_cursor_execute", self._executed)

    def close(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._executed)

    def _executed(self, *_: object) -> None:
        self._statements += 1

    async def cost(self, step: Step) -> tuple[int, int]:
        """Commands and statements."""
        return min([await self._once(step) for _ in range(4)])

    async def _once(self, step: Step) -> tuple[int, int]:
        self._client.config_resetstat()
        self._statements = 0
        await step()
        found: dict[str, Any] = self._client.info("commandstats")
        calls = [
            int(stats["calls"])
            for name, stats in found.items()
            if not name.removeprefix("cmdstat_").startswith(UNCOUNTED)
        ]
        return sum(calls), self._statements

    def keys(self) -> int:
        """How many there are."""
        return int(self._client.dbsize())


def app_of(guard: StreamGuard, messages: MessageStore, opened: asyncio.Event) -> FastAPI:
    """Its endpoint saves its answers there, and waits until their session is open."""
    open_session = messages.open_session

    async def tell(key: SessionKey) -> Opened:
        found = await open_session(key)
        opened.set()
        return found

    messages.open_session = tell  # type: ignore[method-assign]
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream("body.id", save=messages)
    async def chat(body: Body) -> AsyncIterator[str]:
        await opened.wait()
        yield "hello"

    guard.install(app, "/api/chat")
    return app


def _never_wait_for_the_disk(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.close()


@pytest.mark.parametrize("kind", ["redis", "sql"])
async def test_no_request_costs_more_after_a_thousand_finished_sessions(
    kind: str, own_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = own_redis()
    client = RedisClient(server.url, command_seconds=20)
    messages: MessageStore = RedisMessageStore(client, ttl_seconds=3600)
    if kind == "sql":
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'messages.db'}")
        event.listen(engine.sync_engine, "connect", _never_wait_for_the_disk)
        messages = sql = SQLMessageStore(engine)
        await sql.create_tables()
    counted = Counted(server)
    guard = StreamGuard(server.url, authenticate=user_of, messages=messages, settings=QUIET)
    opened = asyncio.Event()
    app = app_of(guard, messages, opened)
    try:
        transport = httpx.ASGITransport(app)
        async with guard, httpx.AsyncClient(transport=transport, base_url="http://test", headers=USER) as asking:
            number = 0

            async def post(session: str) -> None:
                opened.clear()
                answer = await asking.post("/api/chat", json={"id": session})
                assert answer.status_code == 200, answer.text
                await guard.idle()

            async def post_new() -> None:
                nonlocal number
                number += 1
                await post(f"new-{number}")

            async def get(path: str) -> None:
                answer = await asking.get(f"/api/chat{path}")
                assert answer.status_code in (200, 204), answer.text

            async def stop() -> None:
                assert (await asking.post("/api/chat/old/stop")).status_code in (202, 204)

            async def erase() -> None:
                await post_new()
                assert (await asking.delete(f"/api/chat/new-{number}")).status_code < 300

            steps: dict[str, Step] = {
                "a question in a new session": post_new,
                "a question in an old session": lambda: post("old"),
                "resume": lambda: get("/old/stream"),
                "status": lambda: get("/old"),
                "messages": lambda: get("/finished-10-0/messages"),
                "stop": stop,
            }
            if kind == "redis":
                steps["erase"] = erase
            found: dict[int, dict[str, tuple[int, int]]] = {}
            keys: dict[int, int] = {}
            for _ in range(70):  # bounded lists of its streams are full then
                await post("old")
            for finished in (10, 1_000):
                for session in range(finished):
                    await post(f"finished-{finished}-{session}")
                found[finished] = {name: await counted.cost(step) for name, step in steps.items()}
                before = counted.keys()
                await post_new()
                keys[finished] = counted.keys() - before
    finally:
        counted.close()
        await client.aclose()
        if kind == "sql":
            await engine.dispose()
    grown = {
        name: (few, found[1_000][name])
        for name, few in found[10].items()
        if any(now > then + SLACK for then, now in zip(few, found[1_000][name], strict=True))
    }
    assert grown == {}
    assert keys[1_000] <= keys[10]
