"""One application on every framework and every server: same terminal record, saved row and settlement.

A server process runs several of these tests; the one that ends it starts it again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest

from tests.e2e.logs import codes, terminals
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, SseConnection, open_sse, resume, ui_text
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Server, Worker

pytestmark = pytest.mark.anyio

FRAMEWORKS: Final = ("fastapi", "starlette", "litestar")
SERVERS: Final[dict[Server, int | None]] = {"uvicorn": None, "hypercorn": 30, "granian": None}
"""Each server's own graceful timeout, in seconds; None: it waits for every connection."""
SETTINGS: Final = {
    "heartbeat_seconds": 0.25,
    "sweep_seconds": 0.3,
    "drain_seconds": 1.0,
    "max_sync_streams": 1,
    "settle_visible_seconds": 0.5,
}


class Site(NamedTuple):
    """One server process, and the Redis in which it keeps everything."""

    worker: Worker
    redis: RedisServer


class Chat:
    """One owner's one conversation, and what a client and an operator see of it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.id = f"chat-{uuid4().hex[:12]}"
        self.headers = {"X-User": f"user-{uuid4().hex[:12]}", "Content-Type": "application/json"}

    def post(self, path: str = "/api/chat", **script: object) -> AbstractAsyncContextManager[SseConnection]:
        words = {"id": self.id, **script}
        target = f"{path}?{urlencode(words)}"
        body = json.dumps(words).encode()
        return open_sse(self.site.worker.port, target, method="POST", headers=self.headers, body=body)

    def resume(self, cursor: str | None = None) -> AbstractAsyncContextManager[SseConnection]:
        return resume(self.site.worker.port, self.id, cursor, headers=self.headers)

    async def ask(self, method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
            return await client.request(method, self.site.worker.url + path, headers=self.headers)

    async def open_gate(self) -> None:
        assert (await self.ask("POST", f"/gate/{self.id}")).status_code == 204

    async def left(self) -> dict[str, object]:
        """What is left of the conversation's one answer once all of it is settled."""

        async def settled() -> bool:
            last = (await self.ask("GET", f"/api/chat/{self.id}")).json()["last"]
            return last is not None and (last["persisted"], last["quota"]) == ("yes", "settled")

        await until(settled, description="the answer is saved and settled")
        status: dict[str, Any] = (await self.ask("GET", f"/api/chat/{self.id}")).json()
        (limit,) = status["quota"]["limits"]
        (terminal,) = terminals(self.site.redis, status["last"]["stream_id"])
        rows = (await self.ask("GET", f"/api/chat/{self.id}/messages")).json()["messages"]
        return {
            "terminal": terminal["outcome"],
            "rows": [
                (row["role"], row["status"], row["outcome"], "".join(part.get("text", "") for part in row["parts"]))
                for row in rows
            ],
            "charged": (limit["used"], limit["reserved"]),
        }


def left(outcome: str, pieces: int) -> dict[str, object]:
    """What is left of an answer that said this many pieces."""
    state = "complete" if outcome == "completed" else "partial"
    text = "".join(f"w{number} " for number in range(pieces))
    return {"terminal": outcome, "rows": [("assistant", state, outcome, text)], "charged": (pieces, 0)}


async def until(asked: Callable[[], Awaitable[bool]], *, description: str) -> None:
    either: Callable[[], Awaitable[bool] | bool] = asked
    await wait_until_async(either, description=description)


async def said(stream: SseConnection, text: str) -> None:
    """Read until the answer has said this."""
    while (event := await stream.next_event()) is not None:
        if text in event.data:
            return
    raise AssertionError(f"the answer ended before {text}")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
        immortal = server.keys_without_ttl()
        assert not immortal, f"keys without a TTL: {immortal[:10]}"


@pytest.fixture(scope="module", params=[f"{framework}-{server}" for framework in FRAMEWORKS for server in SERVERS])
def place(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Site]:
    framework, _, server = request.param.partition("-")
    worker = Worker(
        f"tests.apps.matrix.on_{framework}:application",
        env={"STREAMGUARD_URL": redis.url, "STREAMGUARD_SETTINGS": json.dumps(SETTINGS)},
        server=server,
        graceful_seconds=SERVERS[server],
    )
    yield Site(worker, redis)
    worker.close()


@pytest.fixture
def chat(place: Site) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place)


async def test_completion(chat: Chat) -> None:
    async with chat.post() as stream:
        events = await stream.read_rest()
        assert (stream.status, stream.ending, events[-1].data) == (200, Ending.CLEAN, "[DONE]")
        assert ui_text(events) == "w0 w1 w2 "
    assert await chat.left() == left("completed", 3)
    async with chat.resume(events[1].id) as again:
        assert await again.read_rest() == events[2:]


@pytest.mark.promise("I1")
async def test_a_client_that_leaves(chat: Chat) -> None:
    async with chat.post(gate=chat.id) as stream:
        await stream.read_events(2)
    await chat.open_gate()
    assert await chat.left() == left("completed", 3)


async def test_a_stop(chat: Chat) -> None:
    async with chat.post(gate=chat.id, gate_at=2) as stream:
        await said(stream, "w1")
        assert (await chat.ask("POST", f"/api/chat/{chat.id}/stop")).status_code == 202
        rest = await stream.read_rest()
        assert rest[-1].data == "[DONE]"
        assert stream.ending is Ending.CLEAN
    assert await chat.left() == left("stopped", 2)


async def test_a_failure_in_the_middle(chat: Chat) -> None:
    async with chat.post(crash_at=2) as stream:
        events = await stream.read_rest()
        assert codes(events) == ["provider_error"]
        assert (stream.ending, events[-1].data) == (Ending.CLEAN, "[DONE]")
        assert b"secret words" not in stream.body
    assert await chat.left() == left("failed", 2)


async def test_a_failure_before_the_first_piece(chat: Chat) -> None:
    async with chat.post(crash_at=0) as stream:
        await stream.read_rest()
        assert (stream.status, json.loads(stream.body)["error"]["code"]) == (502, "provider_error")
    status = (await chat.ask("GET", f"/api/chat/{chat.id}")).json()
    assert [(limit["used"], limit["reserved"]) for limit in status["quota"]["limits"]] == [(0, 0)]
    async with chat.resume() as again:
        assert again.status == 204


async def test_sync_generators_take_turns(chat: Chat) -> None:
    """One thread is all there is here."""
    other = Chat(chat.site)
    async with chat.post("/api/threaded", gate=chat.id) as stream:
        await said(stream, "w0")
        async with other.post("/api/threaded") as refused:
            await refused.read_rest()
            fault = json.loads(refused.body)["error"]
            assert (refused.status, fault["code"], fault["reason"]) == (503, "limit_streams", "max_sync_streams")
            assert "retry-after" in refused.headers
    await chat.open_gate()  # after its client has left
    assert await chat.left() == left("completed", 3)

    async def admitted() -> bool:
        async with other.post("/api/threaded") as stream:
            await stream.read_rest()
        return stream.status == 200

    await until(admitted, description="the thread is free")
    assert await other.left() == left("completed", 3)


async def test_sigterm(chat: Chat) -> None:
    """Whose answer is cut off is told so by the server that is going; the next one knows all of it."""
    worker = chat.site.worker
    async with chat.post(gate=chat.id, gate_at=2) as stream:
        await said(stream, "w1")
        worker.terminate()
        rest = await stream.read_rest()
        assert codes(rest) == ["shutting_down"]
        assert (stream.ending, rest[-1].data) == (Ending.CLEAN, "[DONE]")
    await wait_until_async(lambda: not worker.alive, description="the server has ended")
    worker.start()
    assert await chat.left() == left("interrupted", 2)
