"""Several guards, several sinks, several registries, and what is wrong with some of that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, Counter

from streamguard import ConfigurationError, Observation, Signal
from streamguard.runtime.upkeep import measuring
from streamguard.telemetry.metrics import PrometheusMetrics

from ..faults import CANARIES
from ..faults.application import Application
from .meter import Meter

TWO_REGISTRIES: Final = """
from prometheus_client import CollectorRegistry
from streamguard import Observation, Signal
from streamguard.telemetry.metrics import PrometheusMetrics
first, second = (PrometheusMetrics(registry=CollectorRegistry()) for _ in range(2))
for sink in (first, second, first):
    sink(Observation(Signal.STREAM_SUPERSEDED))
    sink(Observation(Signal.PROCESS_MEASURED, fields={"streams": 4}))
print(second.exposition().decode())
"""


def ran(program: str, **env: str) -> str:
    """What a program wrote, or the last line of its traceback."""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
    )
    return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]


@pytest.mark.anyio
@pytest.mark.long
async def test_guards_that_share_a_registry_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gauges too: each guard has a sink of its own."""
    monkeypatch.setattr(measuring, "TELL_SECONDS", 0.02)
    monkeypatch.setattr(measuring, "MEASURE_ROUNDS", 1)
    registry = CollectorRegistry()
    sinks = [PrometheusMetrics(registry=registry) for _ in range(2)]
    meter = Meter(lambda: sinks[0].exposition().decode())
    apps = [Application(CANARIES, (sink,)) for sink in sinks]
    async with apps[0].running() as one, apps[1].running() as other:
        for app, chat in ((apps[0], one), (apps[1], other), (apps[1], other)):
            await (await app.ask(chat, session=f"s{meter.total('streams_opened_total')}")).read(2)
        assert meter.total("streams_opened_total") == 3
        await meter.until("streams_active", lambda count: count == 3)
        apps[0].go.set()
        await meter.until("streams_active", lambda count: count == 2)
    assert meter.gauge("streams_active") == 0


@pytest.mark.anyio
async def test_a_guard_that_is_started_again_goes_on_counting() -> None:
    meter = Meter()
    app = Application(CANARIES, (meter.sink,))
    for count in (1, 2):
        async with app.running() as chat:
            await meter.until("draining", lambda draining: draining == 0)
            app.go.set()
            answer = await app.ask(chat)
            await answer.whole()
            await chat.ended(answer)
            assert meter.total("stream_terminal_total") == count
        assert meter.gauge("draining") == 1
        assert meter.gauge("streams_active") == 0


def test_variants_in_one_registry_are_kept_apart() -> None:
    registry = CollectorRegistry()
    stable, canary = (PrometheusMetrics(registry=registry, variant=name) for name in ("stable", "canary"))
    for sink, streams in ((stable, 3), (canary, 5), (stable, 4)):
        sink(Observation(Signal.PROCESS_MEASURED, fields={"streams": streams}))
    page = stable.exposition().decode()
    assert 'streamguard_streams_active{variant="stable"} 4.0' in page
    assert 'streamguard_streams_active{variant="canary"} 5.0' in page


def test_a_registry_that_was_refused_is_left_as_it_was() -> None:
    registry = CollectorRegistry()
    of_another = Counter("streamguard_expired_leases", "Of somebody else.", registry=registry)
    with pytest.raises(ConfigurationError, match="give PrometheusMetrics another one"):
        PrometheusMetrics(registry=registry)
    registry.unregister(of_another)
    assert PrometheusMetrics(registry=registry).exposition()


def test_without_the_extra_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'streamguard-asgi\[metrics\]'"):
        PrometheusMetrics()


def test_a_directory_that_is_named_too_late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sink = PrometheusMetrics(registry=CollectorRegistry())
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(ConfigurationError, match="after prometheus_client was imported"):
        PrometheusMetrics(registry=CollectorRegistry())
    with pytest.raises(ConfigurationError, match="after prometheus_client was imported"):
        sink.exposition()


@pytest.mark.processes
@pytest.mark.long
def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    said = ran(TWO_REGISTRIES, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "nowhere"))
    assert "ConfigurationError: PROMETHEUS_MULTIPROC_DIR has to name a directory that exists" in said


@pytest.mark.processes
@pytest.mark.long
def test_registries_of_one_worker_are_counted_together(tmp_path: Path) -> None:
    """A process has one file, in which each series has one place: two counters would overwrite each other there."""
    page = ran(TWO_REGISTRIES, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert 'streamguard_fenced_total{variant=""} 3.0' in page
    assert 'streamguard_streams_active{variant=""} 8.0' in page
