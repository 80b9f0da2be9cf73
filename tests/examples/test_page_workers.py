"""The example's page on several workers: the button that kills the one that writes the answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..harness.waiting import wait_until
from .browser import Browser
from .launched import Launched
from .live import scripted_answer
from .page import Page

LONG = "!slow 150"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with Launched(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture
def page(browser: Browser, demo: Launched) -> Iterator[Page]:
    browser.resize(1280, 800)
    yield Page(browser, demo.url)
    browser.as_usual()


def test_a_killed_worker_leaves_an_answer_that_another_ends_and_saves(page: Page) -> None:
    kill = page.browser.find("#kill")
    wait_until(lambda: kill.displayed, description="the button is there")
    assert not kill.enabled, "no worker writes"
    page.ask(LONG)
    half = page.wait_for_text()
    page.press("Kill the worker")
    page.wait_for_said("You killed worker w")
    assert page.focused == "prompt"
    page.wait_for("interrupted", timeout=40)
    page.wait_for_said("The answer was interrupted. ")
    assert page.answer.startswith(half)
    assert scripted_answer(LONG).startswith(page.answer)
    assert page.banners == ["interrupted"]
    told = [one.text for one in page.browser.find_all("#happened li")]
    assert any(sentence.startswith("You killed worker w") for sentence in told)
    assert any(sentence.startswith("Back: ") for sentence in told)
    wait_until(lambda: "took it over" in page.browser.find("#writer").text, description="the panel says who ended it")
    wait_until(lambda: "in the database" in page.browser.find("#saved").text, description="what was written is saved")
    page.browser.reload()
    page.wait_for("interrupted")
    assert page.answer.startswith(half)
    page.press("Ask again")
    page.wait_for("streaming")
    page.press("Stop")
    page.wait_for("stopped")


def test_every_worker_knows_that_the_database_is_away(page: Page) -> None:
    page.press("Database away")
    page.wait_for_said("Your database is away: ")
    for question in ("First", "Second", "Third"):  # in turn, on each worker
        page.ask(question)
        wait_until(lambda: page.state == "completed" and page.save == "unsaved", description="it is not saved")
        wait_until(lambda: not page.browser.find("#stop").displayed, description="another can be asked")
    page.press("Database back")
    page.wait_for_save("saved", timeout=40)
    wait_until(lambda: page.browser.find("#owed").text == "Nothing.", description="nothing is owed", timeout=40)
