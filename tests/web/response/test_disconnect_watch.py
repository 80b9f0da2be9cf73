"""How the watch for a client that leaves ends, in the task that watches."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from streamguard.web.response.disconnect_watch import DisconnectWatch

from ...harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio


class Request:
    """A request whose client may leave, and a watch for that."""

    def __init__(self) -> None:
        self.asked = False
        self.over = asyncio.Event()
        self.broken_off = False
        self.told: list[str] = []
        self.watch = DisconnectWatch(
            self.receive,
            on_left=lambda: self.told.append("left"),
            enter=lambda callback: callback(),
            loop=asyncio.get_running_loop(),
        )

    async def receive(self) -> Message:
        self.asked = True
        try:
            await self.over.wait()
        except asyncio.CancelledError:
            self.broken_off = True
            raise
        return {"type": "http.disconnect"}

    async def watched(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.watch.until_left())
        await wait_until_async(lambda: self.asked, description="it watches")
        return task


async def test_a_client_that_leaves_is_told_of() -> None:
    request = Request()
    task = await request.watched()
    request.over.set()
    await asyncio.wait_for(task, 20)
    assert request.told == ["left"]
    assert request.watch.client_left


async def test_a_watch_that_is_over_is_broken_off_and_tells_nothing() -> None:
    request = Request()
    task = await request.watched()
    request.watch.end()
    await asyncio.wait_for(task, 20)
    assert request.broken_off
    assert not request.told
    assert not request.watch.client_left


@pytest.mark.parametrize("server_tells", [True, False])
async def test_after_an_answer_it_is_broken_off_only_if_the_server_says_nothing(server_tells: bool) -> None:
    request = Request()
    task = await request.watched()
    if server_tells:
        request.over.set()
    request.watch.end(answered=True)
    await asyncio.wait_for(task, 20)
    assert request.broken_off is not server_tells
    assert not request.told
    assert not request.watch.client_left
    assert not task.cancelled()
