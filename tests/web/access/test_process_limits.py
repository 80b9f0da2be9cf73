"""Who is refused at the edge, by a limit of the process or of an owner, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from streamguard import Anonymous, Settings, StreamGuard
from streamguard.quota import Quota
from tests.harness.redis import RedisServer

from ..serving import Gate, calling, make_guard
from .strangers import SECRET, Body, Strangers, owner_cookie, why

pytestmark = pytest.mark.anyio


# -- the process ------------------------------------------------------------------------------------------------------


async def test_a_process_has_so_many_streams() -> None:
    strangers = Strangers(max_streams_per_process=2)
    async with strangers.running():
        strangers.gate = gate = Gate()
        running = [asyncio.create_task(strangers.ask(f"203.0.113.{number}")) for number in range(2)]
        while strangers.guard._running().health().streams < 2:
            await asyncio.sleep(0)
        refused = await strangers.ask("203.0.113.9", idempotency_key="k")
        assert why(refused) == (503, "limit_streams", "max_streams_per_process")
        gate.open()
        await asyncio.gather(*running)
        await strangers.guard.idle()
        assert (await strangers.ask("203.0.113.9", idempotency_key="k")).status_code == 200


async def test_of_many_that_come_at_once_no_more_are_opened_than_a_process_may_have() -> None:
    strangers = Strangers(max_streams_per_process=3)
    async with strangers.running():
        strangers.gate = gate = Gate()
        running = [asyncio.create_task(strangers.ask(f"203.0.113.{number}")) for number in range(10)]
        while sum(task.done() for task in running) < 7:
            await asyncio.sleep(0)
        assert strangers.guard._running().health().streams == 3
        gate.open()
        assert sorted([answer.status_code for answer in await asyncio.gather(*running)]) == [200] * 3 + [503] * 7


async def test_a_process_has_so_many_viewers() -> None:
    strangers = Strangers(max_viewers_per_process=1)
    async with strangers.running():
        strangers.gate = gate = Gate()
        running = asyncio.create_task(strangers.ask("203.0.113.1"))
        await gate.reached.wait()
        for method, path in (("POST", "/api/chat"), ("GET", "/api/chat/s/stream")):
            refused = await strangers.ask("203.0.113.2", method, path)
            assert why(refused) == (503, "limit_viewers", "max_viewers_per_process")
        gate.open()
        await running
        assert (await strangers.ask("203.0.113.2", "GET", "/api/chat/s/stream")).status_code == 204


# -- owners -----------------------------------------------------------------------------------------------------------


async def test_downloads_and_pages_count_as_resumes() -> None:
    guard = make_guard(max_resumes_per_minute=3)
    app = FastAPI()
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        paths = ["s/stream", f"s/streams/{'0' * 24}/raw", "s/messages"]
        first = [await client.get(f"/api/chat/{path}") for path in paths]
        assert [answer.status_code for answer in first] == [204, 404, 404]
        for path in paths:
            refused = await client.get(f"/api/chat/{path}")
            assert why(refused) == (429, "limit_rate", "max_resumes_per_minute")
        assert (await client.get("/api/chat/s")).status_code == 200
        assert (await client.get("/api/chat/s/messages", headers={"X-User": "eve"})).status_code == 404


async def test_an_answer_that_is_shared_counts_as_a_resume() -> None:
    guard = make_guard(max_resumes_per_minute=1)
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "a"

    async with calling(app, guard) as client:
        headers = {"Idempotency-Key": "k"}
        answers = [await client.post("/api/chat", json={"id": "s"}, headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert why(answers[2]) == (429, "limit_rate", "max_resumes_per_minute")
        assert guard._context.limits.viewers.count == 0


async def test_stops_and_erasures_are_limited_together() -> None:
    guard = make_guard(max_changes_per_minute=2)
    app = FastAPI()
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        assert (await client.post("/api/chat/s/stop")).status_code == 204
        assert (await client.delete("/api/chat/s")).status_code == 204
        for refused in (await client.delete("/api/chat/s"), await client.post("/api/chat/s/stop")):
            assert why(refused) == (429, "limit_rate", "max_changes_per_minute")
        assert (await client.delete("/api/chat/s", headers={"X-User": "eve"})).status_code == 204


async def test_who_is_refused_over_and_over_is_refused_before_a_store_is_asked() -> None:
    strangers = Strangers(quota=Quota(limit=1, per="day", unit="requests"), max_changes_per_minute=3)
    async with strangers.running():
        cookie = await owner_cookie(strangers, "203.0.113.7")
        answers = [await strangers.ask("203.0.113.7", cookie=cookie, idempotency_key=f"{n}") for n in range(5)]
        assert [json.loads(answer.content)["error"]["code"] for answer in answers] == [
            *["quota_exceeded"] * 3,
            *["limit_rate"] * 2,
        ]
        assert why(answers[4]) == (429, "limit_rate", "max_changes_per_minute")


# -- what is left -----------------------------------------------------------------------------------------------------


async def test_requests_that_are_refused_leave_nothing(redis_server: RedisServer, redis_database: int) -> None:
    """By quota, by a conflict, by the owner's limit, by the process's, by rate, and by the endpoint itself."""
    url = redis_server.database_url(redis_database)
    strangers = Strangers(
        url, quota=Quota(limit=2, per="day", unit="requests"), max_streams_per_owner=1, command_seconds=5
    )
    client = redis_server.client(redis_database)
    failing = True

    @strangers.app.post("/api/failing")
    @strangers.guard.stream(quota=False)
    async def fails() -> AsyncIterator[str]:
        if failing:
            raise RuntimeError
        yield "a"

    async with strangers.running():
        cookie = await owner_cookie(strangers, "203.0.113.7")
        await strangers.guard.idle()
        strangers.gate = gate = Gate()
        running = asyncio.create_task(strangers.ask("203.0.113.7", cookie=cookie))
        await gate.reached.wait()

        def keys() -> set[bytes]:
            return set(client.scan_iter("*"))

        before = keys()
        codes = []
        for path in ("/api/chat", "/api/failing"):
            for number in range(3):
                answer = await strangers.ask("203.0.113.7", path=path, cookie=cookie, idempotency_key=f"key-{number}")
                codes.append(json.loads(answer.content)["error"]["code"])
        assert set(codes) == {"quota_exceeded", "limit_streams"}
        gate.open()
        await running
        await strangers.guard.idle()
        for number in range(3):
            headers = {"cookie": cookie, "idempotency_key": f"k{number}"}
            answer = await strangers.ask("203.0.113.7", path="/api/failing", **headers)
            assert answer.status_code >= 500
        await strangers.guard.idle()
        settings = Settings()
        for key in keys() - before:
            assert b"{r." not in key
            assert client.pttl(key) <= settings.finished_ttl_seconds * 1000 * 51 / 50, key  # or up to a fiftieth more
        failing = False
        assert (await strangers.ask("203.0.113.7", path="/api/failing", idempotency_key="k1")).status_code == 200
        gc.collect()
        limits = strangers.guard._context.limits
        assert limits.viewers.count == limits.new_visitors.count == 0


async def test_erasing_what_never_was_leaves_a_mark_for_as_long_as_something_could_still_write(
    redis_server: RedisServer, redis_database: int
) -> None:
    guard = StreamGuard(
        redis_server.database_url(redis_database),
        authenticate=Anonymous(SECRET),
        settings=Settings(max_stream_seconds=100, save_total_seconds=20, command_seconds=5),
    )
    app = FastAPI()

    @app.post("/api/long")
    @guard.stream(max_stream_seconds=200)
    async def long() -> AsyncIterator[str]:
        yield "a"

    guard.install(app, "/api/chat")
    client = redis_server.client(redis_database)
    async with calling(app, guard) as browser:
        assert (await browser.delete("/api/chat/never")).status_code == 204
        assert not list(client.scan_iter("*:x"))  # a visitor of a moment ago has nothing that could be written
        stream = await browser.post("/api/long")
        cookie = {"cookie": stream.headers["set-cookie"].partition(";")[0]}
        assert (await browser.delete("/api/chat/never", headers=cookie)).status_code == 204
        (unknown,) = client.scan_iter("*:x")
        assert 200_000 < client.pttl(unknown) <= 220_000
        await browser.delete(f"/api/chat/{stream.headers['x-session-id']}", headers=cookie)
        assert sorted(client.pttl(key) > 600_000_000 for key in client.scan_iter("*:x")) == [False, True]


async def test_a_retry_needs_no_place_in_a_full_process() -> None:
    """It shares the answer that runs."""
    guard, gate, app = make_guard(max_streams_per_process=1), Gate(), FastAPI()

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "one"
        await gate.wait()

    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:

        def ask(key: str) -> asyncio.Task[httpx.Response]:
            posting = client.post("/api/chat", json={"id": "s"}, headers={"Idempotency-Key": key})
            return asyncio.create_task(posting)

        first = ask("k")
        await gate.reached.wait()
        again = ask("k")
        assert (await ask("another")).status_code == 503
        gate.open()
        answers = [await first, await again]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].headers["x-stream-id"] == answers[1].headers["x-stream-id"]
