"""The latency to a real browser: headless Chromium reads a stream with `fetch`, and tells when each event arrived."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from .pieces import PIECE
from .plan import Measured
from .processes import BenchmarkError
from .transcript import spread_of

__all__ = ["browser", "measure_browser"]

_SECONDS: Final = 60.0
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_PAGE: Final = """<!doctype html><script type="module">
const read = async (stream, events) => {
  const query = `stream=${stream}&events=${events}&gap=GAP&hold=0`;
  const asked = performance.timeOrigin + performance.now();
  const options = {method: "POST", headers: {"X-User": "browser", "X-Session": `page-${asked}-${stream}`}};
  const response = await fetch(`http://127.0.0.1:PORT/chat?${query}`, options);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const chunks = [];
  for (let part; !(part = await reader.read()).done;)
    chunks.push([performance.timeOrigin + performance.now(), part.value]);
  return {asked, chunks};
};
await read(0, 20);
const found = [];
for (let stream = 1; stream <= STREAMS; stream++) found.push(await read(stream, EVENTS));
await fetch("/done", {method: "POST", body: JSON.stringify(found)});
</script>"""
"""It is given to the browser by a server of this process, and reads from another: web security is off."""


def browser() -> str | None:
    """The Chromium on PATH."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class _Pages(ThreadingHTTPServer):
    def __init__(self, page: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page = page.encode()
        self.said: bytes = b""
        self.done = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Pages

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def do_POST(self) -> None:
        self.server.said = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_message(self, *args: object) -> None:
        """Not to standard error."""


def measure_browser(port: int, *, streams: int, events: int, gap_seconds: float) -> Measured:
    """`streams` answers, one after the other, read by a page.

    Latency is from the making of an event to the moment when the page has its text. Both are times of this machine:
    the page's clock is the wall clock at its beginning, and monotonic from there.

    Raises:
        BenchmarkError: there is no Chromium.
    """
    program = browser()
    if program is None:
        raise BenchmarkError("no Chromium: `apt-get install chromium`")
    page = _PAGE.replace("PORT", str(port)).replace("STREAMS", str(streams)).replace("EVENTS", str(events))
    with _Pages(page.replace("GAP", str(gap_seconds))) as pages, tempfile.TemporaryDirectory() as profile:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-web-security", "--no-first-run"]
        arguments += [f"--user-data-dir={profile}", f"http://127.0.0.1:{pages.server_port}/"]
        child = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done = pages.done.wait(_SECONDS)
        finally:
            child.terminate()
            child.wait(20)
            pages.shutdown()
            thread.join()
    if not done:
        return Measured(problems=[f"the browser was not done within {_SECONDS:.0f} s"])
    return _read(json.loads(pages.said), streams, events)


def _read(answers: list[dict[str, object]], streams: int, events: int) -> Measured:
    wall = time.time_ns() - time.monotonic_ns()
    lags: list[int] = []
    first: list[int] = []
    pattern = re.compile(PIECE.pattern.decode())
    for answer in answers:
        text, at, seen = "", 0, 0
        chunks = answer["chunks"]
        assert isinstance(chunks, list)
        for arrived_ms, part in chunks:
            text += part
            while (match := pattern.search(text, at)) is not None:
                at, seen = match.end(), seen + 1
                arrived = int(arrived_ms * 1e6) - wall
                if seen == 1:
                    first.append(int((arrived_ms - float(str(answer["asked"]))) * 1e6))
                lags.append(arrived - int(match[3]))
        if seen != events:
            return Measured(problems=[f"the browser got {seen} of {events} events"])
    return Measured(events=len(lags), responses=streams, seconds=1.0, first=spread_of(first), latency=spread_of(lags))
