"""Whether the example's page can be used: by everybody (axe), on a phone, in the dark, and without motion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import pytest

from ..clients.packed import install_locked
from ..harness.tools import missing
from ..harness.waiting import wait_until
from ..harness.workers import ROOT, Worker
from .browser import Browser
from .live import example
from .page import Page

CLIENTS: Final = ROOT / "tests" / "clients"
PROMPT = "How does a stream survive?"
SIZES: Final = {"phone": (375, 667), "small": (320, 568), "tablet": (900, 800), "desk": (1280, 800)}


@pytest.fixture(scope="module")
def live() -> Iterator[Worker]:
    with example(gap_ms=5) as worker:
        yield worker


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core."""
    npm = shutil.which("npm")
    if npm is None:
        missing("no npm found: `apt-get install nodejs npm`, or see https://nodejs.org/")
    install_locked(npm, CLIENTS)
    return (CLIENTS / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def page(browser: Browser, live: Worker) -> Iterator[Page]:
    yield Page(browser, live.url)
    browser.as_usual()


def prepare(page: Page, state: str) -> None:
    """Bring the page into a state."""
    if state == "streaming":
        page.ask("!slow 200")
        page.wait_for_text()
    elif state == "cut":
        page.ask("!slow 200")
        page.wait_for_text()
        page.press("Cut the connection")
        page.wait_for("reconnecting")
    elif state == "faulted":
        page.ask("!crash")
        page.wait_for("failed")
    elif state != "empty":
        page.ask(PROMPT)
        page.wait_for("completed")
    if state in ("Chats", "Inside"):
        page.press(state)
    if state == "Inside":
        wait_until(lambda: page.browser.find_all("#events .event"), description="the log is shown")


def stop(page: Page) -> None:
    """An answer that goes on would be in the way of the tests behind it."""
    for button in page.browser.find_all("#stop:enabled"):
        if button.displayed:
            button.click()
            page.wait_for("stopped")


PHONE: Final = ("empty", "idle", "streaming", "cut", "faulted", "Chats", "Inside")
SMALL: Final = ("idle",)
DESK: Final = ("empty", "idle", "streaming", "cut", "faulted")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("size", "state"),
    [(size, state) for size, states in (("phone", PHONE), ("small", SMALL), ("desk", DESK)) for state in states],
)
def test_axe_finds_nothing(page: Page, axe: str, size: str, state: str, scheme: str) -> None:
    page.browser.resize(*SIZES[size])
    page.browser.prefer(color_scheme=scheme)
    prepare(page, state)
    found = page.browser.script(
        f"{axe}; return axe.run(document, {{ resultTypes: ['violations'] }}).then(({{ violations }}) => "
        "violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html, failureSummary }) => "
        "`${html.slice(0, 200)}: ${failureSummary}`) })))"
    )
    stop(page)
    assert found == [], json.dumps(found, indent=1)


def boxes(page: Page) -> dict[str, dict[str, float]]:
    """Where the parts of the page are that a reader needs, in CSS pixels."""
    found = page.browser.script(
        "const box = (one) => { const { left, top, right, bottom } = one.getBoundingClientRect();"
        " return { left, top, right, bottom }; };"
        " const all = ['header', '#scroll', '#banners', '#said', '#tools', '#composer', '#prompt', '#allowance']"
        ".map((one) => [one, box(document.querySelector(one))]);"
        " return { ...Object.fromEntries(all), window: { left: 0, top: 0, right: innerWidth, bottom: innerHeight },"
        " page: { left: 0, top: 0, right: document.scrollingElement.scrollWidth,"
        " bottom: document.scrollingElement.scrollHeight } }"
    )
    assert isinstance(found, dict)
    return {name: {side: float(str(at)) for side, at in dict(box).items()} for name, box in found.items()}


@pytest.mark.parametrize("state", ["empty", "idle", "streaming", "cut", "faulted"])
@pytest.mark.parametrize("size", list(SIZES))
def test_nothing_lies_over_the_talk(page: Page, size: str, state: str) -> None:
    width, height = SIZES[size]
    page.browser.resize(width, height)
    prepare(page, state)
    wait_until(lambda: page.allowance, description="the day's tokens are shown")
    at = boxes(page)
    order = ["header", "#scroll", "#banners", "#said", "#tools", "#composer", "#allowance"]
    for above, below in pairwise(order):
        assert at[above]["bottom"] <= at[below]["top"] + 0.5, f"{above} is above {below}"
    for name in (*order, "#prompt"):
        assert at[name]["left"] >= 0, name
        assert at[name]["right"] <= width, name
        assert at[name]["bottom"] <= height, name
    assert at["page"] == at["window"], "the talk scrolls, not the page"
    assert at["#scroll"]["bottom"] - at["#scroll"]["top"] >= height / (3 if state in ("idle", "streaming") else 4)
    for name in ("button", "textarea"):  # each can be reached: nothing else is where it is
        covered = page.browser.script(
            f"return [...document.querySelectorAll('#talk {name}, header {name}')].filter((one) => {{"
            " const { left, top, width, height } = one.getBoundingClientRect();"
            " if (width === 0 || one.closest('#scroll')) return false;"
            " return document.elementFromPoint(left + width / 2, top + height / 2)?.closest(one.tagName) !== one;"
            " }).map((one) => one.textContent)"
        )
        assert covered == []
    stop(page)


@pytest.mark.parametrize(("width", "height"), [(320, 256), (667, 375)], ids=["four times as large", "on its side"])
def test_a_low_window_has_room_for_the_talk(page: Page, width: int, height: int) -> None:
    page.browser.resize(width, height)
    prepare(page, "streaming")
    at = boxes(page)
    stop(page)
    assert at["#scroll"]["bottom"] - at["#scroll"]["top"] >= height / 4
    assert at["#prompt"]["bottom"] <= height
    assert at["page"] == at["window"], "the talk scrolls, not the page"


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_the_end_of_the_talk_is_in_view_while_it_is_written(page: Page, size: str) -> None:
    page.browser.resize(*SIZES[size])
    page.ask("!long 300")
    page.wait_for("completed")
    last = "[...document.querySelectorAll('#log .text')].at(-1).lastElementChild.getBoundingClientRect().bottom"
    talk = "document.querySelector('#scroll').getBoundingClientRect().bottom"
    wait_until(lambda: page.browser.script(f"return {last} <= {talk}"), description="its last line is in view")


def test_on_a_phone_the_list_and_the_panel_take_the_talks_place_and_give_it_back(page: Page) -> None:
    page.browser.resize(*SIZES["phone"])
    prepare(page, "idle")
    for name, place in {"Chats": "#chats", "Inside": "#inside"}.items():
        page.press(name)
        assert page.browser.find(place).displayed
        assert not page.browser.find("#talk").displayed
        assert page.browser.find(f"#show-{place[1:]}").attribute("aria-expanded") == "true"
    page.browser.script("dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))")
    assert page.browser.find("#talk").displayed
    assert not page.browser.find("#inside").displayed
    page.press("Chats")
    page.browser.find_all("#chat-list .chat button")[0].click()
    assert page.browser.find("#talk").displayed
    assert page.focused == "scroll"


def test_on_a_phone_no_button_opens_a_keyboard_over_the_talk(page: Page) -> None:
    page.browser.resize(*SIZES["phone"])
    page.press("How does an answer survive a reload?")
    assert page.focused == "scroll"
    page.wait_for("completed")
    page.ask("!slow 200")  # the other answer may be over before a button is pressed
    page.wait_for_text()
    page.press("Stop")
    page.wait_for("stopped")
    assert page.focused == "scroll"
    page.press("Edit")
    assert page.focused == "prompt"


def test_on_a_phone_a_reload_leaves_the_database_where_it_is(page: Page) -> None:
    """The panel, which would say so, is not in view."""
    page.browser.resize(*SIZES["phone"])
    page.press("Database away")
    page.wait_for_said("Your database is away: ")
    page.press("Reload")
    page.press("Database back")
    page.wait_for_said("Your database is back. ")


def test_at_a_desk_the_list_and_the_panel_stand_beside_the_talk(page: Page) -> None:
    page.browser.resize(*SIZES["desk"])
    for place in ("#chats", "#talk", "#inside"):
        assert page.browser.find(place).displayed
    page.press("Inside")
    assert not page.browser.find("#inside").displayed
    assert page.browser.find("#talk").displayed


def test_without_motion_nothing_blinks(page: Page) -> None:
    def animation() -> object:
        return page.browser.script(
            "return getComputedStyle(document.querySelector('[data-state=streaming] .text > :last-child'), '::after')"
            ".animationName"
        )

    page.ask("!slow 200")
    page.wait_for_text()
    assert animation() == "blink"
    page.browser.prefer(reduced_motion="reduce")
    assert animation() == "none"
    stop(page)


def test_in_the_dark_the_page_is_dark(page: Page) -> None:
    def brightness() -> int:
        colour = str(page.browser.script("return getComputedStyle(document.body).backgroundColor"))
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(", "))

    page.browser.prefer(color_scheme="light")
    assert brightness() > 600
    page.browser.prefer(color_scheme="dark")
    assert brightness() < 150


SHOWN: Final = """
const [question, answer] = arguments;
return import('/static/view.mjs').then(({ messageView }) => {
  const shown = document.querySelector('#log').cloneNode();
  shown.id = 'shown'; // the page makes its own anew when it has loaded the chat
  document.querySelector('#scroll').append(shown);
  messageView(shown, 'user').text(question);
  messageView(shown, 'assistant').text(answer);
});
"""


@pytest.mark.parametrize("size", list(SIZES))
def test_a_wide_table_is_scrolled_by_itself(page: Page, axe: str, size: str) -> None:
    width, _ = SIZES[size]
    page.browser.resize(*SIZES[size])
    columns = "| word " * 40 + "|\n" + "|---" * 40 + "|\n" + "| wide " * 40 + "|\n"
    page.browser.script(SHOWN, "a question", columns)
    (table,) = page.browser.find_all("#shown .table")
    scrolls = page.browser.script(
        "const it = document.querySelector('#shown .table'); return it.scrollWidth - it.clientWidth"
    )
    assert int(str(scrolls)) > 0
    assert page.browser.script("return document.querySelector('#scroll').scrollWidth") <= width  # type: ignore[operator]
    assert table.attribute("tabindex") == "0", "the keyboard scrolls it"
    found = page.browser.script(
        f"{axe}; return axe.run('#shown').then(({{ violations }}) => violations.map(({{ id }}) => id))"
    )
    assert found == []


def test_each_text_runs_in_its_own_direction(page: Page) -> None:
    page.browser.script(SHOWN, "مرحبا، كيف حالك؟", "Hello!\n\nمرحبا!\n\n- שלום\n\n```\nمرحبا = 1\n```")
    directions = page.browser.script(
        "return ['[data-role=user] .text', '.text > p:first-child', '.text > p:nth-child(2)', 'ul', 'pre']"
        ".map((one) => getComputedStyle(document.querySelector(`#shown ${one}`)).direction)"
    )
    assert directions == ["rtl", "ltr", "rtl", "rtl", "ltr"]
