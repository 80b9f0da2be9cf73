"""The list of chats on the example's page."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .browser import Browser
from .live import FRAMEWORKS, example, scripted_answer
from .page import Page

FIRST, SECOND = "!slow 40", "And what of the second?"


@pytest.fixture(scope="module", params=FRAMEWORKS)
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with example(request.param, gap_ms=5) as worker:
        yield worker


@pytest.fixture
def page(browser: Browser, live: Worker) -> Iterator[Page]:
    """The page, wide enough for its list, in a browser that has no chats."""
    yield Page.of_new_visitor(browser, live.url)
    browser.as_usual()


def titles(page: Page) -> list[str]:
    found = page.browser.script(
        "return [...document.querySelectorAll('#chat-list .chat button:first-child')].map((one) => one.firstChild.data)"
    )
    assert isinstance(found, list)
    return [str(title) for title in found]


def open_chat(page: Page, title: str) -> None:
    (button,) = [one for one in page.browser.find_all("#chat-list .chat button") if one.text.startswith(title)]
    button.click()


def current(page: Page) -> str:
    return page.browser.find("#chat-list [aria-current=true]").text


def test_an_answer_goes_on_in_a_chat_that_was_left_and_is_resumed_there(page: Page) -> None:
    assert titles(page) == []
    page.ask(FIRST)
    half = page.wait_for_text()
    assert titles(page) == [FIRST]
    page.press("New chat")
    assert page.focused == "prompt"
    assert page.messages() == 0
    page.ask(SECOND)
    page.wait_for("completed")
    assert page.texts() == [SECOND, scripted_answer(SECOND)]
    assert titles(page) == [SECOND, FIRST]

    open_chat(page, FIRST)
    wait_until(lambda: page.texts()[:1] == [FIRST], description="the first chat is shown")
    assert current(page) == FIRST
    page.wait_for("completed")
    assert page.answer == scripted_answer(FIRST)
    assert page.answer.startswith(half)
    assert titles(page) == [SECOND, FIRST], "they stay where they are"


def test_the_list_says_which_answers_are_still_being_written(page: Page) -> None:
    page.ask(FIRST)
    page.wait_for_text()
    page.press("New chat")
    mark = "#chat-list .writing"
    assert [one.text for one in page.browser.find_all(mark)] == ["writing …"]
    wait_until(lambda: not page.browser.find_all(mark), description="it is written to its end")
    open_chat(page, FIRST)
    page.wait_for("completed")
    assert page.answer == scripted_answer(FIRST)


def test_the_list_survives_a_reload(page: Page) -> None:
    page.ask(SECOND)
    page.wait_for("completed")
    page.press("New chat")
    page.ask("Third")
    page.wait_for("completed")
    page.browser.reload()
    page.wait_for("completed")
    assert titles(page) == ["Third", SECOND]
    assert current(page) == "Third"
    assert page.texts() == ["Third", scripted_answer("Third")]


def test_a_deleted_chat_is_gone_from_the_page_and_the_server(page: Page, live: Worker) -> None:
    page.ask(SECOND)
    page.wait_for("completed")
    url = f"{live.url}/api/chat/{page.chat_id}/messages"
    kept = httpx.get(url, cookies=page.browser.cookies(), trust_env=False).json()["messages"]
    assert len(kept) == 2
    page.press("Delete")
    page.press("Keep")
    assert titles(page) == [SECOND]
    page.press("Delete")
    page.press("Delete for good")
    wait_until(lambda: page.messages() == 0, description="the chat is gone")
    assert page.said.startswith("The chat is deleted")
    assert titles(page) == []
    assert httpx.get(url, cookies=page.browser.cookies(), trust_env=False).json()["messages"] == []
    assert page.focused == "prompt"
    page.browser.reload()
    assert page.browser.find("#chat-list .none").text == "No chats yet. Ask something."


def test_a_chat_that_cannot_be_deleted_stays(page: Page) -> None:
    page.ask(SECOND)
    page.wait_for("completed")
    page.press("Database away")
    page.wait_for_said("Your database is away")
    page.press("Delete")
    page.press("Delete for good")
    page.wait_for_said("The chat could not be deleted.")
    assert page.focused == "prompt"
    assert titles(page) == [SECOND]
    assert page.messages() == 2


def test_a_title_is_the_question_in_short(page: Page) -> None:
    long = "What <b>if</b> a question is so long that no list of chats could ever show all of it, of course?"
    page.ask(long)
    page.wait_for("completed")
    (title,) = titles(page)
    assert title.endswith("…")
    assert long.startswith(title[:-1])
    assert len(title) == 60
