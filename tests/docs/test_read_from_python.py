"""The samples of *Read answers from Python*, run against the application that the page makes."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import anyio.to_thread
import pytest

from streamguard import Outcome
from streamguard.client import StreamClient

from .samples import run_page, serving

pytestmark = pytest.mark.anyio

ANN = {"X-User": "ann"}


@pytest.fixture
def page(redis_url: str) -> Iterator[ModuleType]:
    with run_page("docs/how-to/read-from-python.md", redis_url=redis_url) as module:
        yield module


@pytest.fixture
def port(page: ModuleType) -> Iterator[int]:
    with serving(page.app) as port:
        yield port


async def test_a_service_a_command_line_and_a_stop(
    page: ModuleType, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with StreamClient(f"http://127.0.0.1:{port}", headers=ANN) as chat:
        assert await page.summary_of(chat, "c1", "text") == "an answer to 1 messages"
        await page.follow(chat, "c1")
        assert "an answer to 1 messages" in capsys.readouterr().out
        await page.follow(chat, "c1", after="1.0123456789abcdef01234567.1.1")
        assert "the rest is lost (stream_gone)" in capsys.readouterr().out
        async with chat.ask({"id": "c2", "messages": []}) as stream:
            await page.stop(chat, stream)
            await stream.text()
        assert stream.outcome in (Outcome.STOPPED, Outcome.COMPLETED)
    hurried = StreamClient("http://127.0.0.1:9", attempts=0)
    await page.follow(hurried, "c1", after="1.0123456789abcdef01234567.1.1")
    assert "go on later with --after 1.0123456789abcdef01234567.1.1" in capsys.readouterr().out
    for client in (hurried, page.chat, page.patient):
        await client.aclose()


async def test_the_test_on_the_page_passes(page: ModuleType) -> None:
    await page.test_the_summary_is_what_the_model_says()
    for client in (page.chat, page.patient):
        await client.aclose()


async def test_the_examples_of_the_reference(page: ModuleType, port: int, redis_url: str) -> None:
    with run_page("docs/reference/client.md", redis_url=redis_url) as reference:
        async with StreamClient(f"http://127.0.0.1:{port}", headers=ANN) as chat:
            assert await reference.answer_to(chat, "c4", "text") == "an answer to 1 messages"
            whole = await reference.rest_of(chat, "c4", None)
            assert "".join(event.text for event in whole) == "an answer to 1 messages"
            assert await reference.rest_of(chat, "c4", whole[2].id) == whole[3:]
            assert await reference.stop(chat, "c4") is False
    for client in (reference.chat, page.chat, page.patient):
        await client.aclose()


async def test_without_asyncio(page: ModuleType, port: int) -> None:
    answer = await anyio.to_thread.run_sync(page.ask_and_wait, f"http://127.0.0.1:{port}", "c3", "text")
    assert answer == "an answer to 1 messages"
    for client in (page.chat, page.patient):
        await client.aclose()
