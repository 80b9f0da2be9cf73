"""The symptoms of the troubleshooting page, provoked: what the page says that one sees is what one sees."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis

from streamguard import Authenticate, Settings, StreamGuard, anonymous
from streamguard.log_lines import LogEvent
from streamguard.observations import Signal
from streamguard.testing import GuardedApp

from .preamble import owner
from .samples import ROOT

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs/how-to/symptoms.md").read_text()
QUESTION = {"id": "c1", "messages": []}


class Body(BaseModel):
    id: str
    messages: list[dict[str, object]]


class Served:
    """A guarded application whose answer waits in its middle until it is let go on."""

    def __init__(
        self, store: str = "memory://", authenticate: Authenticate = owner, settings: Settings | None = None
    ) -> None:
        self.go_on = asyncio.Event()
        self.guard = StreamGuard(store, authenticate=authenticate, settings=settings)
        self.app = FastAPI(lifespan=self.guard.lifespan)

        @self.app.post("/api/chat")
        @self.guard.stream(session="body.id")
        async def chat(body: Body) -> AsyncIterator[str]:
            yield "Hello "
            await self.go_on.wait()
            yield "there."

        self.guard.install(self.app, "/api/chat")

    def visitor(self, name: str = "ann") -> GuardedApp:
        return GuardedApp(self.app, self.guard, prefix="/api/chat", headers={"X-User": name})


def test_every_section_says_what_to_do() -> None:
    for heading in (
        "204 after a reload",
        "Stop is 403",
        "Half an answer",
        "`not_resumable`",
        "It waits for 20 seconds",
    ):
        assert f"\n## {heading}\n" in PAGE


def test_log_lines_and_settings_that_the_page_names_exist() -> None:
    known = {*map(str, Signal), *map(str, LogEvent)}
    assert set(re.findall(r"`(streamguard\.[a-z_]+)`", PAGE)) <= known | {"streamguard.end"}
    for setting, value in re.findall(r"`([a-z_]+_seconds)` \(([\d,]+)\)", PAGE):
        assert Settings.model_fields[setting].default == float(value.replace(",", "")), setting


async def test_204_says_whether_there_was_an_answer() -> None:
    served = Served(settings=Settings(replay_after_finish_seconds=0))
    served.go_on.set()
    async with served.visitor() as ann:
        nothing = await ann.resume("c1")
        assert (nothing.status, nothing.headers["x-resume-reason"]) == (204, "none")
        await (await ann.post(QUESTION)).rest()
        await ann.idle()
        over = await ann.resume("c1")
        assert (over.status, over.headers["x-resume-reason"]) == (204, "finished")


@pytest.mark.parametrize("session", ["", ".", "..", "a" * 257, "a\nb"])
async def test_an_id_that_is_none_is_400(session: str) -> None:
    served = Served()
    async with served.visitor() as ann:
        refused = await ann.post({"id": session, "messages": []})
        assert (refused.status, [fault.code for fault in refused.faults]) == (400, ["session_invalid"])


async def test_an_id_of_ones_own_events_is_no_cursor() -> None:
    served = Served()
    async with served.visitor() as ann:
        refused = await ann.resume("c1", after="7")
        assert (refused.status, [fault.code for fault in refused.faults]) == (400, ["cursor_invalid"])


async def test_stop_from_another_origin_is_403_and_names_it() -> None:
    served = Served(authenticate=anonymous)
    async with served.visitor() as ann:
        await (await ann.post(QUESTION)).read(1)
        elsewhere = {"Origin": "https://app.example.com", "Cookie": "session=1"}
        refused = await ann.request("POST", "/api/chat/c1/stop", headers=elsewhere)
        assert refused.status == 403
        (fault,) = refused.faults
        assert fault.code == "forbidden_origin"
        assert "https://app.example.com" in fault.message
        served.go_on.set()


async def test_a_cookie_that_did_not_come_is_set_again() -> None:
    served = Served(authenticate=anonymous)
    served.go_on.set()
    async with served.visitor() as ann:
        first = await ann.post(QUESTION)
        await first.rest()
        second = await ann.post(QUESTION)
        await second.rest()
        ann.cookies.clear()
        third = await ann.post(QUESTION)
        await third.rest()
        assert ["set-cookie" in answer.headers for answer in (first, second, third)] == [True, False, True]


async def test_an_answer_whose_log_cannot_be_written_goes_on_and_says_so() -> None:
    served = Served()
    async with served.visitor() as ann:
        ann.store.fail()
        answer = await ann.post(QUESTION)
        served.go_on.set()
        await answer.rest()
        assert answer.text == "Hello there."
        assert "not_resumable" in [fault.code for fault in answer.faults]


async def test_a_second_question_is_409() -> None:
    served = Served()
    async with served.visitor() as ann:
        first = await ann.post(QUESTION)
        second = await ann.post(QUESTION)
        assert (second.status, second.faults[0].code) == (409, "conflict_active")
        served.go_on.set()
        await first.rest()


async def test_two_tabs_show_one_answer() -> None:
    served = Served()
    async with served.visitor() as ann:
        first = await ann.post(QUESTION)
        other = await ann.resume("c1")
        served.go_on.set()
        await first.rest()
        await other.rest()
        assert first.text == other.text == "Hello there."


async def test_another_process_with_its_own_memory_knows_nothing() -> None:
    one, other = Served(), Served()
    one.go_on.set()
    async with one.visitor() as ann, other.visitor() as elsewhere:
        answer = await ann.post(QUESTION)
        await answer.rest()
        assert (await elsewhere.resume("c1")).status == 204
        gone = await elsewhere.resume("c1", after=answer.cursor)
        assert (gone.status, gone.faults[0].reason) == (410, "stream_gone")


async def test_a_log_that_redis_deleted_is_410_stream_gone(redis_url: str) -> None:
    served = Served(redis_url, settings=Settings(namespace="symptoms"))
    served.go_on.set()
    async with served.visitor() as ann:
        answer = await ann.post(QUESTION)
        await answer.rest()
        await ann.idle()
        async with Redis.from_url(redis_url) as redis:
            keys = [key async for key in redis.scan_iter("symptoms:*")]
            await redis.delete(*(key for key in keys if b":l:" in key or b":m:" in key))
        gone = await ann.resume("c1", after=answer.cursor)
        assert (gone.status, gone.faults[0].reason) == (410, "stream_gone")
