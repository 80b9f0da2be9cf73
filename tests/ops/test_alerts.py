"""Every alert fires once where its fault is, and none where there is no fault.

What Prometheus reads here was scraped from `PrometheusMetrics` of a guarded application, into which each fault came:

- `incidents`, with the default settings, on a clock that moves only when everybody waits: each scrape is a minute after
  the last, for the application too;
- `redis_incidents`, with a real Redis, on a real clock: each scrape, 0.3 s after the last, counts as a minute.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from streamguard.telemetry.metrics import PREFIX, TABLE

from ..docs.samples import ROOT
from ..harness.redis import RedisServer
from . import redis_incidents
from .incidents import BEFORE, INCIDENTS
from .promtool import unit_tested
from .redis_incidents import REDIS_INCIDENTS
from .rules import ALERTS, FILES, OPS, metrics_in

pytestmark = [pytest.mark.anyio, pytest.mark.processes]

FIRING: Final = 'alertstate="firing"'


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_alert_fires_once_and_for_its_incident_only(tmp_path: Path) -> None:
    file = tmp_path / "recorded.json"
    recording = subprocess.run(
        [sys.executable, "-m", "tests.ops.record", str(file)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert recording.returncode == 0, recording.stderr
    recorded = json.loads(file.read_text())
    tests = [
        _test(name, recorded[name], BEFORE, incident.fires | incident.besides) for name, incident in INCIDENTS.items()
    ]
    unit_tested(tmp_path, FILES, tests)


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_alerts_fire_for_what_happens_to_a_real_redis(
    tmp_path: Path, own_redis: Callable[..., RedisServer]
) -> None:
    recorded = await redis_incidents.recorded_on_redis(own_redis())
    tests = [
        _test(name, recorded[name], redis_incidents.BEFORE, incident.fires, incident.may, once=False)
        for name, incident in REDIS_INCIDENTS.items()
    ]
    unit_tested(tmp_path, FILES, tests)


def _test(
    name: str,
    recorded: Mapping[str, Any],
    before: int,
    fires: frozenset[str],
    may: frozenset[str] = frozenset(),
    *,
    once: bool = True,
) -> Any:
    end = recorded["minutes"] - 1
    others = "|".join(sorted(may)) or "none"
    counts = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(fires)]
    never = [{**one, "value": 0} for one in counts]
    again = f"max by (alertname) (changes(ALERTS_FOR_STATE{{alertname=~'{'|'.join(fires)}'}}[{end}m]))"
    expectations = [
        # Nothing before the fault.
        (f'ALERTS{{{FIRING}, alertname!~"{others}"}}', before - 1, []),
        # Each as one alert, not one for every series; and no other.
        (f'count by (alertname) (count_over_time(ALERTS{{{FIRING}, alertname!~"{others}"}}[{end}m]))', end, counts),
        # Once: it did not end and begin again. On a real clock, a busy machine makes minutes of one moment's work.
        *([(again, end, never)] if once else []),
        # It ends with its fault. A slow burn's short window is of hours.
        (f'ALERTS{{{FIRING}, alertname!~".*BurnsSlow|{others}"}}', end, []),
    ]
    return {
        "name": name,
        "interval": "1m",
        "input_series": recorded["series"],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{at}m", "exp_samples": samples} for expr, at, samples in expectations
        ],
    }


def test_each_alert_has_an_incident_that_it_fires_for() -> None:
    fired = [incident.fires for incident in INCIDENTS.values()]
    fired += [incident.fires for incident in REDIS_INCIDENTS.values()]
    assert frozenset().union(*fired) == set(ALERTS)


def test_every_metric_that_the_kit_names_is_in_the_table() -> None:
    table = {PREFIX + metric.name for metric in TABLE}
    for file in (*OPS.rglob("*.md"), *FILES, *OPS.rglob("*.json")):
        named = metrics_in(file.read_text())
        assert named <= table, (file.name, named - table)


def test_every_bound_that_an_objective_counts_by_is_one_of_its_histogram() -> None:
    bounds = {PREFIX + metric.name: metric.buckets for metric in TABLE}
    for file in FILES:
        for name, bound in re.findall(r'(streamguard_\w+)_bucket\{le="([\d.]+)"\}', file.read_text()):
            assert float(bound) in bounds[name], (name, bound)
