"""The example's page of metrics, from processes that share a directory, as the workers of a server do."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from ..telemetry.metrics.meter import Meter, accepted
from .live import FRAMEWORKS, Framework, chat_body, example

pytestmark = [pytest.mark.processes, pytest.mark.long]


def page(worker: Worker) -> str:
    """What Prometheus would read there."""
    return httpx.get(f"{worker.url}/metrics/").text


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_worker_shows_what_all_did(framework: Framework, redis_url: str, tmp_path: Path) -> None:
    shared = {"STREAMGUARD_URL": redis_url, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DEMO_VARIANT": "canary"}
    with example(framework, gap_ms=1, **shared) as one, example(framework, gap_ms=1, **shared) as other:
        for number, worker in enumerate((one, other, other)):
            body = chat_body(f"session-{number}", "Hello")
            assert httpx.post(f"{worker.url}/api/chat", json=body, headers={"x-user": "ann"}).status_code == 200
        for worker in (one, other):
            meter = Meter(lambda: page(worker))  # noqa: B023 -- asked before the next one comes
            wait_until(lambda: meter.total("stream_terminal_total") == 3, description="all ends are told")  # noqa: B023
            assert sum(meter.counts("persist_total").values()) == 3
            assert meter.total("quota_spent_units_total") > 0
            assert meter.gauge("draining") == 0
            accepted(page(worker).encode())
        wait_until(lambda: Meter(lambda: page(one)).times("append_seconds") > 0, description="what was written is told")
        gone = other.pid
        other.kill()
        assert Meter(lambda: page(one)).total("stream_terminal_total") == 3
        assert not list(tmp_path.glob(f"gauge_live*_{gone}.db")), "what it said of the moment is gone"
        assert 'variant="canary"' in page(one)
