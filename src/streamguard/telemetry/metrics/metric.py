"""What a metric is, as data: its name, its labels, and the facts that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ...observations import Observation, Signal

__all__ = ["OTHER", "Kind", "Label", "Merging", "Metric", "constants"]

OTHER: Final = "other"
"""The value of a label in place of one that is not among its values, or is one too many."""


class Kind(StrEnum):
    """A type of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merging(StrEnum):
    """What a gauge's values of several processes make together, as prometheus-client names it."""

    SUM = "livesum"
    """Each process has its own part."""
    WORST = "livemax"
    """The highest is the one that matters: of what each process measures for itself, or sees a part of."""
    LAST = "mostrecent"
    """Each process measures the same thing that all share: the newest stands, also after its process ended."""
    LATEST = "max"
    """A time: the latest stands, also after its process ended."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a metric. Its values are bounded: by `values`, or else by a number (see `Metric.most_values`)."""

    name: str
    read: Callable[[Observation], object]
    """The value, as the observation tells it. None is the empty text."""
    values: tuple[str, ...] | None = None
    """Every value there can be, beside `other`; None where applications name them, such as their endpoints."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: a row of the table."""

    name: str
    """Without the prefix `streamguard_`; a counter's with `_total`."""
    kind: Kind
    help: str
    signals: Collection[Signal]
    """What it is made of."""
    read: Callable[[Observation], float | None] | None = None
    """What a counter grows by, a gauge is set to, or a histogram observes; None in place of a number: nothing of it. By
    default a counter grows by one."""
    labels: tuple[Label, ...] = ()
    only: Callable[[Observation], bool] | None = None
    """Whether an observation counts; by default each does."""
    by_unit: str = ""
    """For amounts by unit: the beginning of the fields' names. Each field that begins so is counted under the label
    `unit`."""
    sample: str = ""
    """For a histogram of `Observation.samples`: the sample's name."""
    buckets: tuple[float, ...] = ()
    merging: Merging = Merging.SUM

    @property
    def label_names(self) -> tuple[str, ...]:
        """Its own labels; `variant` comes before them on every metric."""
        return (*(label.name for label in self.labels), *(("unit",) if self.by_unit else ()))


def constants(signals: Mapping[Signal, str]) -> tuple[Callable[[Observation], str], tuple[str, ...]]:
    """A label that tells signals apart: how it is read, and its values."""
    return (lambda seen: signals[seen.name]), tuple(dict.fromkeys(signals.values()))
