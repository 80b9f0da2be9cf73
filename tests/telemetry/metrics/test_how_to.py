"""The page about metrics, followed step by step with a real Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.docs.samples import blocks, run_page, serving
from tests.harness.ports import free_port
from tests.harness.tools import missing
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long]

PAGE: Final = "docs/how-to/metrics.md"
QUERIES: Final = [query for _, query in blocks(PAGE, "promql")]


class Prometheus:
    """A server, and what its API says."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, what: str, **parameters: str) -> Any:
        """Its answer; None while it does not listen."""
        try:
            answer = httpx.get(self._url + what, params=parameters).json()
        except (httpx.TransportError, ValueError):
            return None
        assert answer["status"] == "success", answer
        return answer["data"]

    def target(self) -> dict[str, Any]:
        """What it says of the one that it scrapes."""
        found = self.get("targets")
        (target,) = (found or {}).get("activeTargets") or [{}]
        return dict(target)


@contextmanager
def prometheus(directory: Path, target: int) -> Iterator[Prometheus]:
    """Prometheus with the page's configuration. It is in a hurry."""
    if shutil.which("prometheus") is None:
        missing("prometheus is not installed: apt-get install prometheus")
    ((_, text),) = blocks(PAGE, "yaml")
    for usual, here in (("127.0.0.1:8000", f"127.0.0.1:{target}"), ("15s", "200ms")):
        assert text.count(usual) == 1
        text = text.replace(usual, here)
    config, port = directory / "prometheus.yml", free_port()
    config.write_text("global: {scrape_timeout: 200ms, scrape_interval: 200ms}\n" + text)
    words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (directory / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            server = Prometheus(port)
            wait_until(lambda: server.get("targets") is not None, description="Prometheus listens")
            yield server
        finally:
            process.kill()


def test_prometheus_reads_the_page_and_answers_its_queries(redis_url: str, tmp_path: Path) -> None:
    with (
        run_page(PAGE, redis_url=redis_url) as module,
        serving(module.app) as port,
        prometheus(tmp_path, port) as server,
    ):
        # It asks for OpenMetrics, which its parser takes strictly.
        wait_until(lambda: server.target().get("health") == "up", description="Prometheus reads the page")
        assert server.target()["lastError"] == ""
        answer = httpx.post(f"http://127.0.0.1:{port}/api/chat", json={"id": "docs", "messages": []})
        assert "an answer to 0 messages" in answer.text
        ended = 'streamguard_stream_terminal_total{outcome="completed"}'
        wait_until(lambda: server.get("query", query=ended)["result"], description="the end is counted")
        for query in QUERIES:
            server.get("query", query=query)  # which asserts that it is one
        answered = [query for query in QUERIES if server.get("query", query=query)["result"]]
        assert "sum(streamguard_streams_active)\n" in answered
        types = server.get("metadata", metric="streamguard_stream_terminal_total")
        assert [one["type"] for one in types.get("streamguard_stream_terminal_total", [])] in ([], ["counter"])
        series = server.get("series", **{"match[]": '{__name__=~"streamguard_.*", __name__!~".*_created"}'})
        assert 150 < len(series) < 500, "one endpoint, one answer"
