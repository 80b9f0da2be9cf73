"""What the example's page shows of the daily quota: how it stands, a refusal, and an answer that is counted late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .live import example, scripted_answer
from .page import Page
from .test_allowance import DAY, LATE, SETTINGS, tokens

PROMPT = "How does a stream survive?"


@pytest.fixture
def live() -> Iterator[Worker]:
    """A server of each test's own, since one browser is one visitor."""
    with example(gap_ms=5, STREAMGUARD_SETTINGS=SETTINGS) as worker:
        yield worker


def shows(page: Page, used: int, more: str = "") -> None:
    """Wait until the page says that so much is used."""
    text = f"{used:,} of {DAY:,} tokens used today, {DAY - used:,} left{more}"
    wait_until(lambda: page.allowance == text, description=f"the page says: {text}", timeout=20)


def test_the_page_shows_how_the_day_stands_after_each_answer_and_a_reload(page: Page) -> None:
    shows(page, 0)
    page.ask(PROMPT)
    page.wait_for("completed")
    shows(page, tokens(PROMPT))
    page.press("New chat")
    page.ask("!long 1200")
    page.wait_for("completed", timeout=30)
    shows(page, tokens(PROMPT) + tokens("!long 1200"))
    page.open()
    shows(page, tokens(PROMPT) + tokens("!long 1200"))


def test_a_refusal_is_said_and_another_question_can_be_asked(page: Page) -> None:
    page.ask("!quota")
    page.wait_for("failed")
    assert page.banners == ["quota_exceeded"]
    (banner,) = page.browser.find_all("#banners [role=alert] strong")
    assert banner.text.startswith("The usage limit is reached. You can go on at ")
    assert page.note.startswith("Failed – The usage limit is reached.")
    shows(page, 0)
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.banners == []
    shows(page, tokens(PROMPT))


def test_an_answer_that_is_counted_late_is_warned_of_until_it_is_counted(page: Page) -> None:
    page.ask(LATE)
    page.wait_for("completed")
    assert page.answer == scripted_answer(LATE)
    assert page.banners == ["quota_release_failed"]
    (banner,) = page.browser.find_all("#banners [role=alert]")
    assert banner.attribute("data-severity") == "warning"
    wait_until(lambda: page.allowance.endswith("; the last answer is still to be counted"), description="it says so")
    shows(page, tokens(LATE))
