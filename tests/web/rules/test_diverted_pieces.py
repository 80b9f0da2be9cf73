"""Pieces that the application's own task gives to the encoder: whole, in order, and as limited as all others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request

from ..serving import make_guard
from .inside import PATH, client_of, guarding, sse, status_of

pytestmark = [pytest.mark.anyio, pytest.mark.long]  # a server for each

COUNT = 500


class Counting:
    """Gives up the loop before each block, as reading an upstream does, so that the producer waits for each."""

    def __init__(self) -> None:
        self.last = -1
        self.closed = asyncio.Event()

    async def blocks(self, _: Request) -> AsyncIterator[bytes]:
        try:
            for self.last in range(COUNT):
                await asyncio.sleep(0)
                yield b"data: %d\n\n" % self.last
        finally:
            self.closed.set()


def numbers(body: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"data: (\d+)\n\n", body)]


async def test_a_stream_of_many_turns_is_whole() -> None:
    counting = Counting()
    async with client_of(guarding(make_guard(), sse(counting.blocks))) as client:
        answer = await client.post(PATH, json={"id": "s"})
        assert numbers(answer.content) == list(range(COUNT))
        assert (await client.get("/api/chat/s/stream")).content == answer.content


@pytest.mark.parametrize(("limit", "most"), [("max_stream_events", 50), ("max_stream_bytes", 1_000)])
async def test_a_limit_ends_the_stream_and_the_application_s_call(limit: str, most: int) -> None:
    counting = Counting()
    async with client_of(guarding(make_guard(**{limit: most}), sse(counting.blocks))) as client:
        answer = await client.post(PATH, json={"id": "s"})
        found = numbers(answer.content)
        assert found == list(range(len(found)))
        assert 0 < len(found) < COUNT
        assert b"too_long" in answer.content
        assert (await status_of(client))["outcome"] == "failed"
        await asyncio.wait_for(counting.closed.wait(), 10)
        assert counting.last < COUNT - 1


async def test_a_stop_ends_the_stream_and_the_application_s_call() -> None:
    counting, begun = Counting(), asyncio.Event()

    async def endless(request: Request) -> AsyncIterator[bytes]:
        async for block in counting.blocks(request):
            yield block
        counting.closed.clear()
        try:
            begun.set()
            while True:
                await asyncio.sleep(0)
                yield b": still there\n\n"
        finally:
            counting.closed.set()

    async with client_of(guarding(make_guard(), sse(endless))) as client:
        asking = asyncio.create_task(client.post(PATH, json={"id": "s"}))
        await asyncio.wait_for(begun.wait(), 10)
        (await client.post("/api/chat/s/stop")).raise_for_status()
        assert numbers((await asking).content) == list(range(COUNT))
        await asyncio.wait_for(counting.closed.wait(), 10)
        assert (await status_of(client))["outcome"] == "stopped"
