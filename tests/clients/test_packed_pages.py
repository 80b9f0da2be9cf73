"""`useChat` with `streamguard-client`, rendered by React in a headless Chromium, with each version of AI SDK:
the page after a reload is the page before."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ..examples.browser import Browser
from ..harness.proxy import FaultProxy
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .packed import PACKAGE
from .test_clients import HERE, node
from .test_front_ends import REFUSED_STOP
from .test_packed_client import client
from .test_packed_types import SDKS, link, project, samples

__all__ = ["client", "node", "project"]

CURRENT: Final = "7.0.173"
HTML: Final = '<!doctype html><meta charset="utf-8"><div id="root"></div><script type="module" src="page.js"></script>'


class ChatPage:
    """The page with one chat, behind a network that can be cut."""

    def __init__(self, browser: Browser, proxy: FaultProxy, version: str) -> None:
        self.browser = browser
        self.proxy = proxy
        self.version = version
        self.url = (
            f"http://127.0.0.1:{proxy.port}/pages/{version}/?chat={uuid.uuid4().hex}&user=user-{uuid.uuid4().hex}"
        )
        self.open()

    def open(self, more: str = "") -> None:
        """Open the page, from now on with `more` in its query."""
        self.url += more
        self.browser.open(self.url)
        self._loaded()

    def reload(self) -> None:
        self.browser.reload()
        self._loaded()

    def _loaded(self) -> None:
        wait_until(lambda: self.state("loaded") == "true", description="the page has loaded its messages")

    def state(self, name: str) -> str | None:
        found = self.browser.script("return document.getElementById('page')?.dataset[arguments[0]] ?? null", name)
        return None if found is None else str(found)

    def call(self, name: str, *arguments: str | int) -> None:
        self.browser.script("window[arguments[0]](...arguments[1])", name, list(arguments))

    def wait_for(self, status: str) -> None:
        wait_until(lambda: self.state("status") == status, description=f"the chat is {status}: {self.state('status')}")

    def wait_for_text(self, text: str) -> None:
        wait_until(lambda: self.texts and self.texts[-1].startswith(text), description=f"{text} is shown")

    def ask(self, text: str) -> None:
        """Ask, and wait until it is answered, or not."""
        self.call("ask", text)
        wait_until(lambda: text in self.messages, description="the question is shown")

    @property
    def messages(self) -> str:
        """All that is shown, as JSON."""
        return str(self.browser.script("return document.getElementById('messages').textContent"))

    @property
    def texts(self) -> list[str]:
        found = self.browser.script("return [...document.querySelectorAll('article')].map((one) => one.textContent)")
        assert isinstance(found, list)
        return [str(text) for text in found]

    def told(self, name: str) -> object:
        found = self.browser.script("return window.told()")
        assert isinstance(found, dict)
        return found[name]

    def reload_and_compare(self, *, writing: bool = False) -> None:
        """Reload, and compare what is shown once the resume is over, or while the answer goes on."""
        before = json.loads(self.messages)
        self.reload()
        if writing:
            self.wait_for("streaming")
        else:
            wait_until(lambda: self.state("resumed") == "true", description="the resume is over")
        wait_until(lambda: json.loads(self.messages) == before, description=f"as before: {before}\nnow {self.messages}")


def build(project: Path, place: Path, version: str) -> None:
    """Bundle the project's `page.tsx` into a page, with the packages of this version."""
    link(project, {**SDKS[version], "react": "react", "react-dom": "react-dom"})
    bundle(project, place, "page.tsx")


def bundle(project: Path, place: Path, source: str) -> None:
    """Bundle a file of the project's into a page."""
    place.mkdir(exist_ok=True)
    (place / "index.html").write_text(HTML)
    esbuild = PACKAGE / "node_modules" / ".bin" / "esbuild"
    options = ["--bundle", "--format=esm", "--jsx=automatic", f"--outfile={place / 'page.js'}"]
    bundled = subprocess.run([esbuild, source, *options], cwd=project, capture_output=True, text=True, timeout=60)
    assert bundled.returncode == 0, bundled.stderr


@pytest.fixture(params=SDKS)
def page(
    request: pytest.FixtureRequest, project: Path, pages: Path, page_server: Worker, browser: Browser
) -> Iterator[ChatPage]:
    version = str(request.param)
    (project / "page.tsx").write_text((HERE / "react_page.tsx").read_text())
    build(project, pages / version, version)
    with FaultProxy(page_server.port) as proxy:
        yield ChatPage(browser, proxy, version)


def test_the_page_after_a_reload_is_the_page_before(page: ChatPage) -> None:
    page.ask("tools")
    page.wait_for_text("It is 21° 🌊 there.")
    page.wait_for("ready")
    page.reload_and_compare()

    page.ask("long")
    page.wait_for_text("It goes on")
    page.proxy.cut()
    wait_until(lambda: page.told("reconnects") != 0, description="it connects again")
    page.reload_and_compare(writing=True)
    with page.browser.new_tab():
        page.open()
        page.wait_for_text("It goes on")
        page.call("stopAnswer")
        page.wait_for("ready")
        in_second = page.messages
    page.wait_for("ready")
    assert page.messages == in_second
    page.reload_and_compare()

    page.call("edit", 2, "one")
    wait_until(lambda: page.texts[-1] == "Answer to one", description="the edited question is answered")
    page.wait_for("ready")
    page.reload_and_compare()
    answered = page.messages
    page.call("regenerate")
    wait_until(lambda: len(page.texts) == 4 and page.messages != answered, description="it is answered again")
    page.wait_for("ready")
    wait_until(lambda: page.texts[-1] == "Answer to one", description="to its end")
    page.reload_and_compare()

    page.ask("fail")
    page.wait_for("error")
    assert page.state("error") == "provider_error"
    assert page.told("faults") == ["provider_error"]
    page.reload_and_compare()


def test_a_lost_connection_is_said_and_the_answer_is_shown_when_it_is_back(page: ChatPage) -> None:
    page.ask("long")
    page.wait_for_text("It goes on")
    page.proxy.refuse()
    page.wait_for("error")
    assert page.state("error") == "connection_lost"
    page.proxy.forward()
    page.call("resume")
    page.wait_for("streaming")
    page.call("stopAnswer")
    page.wait_for("ready")
    assert page.texts == ["long", "It goes on "]
    page.reload_and_compare()


def test_a_used_up_quota_is_told_and_the_question_goes_back(page: ChatPage) -> None:
    page.open("&api=/api/limited")
    for text in ("one", "two"):
        page.ask(text)
        wait_until(lambda text=text: page.texts[-1] == f"Answer to {text}", description="it is answered")  # type: ignore[misc]
        page.wait_for("ready")
    page.call("ask", "three")
    page.wait_for("error")
    wait_until(lambda: page.state("draft") == "three", description="the question is given back")
    assert page.state("error") == "quota_exceeded"
    told = page.told("quotas")
    assert isinstance(told, list)
    ((code, retry_after),) = told  # once
    assert code == "quota_exceeded"
    assert float(page.state("retryAfter") or 0) >= retry_after > 0
    assert page.texts == ["one", "Answer to one", "two", "Answer to two"]
    page.reload_and_compare()


def test_resend_repeats_a_lost_question_by_its_key(page: ChatPage) -> None:
    page.open("&attempts=0")
    page.proxy.lose_reply(b"POST /api/chat ", times=100)  # a browser tries again by itself on a connection it had open
    page.ask("words 3")
    page.wait_for("error")
    assert page.state("error") == "connection_lost"
    page.proxy.disarm(b"POST /api/chat ")
    page.call("resend")
    page.wait_for("ready")
    assert page.texts == ["words 3", "wörd0 wörd1 wörd2 "]
    keys = page.told("keys")
    assert isinstance(keys, list)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert keys[0] is not None
    page.reload_and_compare()


def test_resumed_twice_by_strict_mode(page: ChatPage) -> None:
    page.ask("long")
    page.wait_for_text("It goes on")
    page.open("&resume")
    page.wait_for_text("It goes on")
    page.wait_for("streaming")
    page.call("stopAnswer")
    page.wait_for("ready")
    assert page.texts == ["It goes on "]
    assert page.state("error") is None


@pytest.mark.slow
@pytest.mark.parametrize("page", [CURRENT], indirect=True)
def test_cut_after_every_block_the_page_has_every_part_once(page: ChatPage) -> None:
    page.ask("tools")
    page.wait_for("ready")
    (_, whole) = json.loads(page.messages)
    for blocks in range(100):
        page.proxy.cut_reply(b"POST /api/chat ", blocks=blocks)
        page.call("ask", "tools")
        count = 2 * blocks + 4
        wait_until(lambda count=count: len(page.texts) == count, description="it is answered")  # type: ignore[misc]
        page.wait_for("ready")
        assert json.loads(page.messages)[-1]["parts"] == whole["parts"], f"after {blocks}"
        if page.proxy.replies_cut <= blocks:
            break
    assert page.proxy.replies_cut > len(whole["parts"]) * 2
    assert page.state("error") is None
    page.proxy.disarm(b"POST /api/chat ")
    page.reload_and_compare()


def test_the_how_to_runs_as_written(project: Path, pages: Path, page_server: Worker, browser: Browser) -> None:
    (component,) = (
        source for _, source in samples("docs/how-to/javascript-client.md") if "export function Chat" in source
    )
    (project / "Chat.tsx").write_text(component)
    (project / "page.tsx").write_text(
        'import { createRoot } from "react-dom/client";\n'
        'import { Chat } from "./Chat.tsx";\n'
        'document.cookie = "user=reader; path=/";\n'
        'createRoot(document.getElementById("root")).render(<Chat id={location.search.slice(1)} />);\n'
    )
    build(project, pages / "how-to", CURRENT)
    browser.open(f"{page_server.url}/pages/how-to/?{uuid.uuid4().hex}")
    browser.find("button").click()
    expected = ["Hello", "Answer to Hello"]
    wait_until(lambda: [one.text for one in browser.find_all("article")] == expected, description="it is answered")
    browser.reload()
    wait_until(lambda: [one.text for one in browser.find_all("article")] == expected, description="and again")
    assert browser.find_all("[role=alert]") == []


COMING_AND_GOING: Final = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./Chat.tsx";

document.cookie = "user=reader; path=/";
const id = location.search.slice(1);
const own = fetch;
window.held = 0; // connections whose answer is being read
window.fetch = async (...request) => {
  const response = await own(...request);
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
  window.held += 1;
  const reader = response.body.getReader();
  const pull = async (controller) => controller.enqueue((await reader.read()).value);
  const cancel = (reason) => {
    window.held -= 1;
    return reader.cancel(reason);
  };
  return new Response(new ReadableStream({ pull, cancel }), response);
};
const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: "long" }] }];
const headers = { "content-type": "application/json" };
const asked = await own("/api/chat", { method: "POST", headers, body: JSON.stringify({ id, messages }) });
await asked.body.cancel();
const root = createRoot(document.getElementById("root"));
const elsewhere = <p id="elsewhere">Elsewhere</p>;
window.show = (isShown) => root.render(<StrictMode>{isShown ? <Chat id={id} /> : elsewhere}</StrictMode>);
window.show(true);
"""


@pytest.mark.parametrize("version", SDKS)
def test_a_chat_that_is_left_and_returned_to_holds_one_connection(
    project: Path, pages: Path, page_server: Worker, browser: Browser, version: str
) -> None:
    (component,) = (
        source for _, source in samples("docs/how-to/javascript-client.md") if "export function Chat" in source
    )
    (project / "Chat.tsx").write_text(component)
    (project / "page.tsx").write_text(COMING_AND_GOING)
    build(project, pages / f"left-{version}", version)
    browser.open(f"{page_server.url}/pages/left-{version}/?{uuid.uuid4().hex}")

    def held() -> object:
        return browser.script("return window.held")

    for _ in range(3):
        wait_until(lambda: browser.find_all("article:nth-child(2)"), description="the answer is shown")
        assert held() == 1
        browser.script("window.show(false)")
        browser.find("#elsewhere")
        wait_until(lambda: held() == 0, description="its connection is closed")
        browser.script("window.show(true)")
    wait_until(lambda: browser.find_all("article:nth-child(2)"), description="the answer is shown")
    browser.script(REFUSED_STOP)
    wait_until(lambda: browser.find_all("[role=alert]"), description="it is said that Stop was refused")
    assert browser.find("[role=alert]").text == "The answer goes on: No."
    browser.find("button").click()
    wait_until(lambda: browser.find("button").text == "Ask", description="the answer is stopped")
    assert browser.find_all("[role=alert]") == []
    assert [one.text for one in browser.find_all("article")] == ["long", "It goes on "]


def test_the_samples_run_as_written(project: Path, pages: Path, page_server: Worker, browser: Browser) -> None:
    link(project, {**SDKS[CURRENT], "react": "react", "react-dom": "react-dom"})
    written = {"readme": "clients/javascript/README.md", "how-to": "docs/how-to/javascript-client.md"}
    for name, page in {**written, "reference": "docs/reference/javascript.md"}.items():
        for number, (_, source) in enumerate(samples(page)):
            (project / f"{name}-{number}.tsx").write_text(source)
    (project / "page.tsx").write_text((HERE / "samples_page.tsx").read_text())
    bundle(project, pages / "samples", "page.tsx")
    browser.open(f"{page_server.url}/pages/samples/")
    wait_until(lambda: browser.script("return window.done"), description="the samples have run")
    assert browser.script("return window.results") == {
        "useGuardedChat": ["Hello", "Answer to Hello", "nothing_runs"],
        "openStream": "Answer to Hello",
        "ask": [["completed", "Answer to one"], "stopped"],
        "follow": "It goes on ",
        "textOf": "It goes on ",
        "stop": "stopping",
        "remaining": ["requests-week: 2 requests"],
    }
