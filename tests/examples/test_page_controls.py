"""What the buttons of the example's page break and mend, and what its panel shows of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .browser import Browser
from .live import FRAMEWORKS, example, scripted_answer
from .page import Page

PROMPT = "How does a stream survive?"
SLOW = "!slow 60"
SETTINGS = """{
    "breaker_probe_seconds": 0.1, "outbox_seconds": 0.2, "outbox_retry_seconds": 0.2, "outbox_max_retry_seconds": 0.5,
    "save_visible_seconds": 1.0
}"""
ON_ONE = pytest.mark.parametrize("live", ["fastapi"], indirect=True)
"""For what the page does by itself, whichever server it came from."""


@pytest.fixture(scope="module", params=FRAMEWORKS)
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with example(request.param, gap_ms=15, STREAMGUARD_SETTINGS=SETTINGS) as worker:
        yield worker


@pytest.fixture
def page(browser: Browser, live: Worker) -> Iterator[Page]:
    """The page of the module's server, wide enough for its panel, to a new visitor."""
    yield Page.of_new_visitor(browser, live.url)
    mistakes = [text for text in browser.severe_console_messages() if "Failed to load resource" not in text]
    browser.as_usual()
    assert mistakes == []


def inside(page: Page, name: str) -> str:
    """What the panel says there."""
    return page.browser.find(f"#{name}").text


def waits_for(page: Page, name: str, text: str) -> None:
    wait_until(lambda: inside(page, name) == text, description=f"{name} is {text!r}")


def rows(page: Page, state: str | None = None) -> list[int]:
    """The numbers of the events in the panel's log; of those in a state."""
    chosen = "" if state is None else f"[data-state={state}]"
    found = page.browser.script(
        f"return [...document.querySelectorAll('#events .event{chosen} .number')].map((one) => Number(one.textContent))"
    )
    assert isinstance(found, list)
    return [int(str(number)) for number in found]


def control(page: Page, name: str) -> tuple[bool, bool]:
    """Whether a button is shown, and whether it can be pressed."""
    button = page.browser.find(f"#{name}")
    return button.displayed, button.enabled


def status(page: Page) -> dict[str, dict[str, str]]:
    url = f"{page.url}/api/chat/{page.chat_id}"
    found: dict[str, dict[str, str]] = httpx.get(url, cookies=page.browser.cookies(), trust_env=False).json()
    return found


def test_a_cut_answer_is_resumed_after_the_last_event_that_was_shown(page: Page) -> None:
    page.ask(SLOW)
    page.wait_for_text()
    page.press("Cut the connection")
    said = re.fullmatch(r"You cut the connection after event (\d+)\. .*", page.said)
    assert said is not None
    last = int(said[1])
    assert page.focused == "prompt"
    page.wait_for("reconnecting")
    assert not control(page, "cut")[1]
    assert rows(page, "waiting") or wait_until(lambda: rows(page, "waiting"), description="the log goes on growing")

    back = page.wait_for_said("Back: ")
    words = (
        rf"Back: the page asked for everything after event {last}; events {last + 1} to (\d+) came out of the log, .*"
    )
    came = re.fullmatch(words, back)
    assert came is not None, back
    page.wait_for("completed")
    assert page.answer == scripted_answer(SLOW)
    assert page.banners == []
    waits_for(page, "reached", "all of it")
    assert inside(page, "again") == f"after event {last} ({last + 1}–{came[1]})"
    wait_until(lambda: "terminal" in inside(page, "events"), description="the log is shown to its end")
    assert rows(page) == list(range(1, len(rows(page)) + 1))
    assert rows(page, "again") == list(range(last + 1, int(came[1]) + 1))
    assert rows(page, "waiting") == []
    told = page.browser.find_all("#happened li")
    assert [one.text.split(" ")[0] for one in told] == ["Back:", "You"]


def test_without_its_database_an_answer_streams_and_its_save_is_owed(page: Page) -> None:
    page.press("Database away")
    page.wait_for_said("Your database is away: ")
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    page.wait_for_save("unsaved")
    wait_until(lambda: inside(page, "owed").startswith("a save of this chat: "), description="a save is owed")
    assert inside(page, "saved") == "Not in the database yet: the save is owed. The database is away."
    page.browser.reload()
    page.press("Database back")
    page.wait_for_said("Your database is back. ")
    page.wait_for_save("saved")
    waits_for(page, "owed", "Nothing.")
    assert inside(page, "saved") == "Question and answer are in the database."
    assert page.answer == scripted_answer(PROMPT)
    assert status(page)["last"]["persisted"] == "yes"


def test_what_is_shown_stays_while_the_database_is_away(page: Page) -> None:
    """Its messages are asked for again and again, and nothing moves."""
    page.press("Database away")
    page.wait_for_said("Your database is away: ")
    page.press("New chat")
    wait_until(lambda: page.banners == ["store_unavailable"], description="it says that it cannot read")
    page.ask(PROMPT)
    page.wait_for("completed")
    page.wait_for_save("unsaved")
    wait_until(lambda: page.banners == ["store_unavailable"], description="it was asked for again")
    assert page.texts() == [PROMPT, scripted_answer(PROMPT)]
    assert "came out of the log" not in inside(page, "happened")
    page.press("Database back")
    page.wait_for_save("saved", timeout=40)
    assert page.texts() == [PROMPT, scripted_answer(PROMPT)]


def test_over_quota_a_question_is_refused_before_the_model_is_asked(page: Page) -> None:
    page.press("Over quota")
    page.wait_for("failed")
    assert page.banners == ["quota_exceeded"]
    assert page.said.startswith("Your question asks for more tokens than a day has: ")
    assert page.focused == "prompt"
    wait_until(lambda: page.allowance.startswith("0 of 20,000 tokens"), description="nothing was used")
    assert inside(page, "written") == "nothing yet"
    page.press("Ask again")
    page.wait_for("completed")
    assert page.answer == scripted_answer("Write down every book there is.")
    assert page.banners == []


def test_a_reload_goes_on_where_the_answer_is(page: Page) -> None:
    page.ask(SLOW)
    page.wait_for_text()
    page.press("Reload")
    said = page.wait_for_said("You reloaded the page after event ")
    assert re.search(r" events 1 to \d+ came out of the log, and the rest comes live\.$", said)
    page.wait_for("completed")
    assert page.answer == scripted_answer(SLOW)
    wait_until(lambda: rows(page, "again")[:1] == [1], description="the panel shows what was resumed")
    page.press("Reload")
    page.wait_for_said("You reloaded the page. The answer had ended, and came from the database.")
    assert page.answer == scripted_answer(SLOW)


def test_sent_again_a_question_is_answered_once(page: Page) -> None:
    page.ask(PROMPT)
    page.wait_for("completed")
    before = status(page)["last"]
    page.press("Resend")
    page.wait_for_said("You sent the same question again, under the same key.")
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.messages() == 2
    assert status(page)["last"]["stream_id"] == before["stream_id"]


@ON_ONE
def test_buttons_that_can_do_nothing_are_disabled(page: Page) -> None:
    assert control(page, "kill")[0] is False, "there is one worker"
    for name, idle in {"cut": False, "database": True, "quota": True, "reload": True, "resend": False}.items():
        assert control(page, name) == (True, idle), name
    page.ask(SLOW)
    page.wait_for_text()
    for name, running in {"cut": True, "database": True, "quota": False, "reload": True, "resend": False}.items():
        assert control(page, name) == (True, running), name
    assert (control(page, "send"), control(page, "stop")) == ((False, True), (True, True))
    page.press("Stop")
    page.wait_for("stopped")
    assert page.focused == "prompt"
    assert (control(page, "send"), control(page, "stop")) == ((True, True), (False, False))
    assert (control(page, "cut")[1], control(page, "resend")[1]) == (False, True)
    assert page.said == "You stopped the answer. What was written until then is kept."


def test_with_nothing_limited_there_is_no_quota_to_be_over(browser: Browser) -> None:
    with example(DEMO_DAILY_TOKENS="0") as worker:
        page = Page(browser, worker.url)
        wait_until(lambda: not control(page, "quota")[0], description="the button is gone")


@ON_ONE
def test_answers_are_shown_as_markdown(page: Page) -> None:
    page.ask(PROMPT)
    page.wait_for("completed")
    text = "#log [data-role=assistant] .text"
    (heading,) = page.browser.find_all(f"{text} h3")
    assert heading.text == "How it keeps its word"
    (code,) = page.browser.find_all(f"{text} pre code")
    assert code.text.startswith("async for piece in model:\n    await ")
    assert len(page.browser.find_all(f"{text} ul li")) >= 3
    shown = str(page.browser.script(f"return document.querySelector('{text}').textContent"))
    assert "**" not in shown
    assert "```" not in shown
    for link in page.browser.find_all(f"{text} a"):
        assert link.attribute("rel") == "noopener noreferrer nofollow"


@ON_ONE
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("## A title ##  ", "H3: A title"),
        ("# a#b", "H3: a#b"),
        ("` a ` and ` b`", "P: a and  b"),
        ("# a" + " " * 1500 + "b", "H3: a" + " " * 1500 + "b"),
        ("` " + "a" * 40_000 + "`b", "P:  " + "a" * 40_000 + "b"),
    ],
    ids=["marked", "unmarked", "code", "spaces", "much code"],
)
def test_whatever_a_model_writes_is_read_at_once(page: Page, text: str, expected: str) -> None:
    shown, milliseconds = page.browser.script(  # type: ignore[misc]
        "const [text] = arguments; return import('/static/markdown.mjs').then(({ blocksOf }) => {"
        " const begun = performance.now(); const [block] = blocksOf(text).map(({ node }) => node());"
        " return [`${block.tagName}: ${block.textContent}`, performance.now() - begun]; })",
        text,
    )
    assert shown == expected
    assert float(str(milliseconds)) < 500


FAILING = """
const [part] = arguments;
const own = window.fetch;
window.fetch = (url, init) => String(url).includes(part) ? Promise.reject(new TypeError("It fails.")) : own(url, init);
"""
BROKEN_ONCE = """
const own = window.fetch;
const broken = () => new Response(new ReadableStream({ start: (it) => it.error(new TypeError("It broke.")) }));
window.fetch = (url, init) => {
  if (!String(url).startsWith("/demo/inside")) return own(url, init);
  window.fetch = own;
  return Promise.resolve(broken());
};
"""


@ON_ONE
def test_a_stop_that_comes_too_late_says_so(page: Page) -> None:
    page.ask("!slow 60")  # seconds for all of it: the cut comes first
    page.wait_for_text()
    page.browser.script(FAILING, "/stream")
    page.press("Cut the connection")
    wait_until(lambda: status(page)["last"]["outcome"] == "completed", description="it is written to its end")
    page.press("Stop")
    page.wait_for_said("There was nothing to stop")


@ON_ONE
def test_a_stop_that_fails_again_says_so_again(page: Page) -> None:
    page.ask(SLOW)
    page.wait_for_text()
    page.browser.script(FAILING, "/stop")
    for _ in range(2):
        page.press("Stop")
        wait_until(lambda: page.banners == ["stop_failed"], description="it says that the Stop failed")
        page.press("×")
        assert page.banners == []


@ON_ONE
def test_the_panel_goes_on_after_an_answer_that_broke_off(page: Page) -> None:
    page.ask(SLOW)
    page.wait_for_text()
    page.browser.script(BROKEN_ONCE)
    wait_until(lambda: page.browser.script("return !String(window.fetch).includes('demo')"), description="it broke")
    before = len(rows(page))
    wait_until(lambda: len(rows(page)) > before, description="the log goes on growing")
    assert page.state == "streaming"


@ON_ONE
def test_a_browser_whose_storage_is_full_asks_as_ever(page: Page) -> None:
    page.browser.script(
        "for (let size = 1 << 22, n = 0; size > 0; n++)"
        " try { localStorage.setItem(`full${n}`, 'x'.repeat(size)); } catch { size >>= 1; }"
    )
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    page.browser.script("localStorage.clear()")
