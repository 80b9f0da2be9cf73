"""An application behind `StreamGuardMiddleware`, on each server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, SseEvent
from tests.harness.workers import ROOT, Server, Worker

from .matrix import GRACEFUL_SECONDS, SETTINGS, Chat, Site, said, until

pytestmark = pytest.mark.anyio

PATH: Final = "/v1/chat/completions"
FILE: Final = ROOT / "tests/apps/passed_on.py"


@pytest.fixture(scope="module", params=list(GRACEFUL_SECONDS))
def place(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Site]:
    server: Server = request.param
    worker = Worker(
        "tests.apps.passed_on:application",
        env={"STREAMGUARD_URL": redis.url, "STREAMGUARD_SETTINGS": json.dumps(SETTINGS)},
        server=server,
        graceful_seconds=GRACEFUL_SECONDS[server],
    )
    yield Site(worker, redis)
    worker.close()


@pytest.fixture
def chat(place: Site) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place)


def text_of(events: list[SseEvent]) -> str:
    chunks = [json.loads(event.data) for event in events if event.data.startswith("{")]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if "choices" in chunk)


async def left(chat: Chat) -> tuple[str, str, int]:
    """The stream's outcome, the saved text and what was charged, once all of it is settled."""

    async def settled() -> bool:
        last = (await chat.ask("GET", f"/api/chat/{chat.id}")).json()["last"]
        return last is not None and (last["persisted"], last["quota"]) == ("yes", "settled")

    await until(settled, description="the answer is saved and settled")
    status = (await chat.ask("GET", f"/api/chat/{chat.id}")).json()
    (row,) = (await chat.ask("GET", f"/api/chat/{chat.id}/messages")).json()["messages"]
    (limit,) = status["quota"]["limits"]
    assert limit["reserved"] == 0
    return status["last"]["outcome"], "".join(part.get("text", "") for part in row["parts"]), limit["used"]


async def test_completion(chat: Chat) -> None:
    async with chat.post(PATH, gate=chat.id) as stream:
        await said(stream, "w0")
        await chat.open_gate()
        rest = await stream.read_rest()
        assert (stream.status, stream.ending, rest[-1].data) == (200, Ending.CLEAN, "[DONE]")
    assert await left(chat) == ("completed", "w0 w1 w2 ", 3)


@pytest.mark.promise("I1")
@pytest.mark.parametrize("polls", ["", "1"], ids=["", "an application that looks for a disconnect"])
async def test_a_client_that_leaves(chat: Chat, polls: str) -> None:
    async with chat.post(PATH, gate=chat.id, polls=polls) as stream:
        await said(stream, "w0")
    await chat.open_gate()
    assert await left(chat) == ("completed", "w0 w1 w2 ", 3)
    async with chat.resume() as again:
        assert text_of(await again.read_rest()) == "w0 w1 w2 "


async def test_a_stop(chat: Chat) -> None:
    async with chat.post(PATH, gate=chat.id) as stream:
        await said(stream, "w0")
        assert (await chat.ask("POST", f"/api/chat/{chat.id}/stop")).status_code == 202
        rest = await stream.read_rest()
        assert (stream.ending, rest[-1].event) == (Ending.CLEAN, "error")
    outcome, text, _ = await left(chat)
    assert (outcome, text) == ("stopped", "w0 ")


async def test_a_failure(chat: Chat) -> None:
    async with chat.post(PATH, crash_at=1) as stream:
        events = await stream.read_rest()
        assert (stream.ending, events[-1].event) == (Ending.CLEAN, "error")
        assert b"secret words" not in bytes(stream.body)
    outcome, text, _ = await left(chat)
    assert (outcome, text) == ("failed", "w0 ")


async def test_what_is_no_stream(chat: Chat) -> None:
    async with httpx.AsyncClient(base_url=chat.site.worker.url, headers=chat.headers, trust_env=False) as client:
        for _ in range(2):
            whole = await client.post(PATH, params={"id": chat.id, "whole": 1})
            assert (whole.status_code, whole.json()) == (200, {"id": chat.id})
            assert "x-stream-id" not in whole.headers
        code = FILE.read_bytes()
        assert (await client.get("/v1/files")).content == code
        part = await client.get("/v1/files", headers={"range": "bytes=10-29"})
        assert (part.status_code, part.content) == (206, code[10:30])
        head = await client.head("/v1/files")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(code)))
        options = await client.options("/v1/files")
        assert options.status_code == 405


async def test_a_large_upload(chat: Chat) -> None:
    piece = hashlib.sha256(uuid4().bytes).digest() * 32_768  # a MiB

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield piece

    async with httpx.AsyncClient(base_url=chat.site.worker.url, trust_env=False, timeout=60) as client:
        headers = {"x-user": chat.headers["X-User"], "content-type": "application/octet-stream"}
        answer = await client.post("/v1/files", content=pieces(), headers=headers)
    assert answer.text == str(100 * len(piece))
