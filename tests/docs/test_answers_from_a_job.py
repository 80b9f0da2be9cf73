"""The how-to page about answers that no request begins: what it shows does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import ModuleType

import pytest

from streamguard import Signal
from streamguard.testing import GuardedApp

from .samples import run_page

pytestmark = pytest.mark.anyio

PAGE = "docs/how-to/answers-from-a-job.md"


@pytest.fixture
def page(redis_url: str) -> Iterator[ModuleType]:
    with run_page(PAGE, redis_url=redis_url) as module:
        yield module


async def test_the_application_shown_begins_answers(page: ModuleType) -> None:
    async with GuardedApp(page.app, page.guard) as chat:
        assert (await chat.request("POST", "/report?session=c1")).status == 202
        await chat.idle()
        assert [message.text for message in await chat.messages("c1")] == ["an answer to the report "]
        assert await page.write_summary("guest", "c2") == "saved: yes"
        assert await page.remind("guest", "c3") == "sent"
        status = (await chat.request("GET", "/api/chat/c3")).json()
        assert '"used": 6' in str(status).replace("'", '"')
        first = (await chat.post({"id": "evt_1", "session": "c4"}, path="/webhook")).json()
        again = (await chat.post({"id": "evt_1", "session": "c4"}, path="/webhook")).json()
        assert (first["state"], again["state"]) == ("done", "completed")
        assert again["stream"] == first["stream"]
    await page.client.aclose()


async def test_a_user_stops_what_is_shown(page: ModuleType) -> None:
    go_on = asyncio.Event()

    async def slow(question: str) -> object:
        yield "one "
        await go_on.wait()

    page.model = slow  # type: ignore[attr-defined]
    async with GuardedApp(page.app, page.guard) as chat:
        summary = asyncio.create_task(page.write_summary("guest", "c1"))
        await chat.seen(Signal.STREAM_OPENED)
        await chat.stop("c1")
        assert await summary == "the user did not want it"
    await page.client.aclose()


def test_the_process_of_its_own_ends(page: ModuleType) -> None:
    page.run_job("c9")
