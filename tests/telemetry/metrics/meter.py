"""A sink and what its page shows, as a test asks for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from streamguard.telemetry.metrics import PREFIX, TABLE, Kind, Metric, PrometheusMetrics
from tests.harness.tools import missing
from tests.harness.waiting import wait_until_async

__all__ = ["BY_NAME", "Meter", "accepted"]

BY_NAME: Final[dict[str, Metric]] = {metric.name: metric for metric in TABLE}

Labels = tuple[str, ...]


class Meter:
    """Metrics by their names in the table, read from the exposition. `asked` are those that a test asked for."""

    def __init__(self, page: Callable[[], str] | None = None, *, variant: str = "") -> None:
        self.sink = PrometheusMetrics(variant=variant, registry=CollectorRegistry())
        self.asked: set[str] = set()
        self._page = page or (lambda: self.sink.exposition().decode())

    def counts(self, name: str) -> dict[Labels, float]:
        """A counter's series that are not 0, by the values of its labels but `variant`."""
        return {labels: value for labels, value in self._series(name, "").items() if value}

    def total(self, name: str) -> float:
        """A counter over all its labels."""
        return sum(self._series(name, "").values())

    def gauge(self, name: str) -> float:
        """A gauge, which has no label but `variant`."""
        (value,) = self._series(name, "").values()
        return value

    def observed(self, name: str, *, most: float | None = None) -> float:
        """The sum of a histogram that has observed something, whose buckets fit that: it is not more than the greatest.
        `most` is what is plausible in its unit for each observation."""
        series = self._series(name, "_count")
        assert sum(series.values()), f"{name} has observed nothing"
        metric = BY_NAME[name]
        fitting = sum(self._series(name, "_bucket", le=metric.buckets[-1]).values())
        assert fitting == sum(series.values()), f"the buckets of {name} are too small"
        whole = sum(self._series(name, "_sum").values())
        assert whole >= 0
        assert most is None or whole <= most * fitting, f"{name}: {whole} in {fitting} observations"
        return whole

    def times(self, name: str) -> float:
        """How many observations a histogram has."""
        return sum(self._series(name, "_count").values())

    async def until(self, name: str, holds: Callable[[float], bool]) -> float:
        """Wait until a gauge, or a counter's total, is as it should be; its value then."""
        read = self.gauge if BY_NAME[name].kind is Kind.GAUGE else self.total

        def asked() -> bool:
            return holds(read(name))

        await wait_until_async(asked, description=f"{name} is as expected")
        return read(name)

    def _series(self, name: str, ending: str, *, le: float | None = None) -> dict[Labels, float]:
        self.asked.add(name)
        metric = BY_NAME[name]
        found: dict[Labels, float] = {}
        for family in text_string_to_metric_families(self._page()):
            for sample in family.samples:
                if sample.name != PREFIX + name + ending:
                    continue
                if le is not None and float(sample.labels["le"]) != le:
                    continue
                labels = tuple(sample.labels[label] for label in metric.label_names)
                found[labels] = found.get(labels, 0.0) + sample.value
        return found


def accepted(page: bytes) -> None:
    """Prometheus' own tool takes the page, and has nothing to say against names, units or help."""
    if shutil.which("promtool") is None:
        missing("promtool is not installed: apt-get install prometheus")
    answer = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, b"")
