"""`useChat` with `streamguard-client` in a Chromium page that is left, frozen, reloaded and cut off its network: it
ends with each answer once, whole."""

from __future__ import annotations

import pytest

from ..harness.waiting import wait_until
from .test_clients import node
from .test_packed_client import client
from .test_packed_pages import CURRENT, ChatPage, page
from .test_packed_types import project

__all__ = ["client", "node", "page", "project"]

pytestmark = pytest.mark.parametrize("page", [CURRENT], indirect=True)

STOPPED = ["long", "It goes on "]
ANSWERED = ["words 3", "wörd0 wörd1 wörd2 "]


def asked(page: ChatPage) -> None:
    """Ask for an answer that goes on until it is stopped."""
    page.ask("long")
    page.wait_for_text("It goes on")


def goes_on_to_its_end(page: ChatPage) -> None:
    """The answer is being written; stop it, and look whether it is shown once."""
    page.wait_for("streaming")
    page.call("stopAnswer")
    page.wait_for("ready")
    wait_until(lambda: page.texts == STOPPED, description=f"{STOPPED}, not {page.texts}")
    page.reload_and_compare()


def test_a_page_that_the_history_gives_back(page: ChatPage) -> None:
    asked(page)
    page.browser.script("addEventListener('pageshow', ({ persisted }) => (window.isPersisted = persisted))")
    page.browser.open(f"http://127.0.0.1:{page.proxy.port}/api/chat/health/live")
    page.browser.back()
    assert page.browser.script("return window.isPersisted") is True  # the same page, whose connection is gone
    goes_on_to_its_end(page)


def test_a_page_without_a_network(page: ChatPage) -> None:
    asked(page)
    with page.browser.offline():
        page.proxy.cut()
        wait_until(lambda: page.told("reconnects") != 0, description="it tries to connect")
    goes_on_to_its_end(page)


def test_a_question_asked_without_a_network(page: ChatPage) -> None:
    with page.browser.offline():
        page.ask("words 3")
        wait_until(lambda: page.told("reconnects") != 0, description="it tries to connect")
    page.wait_for("ready")
    wait_until(lambda: page.texts == ANSWERED, description="it is answered")
    page.reload_and_compare()


def test_a_page_that_is_frozen_in_a_hidden_tab(page: ChatPage) -> None:
    asked(page)
    with page.browser.closing_tabs():
        with page.browser.new_tab():
            page.browser.show_tab()
        with page.browser.frozen():
            page.proxy.cut()
        page.browser.show_tab()
        goes_on_to_its_end(page)


def test_a_tab_that_is_reloaded_while_it_stops_what_another_shows(page: ChatPage) -> None:
    asked(page)
    both = [*STOPPED, *ANSWERED]
    with page.browser.closing_tabs():
        with page.browser.new_tab():
            page.open()
            page.wait_for_text("It goes on")
            page.call("stopAnswer")
            page.reload()
            wait_until(lambda: page.state("resumed") == "true", description="the resume is over")
            wait_until(lambda: page.texts == STOPPED, description="the stopped answer is shown")
            page.ask("words 3")
            page.wait_for("ready")
            wait_until(lambda: page.texts == both, description="both answers are shown")
        page.browser.show_tab()
        page.wait_for("ready")
        assert page.texts == STOPPED
        page.reload()
        wait_until(lambda: page.texts == both, description="both answers are shown")
