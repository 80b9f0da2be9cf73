"""A browser opens six connections to one origin over HTTP/1.1, for all its tabs: what comes of answers and a Stop."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.samples import blocks

from ..examples.browser import Browser
from ..harness.caddy import CaddyWithCertificate
from ..harness.proxy import FaultProxy
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .test_clients import HERE, node
from .test_packed_client import client
from .test_packed_pages import bundle
from .test_packed_types import project

__all__ = ["client", "node", "project"]

((_, CADDYFILE),) = blocks("docs/how-to/deploy/caddy.md", "caddyfile")
SIX: Final = 6
TEXT: Final = "It goes on "


@pytest.fixture
def connections_page(project: Path, pages: Path) -> None:
    shutil.copy(HERE / "connections_page.ts", project)
    bundle(project, pages / "connections", "connections_page.ts")


@pytest.fixture
def origin(page_server: Worker, connections_page: None) -> Iterator[FaultProxy]:
    """An origin of the test's own: nobody else's connections count among its six."""
    with FaultProxy(page_server.port) as proxy:
        yield proxy


class Page:
    """Answers in one tab. All tabs of a browser share one cookie, and so their user."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        browser.open(f"{url}/pages/connections/?user=ann")
        self.handle = browser.tab()

    def ask(self, count: int = 1) -> None:
        for _ in range(count):
            self.browser.script("window.ask(arguments[0])", uuid.uuid4().hex)

    def stop(self, index: int) -> None:
        self.browser.script("window.stop(arguments[0])", index)

    @property
    def answers(self) -> list[tuple[str, str | None]]:
        """Text and outcome of each."""
        found = self.browser.script("return window.answers()")
        assert isinstance(found, list)
        return [tuple(answer) for answer in found]

    def wait_for(self, *expected: tuple[str, str | None]) -> None:
        wait_until(lambda: self.answers == list(expected), description=f"{expected}, not {self.answers}")


def test_over_http_2_every_answer_of_one_page_arrives(
    browser: Browser, page_server: Worker, connections_page: None
) -> None:
    with CaddyWithCertificate(CADDYFILE, upstream=page_server.port) as caddy:
        page = Page(browser, f"https://localhost:{caddy.port}")
        assert browser.script("return window.protocol()") == "h2"
        page.ask(3 * SIX)
        page.wait_for(*[(TEXT, None)] * 3 * SIX)
        for index in range(3 * SIX):
            page.stop(index)
        page.wait_for(*[(TEXT, "stopped")] * 3 * SIX)


@pytest.mark.slow
def test_over_http_1_the_seventh_answer_waits_and_a_stop_does_not(browser: Browser, origin: FaultProxy) -> None:
    """One page, in which nothing is hidden."""
    page = Page(browser, f"http://127.0.0.1:{origin.port}")
    page.ask(SIX)
    page.wait_for(*[(TEXT, None)] * SIX)
    page.ask()
    page.stop(0)  # waits behind the question, until this answer's connection and another one make room for both
    page.wait_for((TEXT, "stopped"), *[(TEXT, None)] * SIX)
    assert origin.open_connections <= SIX
    for index in range(SIX + 1):
        page.stop(index)
    page.wait_for(*[(TEXT, "stopped")] * (SIX + 1))


@pytest.mark.slow
def test_hidden_tabs_make_room_and_go_on_when_they_are_shown(browser: Browser, origin: FaultProxy) -> None:
    with browser.closing_tabs():
        opened: list[Page] = []
        for _ in range(SIX + 2):
            with browser.new_tab():
                browser.show_tab()
                page = Page(browser, f"http://127.0.0.1:{origin.port}")
                page.ask()
                page.wait_for((TEXT, None))
                opened.append(page)
        assert origin.open_connections <= SIX
        for page in reversed(opened):
            with browser.in_tab(page.handle):
                browser.show_tab()
                page.stop(0)
                page.wait_for((TEXT, "stopped"))
    assert browser.script("return document.visibilityState") == "visible"
