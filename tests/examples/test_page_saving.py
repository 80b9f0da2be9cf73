"""What the example's page shows of saving: kept, not yet, not at all; and what its reader can do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from streamguard.values import Persisted

from ..harness.postgres import PostgresServer
from ..harness.proxy import FaultProxy
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .browser import Browser
from .live import Example, example, scripted_answer
from .page import Page

PROMPT = "How does a stream survive?"
SETTINGS = """{
    "breaker_probe_seconds": 0.1, "outbox_seconds": 0.2, "outbox_retry_seconds": 0.2, "outbox_max_retry_seconds": 0.5,
    "save_visible_seconds": 1.0
}"""


@pytest.fixture
def live() -> Iterator[Example]:
    """A server of each test's own: chats whose saves fail are in the way of others."""
    with example(gap_ms=5, STREAMGUARD_SETTINGS=SETTINGS) as worker:
        yield worker


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[FaultProxy]:
    with FaultProxy(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def remote(postgres_server: PostgresServer, proxy: FaultProxy) -> Iterator[Example]:
    """A server whose database is behind `proxy`."""
    url = postgres_server.url(proxy.port)
    with example(gap_ms=5, STREAMGUARD_SETTINGS=SETTINGS, DEMO_DATABASE_URL=url) as worker:
        yield worker


def rows(live: Example, page: Page) -> list[tuple[str, str]]:
    """Role and status of every message in the chat's SQLite file."""
    query = "SELECT role, status FROM streamguard_messages WHERE session_id = ? ORDER BY position"
    with closing(sqlite3.connect(live.database)) as connection:
        return connection.execute(query, (page.chat_id,)).fetchall()


def last(worker: Worker, page: Page) -> dict[str, str]:
    """The status of the chat's last answer."""
    url = f"{worker.url}/api/chat/{page.chat_id}"
    found: dict[str, str] = httpx.get(url, cookies=page.browser.cookies(), trust_env=False).json()["last"]
    return found


def forget(browser: Browser) -> None:
    """Nothing of a chat is left in the browser but its address and the visitor's cookie."""
    browser.script("localStorage.clear()")


WHOLE = [("user", "complete"), ("assistant", "complete")]


def test_a_kept_answer_is_known_to_be_kept_and_is_there_in_another_browser(page: Page, live: Example) -> None:
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.save == "saved"
    assert page.note == ""
    assert rows(live, page) == WHOLE
    forget(page.browser)
    page.open()
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    assert page.save == "saved"
    assert page.messages() == 2


def test_kept_chats_outlive_the_server(page: Page, live: Example) -> None:
    """Even with a log in memory; the visitor is the same one, and goes on with the chat."""
    page.ask(PROMPT)
    page.wait_for("completed")
    live.terminate()
    live.wait_exit(20)
    live.start()
    page.open()
    page.wait_for("completed")
    assert page.answer == scripted_answer(PROMPT)
    page.ask("And then?")
    wait_until(lambda: page.messages() == 4 and page.state == "completed", description="the chat goes on", timeout=15)
    assert rows(live, page) == WHOLE * 2


def test_a_database_that_fails_twice_is_nobodys_concern(page: Page, live: Example) -> None:
    page.ask("!persist-flaky")
    page.wait_for("completed")
    assert page.save == "saved"
    assert page.banners == []
    assert page.note == ""
    assert rows(live, page) == WHOLE


def test_a_slow_save_is_pending_and_then_done(page: Page, live: Example) -> None:
    page.ask("!persist-slow 4000")
    page.wait_for("completed")
    assert page.save == "saving"
    assert page.note == "Saving …"
    assert [role for role, _ in rows(live, page)] == ["user"]
    page.wait_for_save("saved")
    assert page.note == "Saved"
    assert page.banners == []
    assert rows(live, page) == WHOLE
    assert last(live, page)["persisted"] == Persisted.YES


def test_an_answer_that_is_kept_late_is_shown_behind_its_question(page: Page, live: Example) -> None:
    """Its reader has gone on meanwhile, so it is the last one in the database."""
    slow = "!persist-slow 4000"
    page.ask(slow)
    page.wait_for("completed")
    page.wait_for_save("saving")
    page.ask(PROMPT)
    wait_until(lambda: page.messages() == 4 and page.state == "completed", description="the chat goes on", timeout=15)
    wait_until(lambda: len(rows(live, page)) == 4, description="both answers are kept", timeout=15)
    assert [role for role, _ in rows(live, page)] == ["user", "user", "assistant", "assistant"]
    said = [slow, scripted_answer(slow), PROMPT, scripted_answer(PROMPT)]
    assert page.texts() == said
    forget(page.browser)
    page.open()
    page.wait_for_save("saved")
    assert page.texts() == said


def test_what_cannot_be_saved_can_be_downloaded_and_sent_again(page: Page, live: Example) -> None:
    page.ask("!persist-fail")
    page.wait_for("completed")
    page.wait_for_save("unsaved")
    assert page.note.startswith("Not saved – The answer could not be saved.")
    assert page.banners == []
    assert rows(live, page) == []
    stream = last(live, page)
    assert stream["persisted"] == Persisted.PENDING

    page.press("Download")
    file = page.browser.downloads / f"{stream['stream_id']}.txt"
    wait_until(file.exists, description="the answer is downloaded", timeout=10)
    assert file.read_text() == scripted_answer("!persist-fail")

    for reloaded in (False, True):
        if reloaded:
            page.open()
            page.wait_for_save("unsaved")
        page.press("Resend")
        page.wait_for("completed")
        page.wait_for_save("unsaved")
        assert page.messages() == 2
        assert page.answer == scripted_answer("!persist-fail")
        assert last(live, page)["stream_id"] == stream["stream_id"]


def test_sent_again_while_the_database_is_away_it_is_kept_once(
    browser: Browser, proxy: FaultProxy, remote: Example
) -> None:
    page = Page(browser, remote.url)
    page.ask(PROMPT)
    page.wait_for("completed")
    assert page.save == "saved"
    proxy.refuse()
    page.ask("And then?")
    wait_until(lambda: page.messages() == 4, description="it is asked")
    page.wait_for("completed")
    page.wait_for_save("unsaved")
    stream = last(remote, page)
    page.press("Resend")
    page.wait_for("completed")
    page.wait_for_save("unsaved")
    proxy.forward()
    page.wait_for_save("saved")
    assert page.note == "Saved"
    assert last(remote, page) == stream | {"persisted": "yes"}
    forget(browser)
    page.open()
    wait_until(lambda: page.messages() == 4, description="everything is there")
    assert page.answer == scripted_answer("And then?")
    assert page.save == "saved"
    url = f"{remote.url}/api/chat/{page.chat_id}/messages"
    kept = httpx.get(url, cookies=browser.cookies(), trust_env=False).json()["messages"]
    assert [(message["role"], message["position"]) for message in kept] == [
        ("user", 1),
        ("assistant", 2),
        ("user", 3),
        ("assistant", 4),
    ]


def test_while_the_database_cannot_be_read_the_page_says_so_and_then_catches_up(
    browser: Browser, proxy: FaultProxy, remote: Example
) -> None:
    page = Page(browser, remote.url)
    page.ask(PROMPT)
    page.wait_for("completed")
    forget(browser)
    proxy.refuse()
    page.open()
    wait_until(lambda: page.banners == ["store_unavailable"], description="it says so", timeout=15)
    proxy.forward()
    page.wait_for("completed", timeout=30)
    assert page.answer == scripted_answer(PROMPT)
    assert page.banners == []
