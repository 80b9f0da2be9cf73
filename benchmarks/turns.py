"""A round of several turns: what a load process measured in each of them, put together as if it were one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plan import Measured
from .transcript import spread_of

__all__ = ["Times", "Turn", "round_of"]


@dataclass(frozen=True, slots=True)
class Times:
    """The single times that the spreads of a `Measured` are made of, in nanoseconds. None of the lists is empty."""

    first: list[int]
    latency: list[int]
    whole: list[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one load process measured."""

    measured: Measured
    times: Times | None = None
    """None: the workload does not give them, so a round of it has one turn."""


def round_of(turns: Sequence[Turn]) -> Measured:
    """The figures of a contender's turns in one round, taken together.

    Events, responses, seconds and CPU times are added up before anything is divided. Percentiles are taken of the times
    of all turns together: they do not follow from the percentiles of each.

    Raises:
        ValueError: several turns of a workload that does not give its single times.
    """
    count = len(turns)
    if count == 1:
        return turns[0].measured
    parts = [turn.measured for turn in turns]
    if problems := [problem for part in parts for problem in part.problems]:
        return Measured(problems=problems, turns=count)
    times = [turn.times for turn in turns if turn.times is not None]
    if len(times) < count:
        raise ValueError("the turns of a round cannot be put together without their single times")
    events = [part.events for part in parts]
    return Measured(
        turns=count,
        events=sum(events),
        responses=sum(part.responses for part in parts),
        seconds=sum(part.seconds for part in parts),
        server_cpu_us=_per_event([part.server_cpu_us for part in parts], events),
        redis_cpu_us=_per_event_in_redis([part.redis_cpu_us for part in parts], events),
        redis_bytes=_per_event_in_redis([part.redis_bytes for part in parts], events),
        first=spread_of([time for one in times for time in one.first]),
        latency=spread_of([time for one in times for time in one.latency]),
        whole=spread_of([time for one in times for time in one.whole]),
    )


def _per_event(values: Sequence[float], events: Sequence[int]) -> float:
    """What one event took, by what one took in each turn."""
    return sum(value * count for value, count in zip(values, events, strict=True)) / sum(events)


def _per_event_in_redis(values: Sequence[float | None], events: Sequence[int]) -> float | None:
    """The same, or None for a contender without Redis."""
    measured = [value for value in values if value is not None]
    return _per_event(measured, events) if measured else None
