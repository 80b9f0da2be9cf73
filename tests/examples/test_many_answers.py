"""A browser reads more answers at once than the six connections that it opens to one origin over HTTP/1.1."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..docs.samples import blocks
from ..harness.caddy import CaddyWithCertificate
from ..harness.waiting import wait_until
from .browser import Browser
from .live import chat_body, example

pytestmark = pytest.mark.slow

READERS = 9
READ = """
window.seen = {};
const read = async (name, url, options) => {
  const reader = (await fetch(url, options)).body.getReader();
  const decoder = new TextDecoder();
  for (let text = "", next; !(next = await reader.read()).done; ) {
    text += decoder.decode(next.value, { stream: true });
    if (text.includes("text-delta")) window.seen[name] = true;
  }
};
const [body, readers, session] = arguments;
read("asks", "/api/chat", { method: "POST", headers: { "content-type": "application/json" }, body });
window.watch = () => {
  for (let n = 0; n < readers; n++) read(`watches ${n}`, `/api/chat/${session}/stream`);
};
"""


@pytest.fixture
def proxy() -> Iterator[tuple[CaddyWithCertificate, str]]:
    """The proxy of the how-to page with a certificate, and the address of the example behind it."""
    ((_, configuration),) = blocks("docs/how-to/deploy/caddy.md", "caddyfile")
    with (
        example(gap_ms=10) as worker,
        CaddyWithCertificate(configuration, upstream=worker.port) as caddy,
    ):
        yield caddy, f"https://localhost:{caddy.port}"


def test_http_2_carries_them_all(browser: Browser, proxy: tuple[CaddyWithCertificate, str]) -> None:
    _, url = proxy
    browser.open(f"{url}/api/chat/health/live")
    browser.script(READ, json.dumps(chat_body("many", "!slow 200")), READERS, "many")
    wait_until(lambda: browser.script("return window.seen.asks"), description="the answer is being written", timeout=10)
    browser.script("window.watch()")
    wait_until(
        lambda: browser.script("return Object.keys(window.seen).length") == 1 + READERS,
        description="every reader gets the answer",
        timeout=20,
    )
    status = browser.script(
        "const request = new XMLHttpRequest(); request.open('GET', '/api/chat/many', false); request.send();"
        "return JSON.parse(request.responseText)"
    )
    assert isinstance(status, dict)
    assert status["active"] is not None, "all of them at once, while it is written"
    spoken = browser.script("return performance.getEntriesByType('navigation')[0].nextHopProtocol")
    assert spoken == "h2"
