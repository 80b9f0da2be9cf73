"""The page of metrics: what Prometheus' own tool says of it, and what several workers show together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from streamguard import Observation
from streamguard.telemetry.metrics import PrometheusMetrics
from tests.harness.tools import missing

WORKER = """
import os, sys
from streamguard import Observation, Signal
from streamguard.telemetry.metrics import PrometheusMetrics
metrics = PrometheusMetrics()
metrics(Observation(Signal.STREAM_SUPERSEDED))
metrics(Observation(Signal.PROCESS_MEASURED, fields={"streams": 3, "loop_lag_seconds": float(sys.argv[1])}))
metrics(Observation(Signal.STORE_MEASURED, fields={"outbox": float(sys.argv[1])}))
if sys.argv[2] == "stay":
    print("ready", flush=True)
    sys.stdin.read()
print(metrics.exposition().decode())
"""


def test_promtool_accepts_it() -> None:
    if shutil.which("promtool") is None:
        missing("promtool is not installed: apt-get install prometheus")
    metrics = PrometheusMetrics(variant="canary", registry=CollectorRegistry())
    for signal in metrics.signals:
        fields: dict[str, str | int | float | bool | None] = {
            "seconds": 1.0,
            "provider_seconds": 0.5,
            "outcome": "ok",
            "reserved_tokens": 1,
            "spent_tokens": 1,
        }
        samples = dict.fromkeys(("append_seconds", "queued_seconds", "gap_seconds", "event_bytes"), (0.5,))
        metrics(Observation(signal, fields=fields, samples=samples))
    answer = subprocess.run(["promtool", "check", "metrics"], input=metrics.exposition(), capture_output=True)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, b"")


@pytest.mark.anyio
async def test_the_page_speaks_both_formats_and_nothing_else() -> None:
    app = PrometheusMetrics(registry=CollectorRegistry()).asgi_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
        plain = await client.get("/")
        assert plain.headers["content-type"].startswith("text/plain; version=")
        assert "content-encoding" not in plain.headers
        open_metrics = await client.get("/", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
        assert open_metrics.text.endswith("# EOF\n")
        head = await client.head("/")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(plain.content)))
        assert (await client.post("/")).status_code == 405


@pytest.mark.processes
@pytest.mark.long
def test_workers_answer_for_each_other(tmp_path: Path) -> None:
    """Counts add up, also of a worker that is gone; what it said of the moment is forgotten."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}

    def command(lag: str, what: str) -> list[str]:
        return [sys.executable, "-c", WORKER, lag, what]

    subprocess.run(command("9", "go"), env=environment, check=True, capture_output=True)
    with subprocess.Popen(
        command("0.5", "stay"), env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as living:
        assert living.stdout is not None
        assert living.stdout.readline() == "ready\n"
        (tmp_path / "counter_1.db").touch()  # as of a worker that begins at this moment
        shown = subprocess.run(command("0.25", "go"), env=environment, check=True, capture_output=True, text=True)
        living.communicate()
    lines = shown.stdout.splitlines()
    assert 'streamguard_fenced_total{variant=""} 3.0' in lines
    assert 'streamguard_streams_active{variant=""} 6.0' in lines
    assert 'streamguard_event_loop_lag_seconds{variant=""} 0.5' in lines
    assert 'streamguard_outbox_entries{variant=""} 0.25' in lines
