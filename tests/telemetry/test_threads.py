"""Observers that guards in event loops of several threads share: nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from streamguard import Observation, Signal
from streamguard.telemetry.metrics import TABLE, Kind, PrometheusMetrics
from streamguard.telemetry.metrics.metric import Merging
from streamguard.telemetry.metrics.series import Series
from streamguard.telemetry.repeats import Repeats
from streamguard.telemetry.sentry.caps import Cap

from ..harness.racing import raced

LOOPS = 4
TIMES = 600
ROUNDS = 5
MOST = 3

FIRST_SINKS = """
from prometheus_client import CollectorRegistry
from streamguard.telemetry.metrics import PrometheusMetrics, prometheus
from tests.harness.racing import raced
for _ in range(5):
    prometheus._OF_PROCESS.clear()
    registry = CollectorRegistry()
    async def make():
        return PrometheusMetrics(registry=registry)
    raced([make] * 4)
"""


def test_each_line_is_logged_or_told_of() -> None:
    for _ in range(ROUNDS):
        repeats = Repeats(MOST, lambda: 0.0)

        async def log() -> int:
            seen = 0
            for n in range(TIMES):
                seen += sum(told.count for told in repeats.due(all_of_them=n % 10 == 0))  # noqa: B023 -- run here
                seen += repeats.admits("event", 40, {"code": n % 2})  # noqa: B023
            return seen

        seen = sum(raced([log] * LOOPS)) + sum(told.count for told in repeats.due(all_of_them=True))
        assert seen == LOOPS * TIMES
        assert not repeats.waiting


def test_each_event_is_sent_or_told_of() -> None:
    for _ in range(ROUNDS):
        cap = Cap(lambda: 0.0)

        async def send() -> int:
            seen = 0
            for n in range(TIMES):
                seen += sum(map(left_out, cap.due(all_of_them=n % 10 == 0)))  # noqa: B023 -- run in this round
                seen += cap.admits((str(n % 2),), lambda: {"contexts": {"streamguard": {}}}, most=MOST)  # noqa: B023
            return seen

        seen = sum(raced([send] * LOOPS)) + sum(map(left_out, cap.due(all_of_them=True)))
        assert seen == LOOPS * TIMES


def left_out(event: Any) -> int:
    count: int = event["contexts"]["streamguard"]["left_out"]
    return count


def test_the_first_sinks_of_a_registry_share_its_metrics() -> None:
    for _ in range(ROUNDS):
        registry = CollectorRegistry()

        async def count() -> PrometheusMetrics:
            metrics = PrometheusMetrics(registry=registry)  # noqa: B023 -- run in this round
            metrics(Observation(Signal.STOP_REQUESTED))
            return metrics

        first, *_ = raced([count] * LOOPS)
        assert registry.get_sample_value("streamguard_stops_requested_total", {"variant": ""}) == LOOPS
        assert b"streamguard_stops_requested_total" in first.exposition()


def test_the_first_sinks_of_a_worker_share_its_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", FIRST_SINKS],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        timeout=60,
        check=True,
    )


class Sink:
    """One guard's."""


def test_a_gauge_is_what_all_sinks_say() -> None:
    metric = next(one for one in TABLE if one.kind is Kind.GAUGE and one.merging is Merging.SUM)
    for _ in range(ROUNDS):
        registry = CollectorRegistry()
        series = Series(metric, Gauge("told", "By all sinks.", ("variant",), registry=registry))

        async def report() -> list[Sink]:
            sinks = [Sink() for _ in range(100)]
            for sink in sinks:
                series.set(sink, "", 1.0)  # noqa: B023 -- run in this round
            return sinks

        sinks = raced([report] * LOOPS)
        assert registry.get_sample_value("told", {"variant": ""}) == sum(map(len, sinks))
