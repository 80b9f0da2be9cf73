"""The table of metrics says of each what Prometheus and its users need."""

from __future__ import annotations

import re

import pytest

from streamguard.telemetry.metrics import TABLE, Kind, Metric

UNITS = ("_seconds", "_bytes", "_total", "_events", "_units")


def test_no_name_comes_twice() -> None:
    names = [metric.name for metric in TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_names_follow_the_rules(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z_]*", metric.name)
    assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
    assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith(UNITS)
        assert sorted(metric.buckets) == list(metric.buckets)
    assert metric.help.endswith(".")
    assert metric.signals


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_no_label_names_a_user(metric: Metric) -> None:
    """What a label is called shows what it holds: neither owners nor ids of anything."""
    assert not [name for name in metric.label_names if re.search(r"owner|session|stream_id|message|request|user", name)]
