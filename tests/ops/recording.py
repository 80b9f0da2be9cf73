"""What a Prometheus server would have scraped from a run, stretched: each scrape of the run is one minute of its time.

A run of a second so becomes an hour. Counters, gauges and histograms are what the process really said; only their
times are stretched. A metric that holds a time (`…_timestamp_seconds`) is stretched with them: a time between two
scrapes becomes the same point between their two minutes. Minute 0 is the Unix epoch, as in promtool's tests.
"""

from __future__ import annotations

import json
import math
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import groupby
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Recording"]

MINUTE: Final = 60.0


class Recording:
    """The scrapes of one process.

    Args:
        exposition: gives the text that `/metrics` would answer with.
        only: the metrics to keep, without a histogram's endings.
        instance: the label that Prometheus would add.
    """

    def __init__(
        self, exposition: Callable[[], str], *, only: Collection[str], instance: str = "10.0.0.1:8000"
    ) -> None:
        self._kept = re.compile(rf"(?:# \w+ )?(?:{'|'.join(sorted(only))})(?:_bucket|_sum|_count)?[ {{].*")
        self._exposition = exposition
        self._labels = {"job": "shop", "instance": instance}
        self._scrapes: list[dict[str, float]] = []
        self._times: list[float] = []

    @property
    def minutes(self) -> int:
        """The minute of the next scrape."""
        return len(self._scrapes)

    def scrape(self) -> None:
        """One more minute."""
        at = time.time()  # before what takes most of the time between two scrapes
        seen: dict[str, float] = {self._series("up", {}): 1.0}
        for family in text_string_to_metric_families(self._text()):
            for sample in family.samples:
                seen[self._series(sample.name, sample.labels)] = sample.value
        self._append(seen, at)

    def idle(self, minutes: int) -> None:
        """Minutes in which nothing happens: the last scrape again and again. What a time metric says stays as long
        ago as it was."""
        for _ in range(minutes):
            self._scrapes.append(self._scrapes[-1])
            self._times.append(math.nan)

    def away(self, minutes: int) -> None:
        """Minutes in which the process does not answer."""
        for _ in range(minutes):
            self._append({self._series("up", {}): 0.0}, time.time())

    def series(self) -> list[dict[str, str]]:
        """The input series of promtool's tests."""
        names = dict.fromkeys(name for scrape in self._scrapes for name in scrape)
        return [{"series": name, "values": " ".join(_runs(self._values(name)))} for name in names]

    def _text(self) -> str:
        return "\n".join(line for line in self._exposition().splitlines() if self._kept.fullmatch(line)) + "\n"

    def _append(self, seen: dict[str, float], at: float) -> None:
        self._scrapes.append(seen)
        self._times.append(at)

    def _series(self, name: str, labels: Mapping[str, str]) -> str:
        pairs = ",".join(f"{key}={json.dumps(value)}" for key, value in sorted({**labels, **self._labels}.items()))
        return f"{name}{{{pairs}}}"

    def _values(self, name: str) -> Iterator[str]:
        is_time = name.partition("{")[0].endswith("_timestamp_seconds")
        for minute, scrape in enumerate(self._scrapes):
            if name not in scrape:
                # As Prometheus marks a series that a scrape lacks, or all of them when nothing answers.
                yield "stale" if minute and name in self._scrapes[minute - 1] else "_"
            elif is_time:
                yield f"{self._stretched(minute, scrape[name]):.3f}"
            else:
                yield f"{scrape[name]:.12g}"

    def _stretched(self, minute: int, at: float) -> float:
        """A Unix time that was scraped in a minute, in Prometheus' time."""
        real = [scraped for scraped in self._times[: minute + 1] if not math.isnan(scraped)]
        idle = minute + 1 - len(real)
        after = bisect_right(real, at)
        if after == 0:
            return 0.0
        if after == len(real):
            return MINUTE * minute
        share = (at - real[after - 1]) / (real[after] - real[after - 1])
        return MINUTE * (after - 1 + share + idle)


def _runs(values: Iterator[str]) -> Iterator[str]:
    """Equal values in a row as promtool writes them: `0x3` is four times 0."""
    for value, same in groupby(values):
        count = len(list(same))
        yield value if count == 1 else f"{value}x{count - 1}" if value != "_" else f"_x{count}"
