"""The components of the how-tos about front ends, built by Vite and used in a headless Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Final

import pytest

from ..docs.samples import ROOT
from ..examples.browser import Browser
from ..harness.dev_servers import FRONT_ENDS
from ..harness.proxy import FaultProxy
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .packed import install_locked
from .test_clients import node

__all__ = ["node"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAMPLE: Final = re.compile(r'^```(?:ts|vue|svelte) title="([^"]+)"\n(.*?)^```$', re.M | re.S)
PLUGIN: Final = {
    "vue": 'import vue from "@vitejs/plugin-vue"; const plugins = [vue()];',
    "svelte": 'import { svelte } from "@sveltejs/vite-plugin-svelte"; const plugins = [svelte()];',
    "event-source": "const plugins = [];",
}
CONFIGURATION: Final = (
    'export default { base: "./", plugins, build: { emptyOutDir: true, reportCompressedSize: false } };'
)
HTML: Final = (
    '<!doctype html><meta charset="utf-8"><div id="root"></div><p id="answer"></p><p id="error"></p>'
    '<script type="module" src="main.ts"></script>'
)
CHAT: Final = """
import { initialMessages } from "./initial-messages";
const id = location.search.slice(1);
document.cookie = "user=reader; path=/";
const props = { id, initial: await initialMessages(id) };
const target = document.querySelector("#root")!;
"""
REFUSED_STOP: Final = """
const own = window.fetch;
const fault = { fault_id: "f1", code: "forbidden_origin", severity: "error", message: "No." };
const error = { type: "streamguard_error", ...fault };
window.fetch = (url, init) => {
  if (!String(url).includes("/stop")) return own(url, init);
  window.fetch = own;
  return Promise.resolve(new Response(JSON.stringify({ error }), { status: 403 }));
};
document.querySelector('button').click();
"""
MAIN: Final = {
    "vue": 'import { createApp } from "vue"; import Chat from "./Chat.vue";'
    + CHAT
    + "createApp(Chat, props).mount(target);",
    "svelte": 'import { mount } from "svelte"; import Chat from "./Chat.svelte";'
    + CHAT
    + "mount(Chat, { target, props });",
    "event-source": """
import { ask, watch } from "./event-source";
let source: EventSource | undefined;
document.cookie = "user=reader; path=/";
const id = location.search.slice(1);
Object.assign(window, {
  question: async (text: string) => { source = await ask("/api/plain", id, { messages: [{ parts: [{ text }] }] }); },
  again: () => { source = watch("/api/plain", id); },
  stopped: () => fetch(`/api/plain/${id}/stop`, { method: "POST" }),
  state: () => source?.readyState,
});
""",
}


def samples(*pages: str) -> dict[str, str]:
    """The pages' files, by their names."""
    texts = [(ROOT / f"docs/how-to/front-ends/{page}.md").read_text() for page in pages]
    return {name: body for text in texts for name, body in SAMPLE.findall(text)}


def build(node: str, name: str, place: Path) -> None:
    """Build the page `name` with the page's own samples, into a folder of that name."""
    install_locked(shutil.which("npm") or "npm", FRONT_ENDS)
    project = FRONT_ENDS / f"streamguard-{name}-{uuid.uuid4().hex[:8]}"
    project.mkdir()
    try:
        files = samples(name) if name == "event-source" else samples(name, "usechat-in-full")
        files |= {"index.html": HTML, "main.ts": MAIN[name], "vite.config.mjs": PLUGIN[name] + CONFIGURATION}
        for path, text in files.items():
            (project / path).write_text(text)
        vite = FRONT_ENDS / "node_modules" / "vite" / "bin" / "vite.js"
        command = [node, str(vite), "build", "--outDir", str(place / name), "--logLevel", "warn"]
        built = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
        assert built.returncode == 0, built.stdout + built.stderr
    finally:
        shutil.rmtree(project)


@pytest.mark.parametrize("name", ["vue", "svelte"])
def test_a_component_asks_resumes_after_a_reload_and_a_cut_and_stops(
    node: str, name: str, pages: Path, page_server: Worker, browser: Browser
) -> None:
    build(node, name, pages)

    def shown() -> list[str]:
        found = browser.script("return [...document.querySelectorAll('article')].map((one) => one.textContent.trim())")
        assert isinstance(found, list)
        return [str(text) for text in found]

    def ask(text: str) -> None:
        browser.find("input").type(f"{text}\n")

    def wait_for_button(label: str) -> None:
        # In one step: the framework replaces elements at any moment.
        text = "return document.querySelector('button')?.textContent.trim()"
        wait_until(lambda: browser.script(text) == label, description=f"the button is {label}")

    alert = "return document.querySelector('[role=alert]')?.textContent.trim()"
    with FaultProxy(page_server.port) as proxy:
        browser.open(f"http://127.0.0.1:{proxy.port}/pages/{name}/?{uuid.uuid4().hex}")
        ask("words 3")
        first = ["words 3", "wörd0 wörd1 wörd2"]
        wait_until(lambda: shown() == first, description="it is answered")
        wait_for_button("Send")

        ask("long")
        begun = [*first, "long", "It goes on"]
        wait_until(lambda: shown() == begun, description="the next answer begins")
        browser.reload()
        wait_until(lambda: shown() == begun, description="the reloaded page has it all")
        wait_for_button("Stop")
        before = proxy.connections
        proxy.cut()
        wait_until(lambda: proxy.connections > before, description="the page comes back")
        wait_for_button("Stop")
        assert shown() == begun
        proxy.refuse()
        wait_for_button("Reconnect")
        assert str(browser.script(alert)).startswith("The connection was lost.")
        assert shown() == begun
        proxy.forward()
        # By then the page may be trying once more by itself, and has no such button.
        reconnect = "[...document.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Reconnect')"
        browser.script(f"{reconnect}?.click()")
        wait_for_button("Stop")
        assert shown() == begun
        browser.script(REFUSED_STOP)
        wait_until(lambda: browser.script(alert) == "No.", description="it is said that Stop was refused")
        browser.script(REFUSED_STOP)
        # One macrotask later the second refusal was read: fetch and its body are settled promises.
        browser.script("return new Promise((done) => setTimeout(done))")
        assert browser.script("return document.querySelectorAll('[role=alert]').length") == 1, "the same fault, once"
        browser.script("document.querySelector('button').click()")
        wait_for_button("Send")
        assert shown() == begun

        ask("fail")
        assert "sk-secret" not in str(wait_until(lambda: browser.script(alert), description="the fault is shown"))


def test_event_source_reads_an_answer_through_a_cut_and_a_reload(
    node: str, pages: Path, page_server: Worker, browser: Browser
) -> None:
    build(node, "event-source", pages)
    open_, closed = 1, 2

    def wait_for(state: int, answer: str, error: str = "") -> None:
        wait_until(
            lambda: browser.script("return window.state()") == state, description=f"the source's state is {state}"
        )
        wait_until(lambda: browser.find("#answer").text == answer, description=f"the answer is {answer}")
        assert browser.find("#error").text == error

    def loaded() -> None:
        wait_until(lambda: browser.script("return 'state' in window"), description="the page's script ran")

    def call(script: str) -> None:
        browser.script(f"window.{script}")

    with FaultProxy(page_server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/pages/event-source/?{uuid.uuid4().hex}"
        browser.open(url)
        loaded()
        call("question('long')")
        wait_for(open_, "It goes on ")
        before = proxy.connections
        proxy.cut()
        wait_until(lambda: proxy.connections > before, description="the browser comes back by itself")
        wait_for(open_, "It goes on ")
        browser.reload()
        loaded()
        call("again()")
        wait_for(open_, "It goes on ")
        call("stopped()")
        wait_for(closed, "It goes on ")

        browser.open(f"{url}2")
        loaded()
        call("question('words 3')")
        wait_for(closed, "wörd0 wörd1 wörd2 ")
        browser.reload()
        loaded()
        call("question('fail')")
        wait_until(lambda: browser.find("#error").text, description="the fault is shown")
        assert "sk-secret" not in browser.find("#error").text
