"""`abandon_after_seconds`: what becomes of an answer that nobody watches, and who says so where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError

from streamguard import ConfigurationError, Run, Settings, StreamGuard
from streamguard.messages import MemoryMessageStore
from tests.harness.sse import open_sse
from tests.runtime.counting import TOKENS

from ..harness.waiting import wait_until_async
from .serving import USER, Gate, make_guard, serving, user_of

pytestmark = pytest.mark.anyio

JSON = {**USER, "Content-Type": "application/json"}
SOON = 0.3


class Body(BaseModel):
    id: str = "s"


class Chat:
    """An application whose answers wait before each of their two words, for as long as the test wants."""

    def __init__(self, url: str = "memory://", *, option: Any = None, first_waits: bool = False, **more: Any) -> None:
        settings = Settings(heartbeat_seconds=0.1, lease_seconds=5, **more)
        self.guard = StreamGuard(url, authenticate=user_of, messages=MemoryMessageStore(), settings=settings)
        self.first, self.second = Gate(), Gate()
        if not first_waits:
            self.first.open()
        self.app = FastAPI(lifespan=self.guard.lifespan)

        @self.app.post("/chat")
        @self.guard.stream("body.id", quota=TOKENS, estimate=40, abandon_after_seconds=option)
        async def chat(body: Body, run: Run) -> AsyncIterator[str]:
            await self.first.wait()
            run.usage(tokens=7)
            yield "half "
            await self.second.wait()
            yield "an answer"

        self.guard.install(self.app, "/chat")


async def ask_and_leave(port: int) -> None:
    async with open_sse(port, "/chat", method="POST", headers=JSON, body=b'{"id": "s"}') as answer:
        await answer.read_events(2)


async def standing(port: int, path: str = "/chat/s") -> Any:
    async with httpx.AsyncClient(headers=USER) as client:
        return (await client.get(f"http://127.0.0.1:{port}{path}")).json()


async def ended(port: int) -> Any:
    """The session's status, once no answer is running."""

    async def over() -> Any:
        found = await standing(port)
        return found if found["active"] is None and found["last"] is not None else None

    return await wait_until_async(over, description="no answer is running")


@pytest.mark.long
async def test_the_part_there_is_is_saved_and_what_it_used_is_settled() -> None:
    chat = Chat(abandon_after_seconds=SOON)
    async with serving(chat.app) as port:
        await ask_and_leave(port)
        found = await ended(port)
        assert (found["last"]["outcome"], found["last"]["persisted"], found["last"]["quota"]) == (
            "interrupted",
            "yes",
            "settled",
        )
        (limit,) = found["quota"]["limits"]
        assert (limit["used"], limit["reserved"]) == (7, 0)
        (message,) = (await standing(port, "/chat/s/messages"))["messages"]
        assert (message["status"], message["outcome"], message["parts"][0]["text"]) == (
            "partial",
            "interrupted",
            "half ",
        )
        async with open_sse(port, "/chat/s/stream", headers=USER) as late:
            text = "".join(event.data for event in await late.read_rest())
        assert '"reason":"abandoned"' in text


@pytest.mark.parametrize(
    ("option", "setting", "outcome"),
    [(SOON, None, "interrupted"), (SOON, 600, "interrupted"), (False, SOON, "completed"), (600, SOON, "completed")],
)
@pytest.mark.long
async def test_the_endpoints_own_word_counts(option: Any, setting: float | None, outcome: str) -> None:
    chat = Chat(option=option, abandon_after_seconds=setting)
    async with serving(chat.app) as port:
        await ask_and_leave(port)
        if outcome == "completed":
            (stream,) = chat.guard._running().streams.values()
            assert stream.request.abandon_after_seconds == (option or None)
            chat.second.open()
        assert (await ended(port))["last"]["outcome"] == outcome


@pytest.mark.long
async def test_a_client_that_waits_for_the_first_word_is_there() -> None:
    """It has no answer yet, not even headers, for longer than an answer may go unwatched."""
    chat = Chat(first_waits=True, abandon_after_seconds=SOON)
    async with serving(chat.app) as port:
        asking = asyncio.create_task(ask_and_leave(port))
        await chat.first.reached.wait()
        (stream,) = chat.guard._running().streams.values()
        stream.feed.watched_at -= 100
        chat.guard._running()._parts.watchdog.tick(asyncio.get_running_loop().time())
        assert not stream.is_ending
        chat.first.open()
        await asking
        assert (await ended(port))["last"]["outcome"] == "interrupted"


async def test_whoever_watches_on_another_worker_keeps_it(redis_url: str) -> None:
    one, two = (Chat(redis_url, abandon_after_seconds=SOON) for _ in range(2))
    async with serving(one.app) as first, serving(two.app) as second:
        await ask_and_leave(first)
        (stream,) = one.guard._running().streams.values()
        async with open_sse(second, "/chat/s/stream", headers=USER) as viewer:
            await viewer.read_events(2)
            since = stream.feed.watched_at
            await wait_until_async(
                lambda: stream.feed.watched_at >= since + 2 * SOON, description="the writer hears of it from the store"
            )
            assert (await standing(first))["active"] is not None
            one.second.open()
            rest = "".join(event.data for event in await viewer.read_rest())
        assert "an answer" in rest
        assert (await ended(second))["last"]["outcome"] == "completed"


async def test_and_when_that_one_leaves_too_it_ends(redis_url: str) -> None:
    one, two = (Chat(redis_url, abandon_after_seconds=SOON) for _ in range(2))
    async with serving(one.app) as first, serving(two.app) as second:
        await ask_and_leave(first)
        async with open_sse(second, "/chat/s/stream", headers=USER) as viewer:
            await viewer.read_events(2)
        assert (await ended(second))["last"]["outcome"] == "interrupted"


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "soon"])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"abandon_after_seconds is a positive number of seconds, or False"):
        make_guard().stream(abandon_after_seconds=value)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "soon"])
def test_nor_may_the_setting_be(value: Any) -> None:
    with pytest.raises(ValidationError, match="abandon_after_seconds"):
        Settings(abandon_after_seconds=value)
