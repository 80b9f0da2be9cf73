"""The example's page in a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ..harness.proxy import FaultProxy
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .browser import Browser
from .live import FRAMEWORKS, example, scripted_answer
from .page import Page

PROMPT = "How does a stream survive?"


ON_ONE = pytest.mark.parametrize("live", ["fastapi"], indirect=True)
"""For what the page does by itself, whichever server it came from."""


@pytest.fixture(scope="module", params=FRAMEWORKS)
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with example(request.param, gap_ms=30) as worker:
        yield worker


@pytest.fixture
def page(page: Page, browser: Browser) -> Iterator[Page]:
    browser.severe_console_messages()
    yield page
    # Refused requests are written to the console by the browser itself; anything else is a mistake of the page.
    mistakes = [text for text in browser.severe_console_messages() if "Failed to load resource" not in text]
    assert mistakes == []


def test_a_question_is_answered(page: Page) -> None:
    page.ask(PROMPT)
    page.wait_for("streaming")
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.banners == []
    assert page.messages() == 2


def test_a_question_is_edited(page: Page) -> None:
    """The first of two: what followed goes with it, also after a reload."""
    page.ask(PROMPT)
    page.wait_for("completed")
    page.ask("And then?")
    wait_until(lambda: page.answer == scripted_answer("And then?"), description="the second is answered")
    page.wait_for("completed")
    page.browser.find_all("#log [data-role=user] button")[0].click()
    page.ask(" Really?")
    edited = f"{PROMPT} Really?"
    wait_until(lambda: page.answer == scripted_answer(edited), description="it is answered")
    page.wait_for("completed")
    assert page.texts() == [edited, scripted_answer(edited)]
    page.browser.reload()
    page.wait_for("completed")
    assert page.texts() == [edited, scripted_answer(edited)]


def test_an_answer_survives_reloads_in_mid_stream(page: Page) -> None:
    """Twice: at once after sending, and in the middle of the text."""
    page.ask(PROMPT)
    page.wait_for("streaming")
    page.browser.reload()
    half = page.wait_for_text()
    assert half != scripted_answer(PROMPT)
    page.browser.reload()
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.messages() == 2

    page.browser.reload()
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.messages() == 2


def test_stop_keeps_what_was_written_and_says_who_stopped_it(page: Page) -> None:
    page.ask("!slow 60")
    page.wait_for_text()
    page.press("Stop")
    page.wait_for("stopped")
    assert page.note == "Stopped by you"
    assert page.banners == []
    stopped = page.answer
    assert scripted_answer("!slow 60").startswith(stopped)
    assert stopped != scripted_answer("!slow 60")
    page.browser.reload()
    page.wait_for("stopped")
    assert page.answer == stopped


def test_a_crash_shows_a_banner_and_marks_the_answer_as_failed(page: Page) -> None:
    page.ask("!crash")
    page.wait_for("failed")
    assert page.banners == ["provider_error"]
    assert page.answer == scripted_answer("!crash")
    assert page.note.startswith("Failed – The model failed while answering.")
    assert "sk-secret" not in str(page.browser.script("return document.documentElement.outerHTML"))
    page.press("×")
    assert page.banners == []
    page.press("Ask again")
    page.wait_for("failed")
    assert page.messages() == 2


def test_a_crash_before_the_first_piece_shows_a_banner_too_and_after_a_reload_still_a_failure(page: Page) -> None:
    page.ask("!error-first")
    page.wait_for("failed")
    assert page.banners == ["provider_error"]
    page.browser.reload()
    page.wait_for("failed")
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)


def test_an_answer_that_ended_while_nobody_looked_is_found_again(browser: Browser) -> None:
    """Also when the server no longer replays it without a cursor."""
    with example(gap_ms=10, STREAMGUARD_SETTINGS='{"replay_after_finish_seconds": 0}') as worker:
        page = Page(browser, worker.url)
        page.ask(PROMPT)
        page.wait_for("streaming")
        cookies = browser.cookies()
        browser.open("about:blank")

        def ended() -> bool:
            status = httpx.get(f"{worker.url}/api/chat/{page.chat_id}", cookies=cookies, trust_env=False).json()
            return status["active"] is None and status["last"]["outcome"] == "completed"

        wait_until(ended, description="the answer ends without a reader", timeout=10)
        page.open()
        page.wait_for("completed")
        assert page.answer == scripted_answer(PROMPT)


def test_a_restarted_server_leaves_an_interrupted_answer(browser: Browser) -> None:
    with example(gap_ms=30, STREAMGUARD_SETTINGS='{"drain_seconds": 0.2}') as worker:
        page = Page(browser, worker.url)
        page.ask("!slow 100")
        half = page.wait_for_text()
        worker.terminate()
        page.wait_for("interrupted")
        assert page.banners == ["shutting_down"]
        assert page.answer.startswith(half)
        assert page.note.startswith("Interrupted – ")
        worker.wait_exit(10)
        worker.start()
        page.press("Ask again")
        page.wait_for("streaming")
        page.press("Stop")
        page.wait_for("stopped")


def test_a_cut_connection_is_restored_by_itself(browser: Browser, live: Worker) -> None:
    with FaultProxy(live.port) as proxy:
        page = Page(browser, f"http://127.0.0.1:{proxy.port}")
        page.ask(PROMPT)
        page.wait_for_text()
        proxy.refuse()
        page.wait_for("reconnecting")
        proxy.forward()
        page.wait_for("completed")
        assert page.answer == scripted_answer(PROMPT)
        assert page.banners == []


@ON_ONE
def test_a_lost_connection_is_said_and_can_be_restored_by_hand(browser: Browser, live: Worker) -> None:
    with FaultProxy(live.port) as proxy:
        page = Page(browser, f"http://127.0.0.1:{proxy.port}")
        page.ask(PROMPT)
        half = page.wait_for_text()
        proxy.refuse()
        page.wait_for("lost", timeout=40)
        assert page.banners == ["connection_lost"]
        assert page.answer.startswith(half)
        proxy.forward()
        page.press("Reconnect")
        page.wait_for("completed")
        assert page.answer == scripted_answer(PROMPT)
        assert page.banners == []


HELD = """
const own = window.fetch;
window.fetch = (url, init) =>
  init?.method === "POST" ? new Promise((sent) => { window.letGo = () => sent(own(url, init)); }) : own(url, init);
"""


@ON_ONE
def test_a_second_tab_waits_for_the_answer_to_begin(page: Page) -> None:
    """It learns of the question before the server does."""
    with page.browser.new_tab():
        page.open()
        reader = page.browser.tab()
    page.browser.script(HELD)
    page.ask(PROMPT)
    with page.browser.in_tab(reader):
        for _ in range(10):  # more requests than the page takes to find that there is no answer
            page.browser.script("return fetch(location).then(({ status }) => status)")
        assert page.messages() == 0
    page.browser.script("window.letGo()")
    with page.browser.in_tab(reader):
        page.wait_for("completed")
        assert page.answer == scripted_answer(PROMPT)


def test_a_second_tab_reads_along(page: Page) -> None:
    with page.browser.new_tab():
        page.open()
        assert page.messages() == 0
        reader = page.browser.tab()
    page.ask(PROMPT)
    page.wait_for("streaming")
    with page.browser.in_tab(reader):
        page.wait_for("completed")
        assert page.answer == scripted_answer(PROMPT)
    page.wait_for("completed")


@ON_ONE
def test_a_new_chat_leaves_the_old_answer_behind(page: Page) -> None:
    page.ask("!slow 100")
    page.wait_for_text(5)
    page.press("New chat")
    assert page.messages() == 0
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.messages() == 2


@ON_ONE
def test_text_is_text_and_never_markup(page: Page) -> None:
    prompt = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    page.ask(prompt)
    page.wait_for("completed")
    assert page.answer == scripted_answer(prompt)
    assert prompt[:20] in page.answer
    assert page.browser.script("return document.querySelectorAll('#log img, #log script').length") == 0
    assert page.browser.script("return document.title") == "streamguard demo"
