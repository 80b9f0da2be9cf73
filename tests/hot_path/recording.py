"""Writes `calls.json`, `streams.json` and `memory.json`: what an event may cost, what a stream may, and what memory an
open one may take. Run as a program on the Python of continuous integration. Others take the memory that it takes, to a
fiftieth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from tests.harness.redis import RedisServer

from .counting import BURST, STREAMS, Calls, Kind, calls_per_event
from .memory import StreamMemory, memory_per_stream
from .opening import StreamCosts, costs_per_stream

__all__ = [
    "CASES",
    "MEMORY_RECORD",
    "RECORD",
    "STREAM_CASES",
    "STREAM_RECORD",
    "Case",
    "Load",
    "StreamCase",
    "measured",
    "memory_of_streams",
    "of_streams",
]

RECORD: Final = Path(__file__).parent / "calls.json"
STREAM_RECORD: Final = Path(__file__).parent / "streams.json"
MEMORY_RECORD: Final = Path(__file__).parent / "memory.json"
RUNS: Final = 4
"""Of which the fewest calls count: the guard's own tasks run beside, whenever their time has come."""
MOST_RUNS: Final = 16
"""On a busy machine they run beside more often, and replies come in pieces: until there were so many runs, one may
still show that an event makes no more calls than it should."""


class Load(StrEnum):
    """What each commit carries."""

    LONE = "one at a time"
    """One event, as of a lone stream at reading speed."""
    BURST = "burst"
    """Many events of one stream."""
    MANY = "many streams"
    """One event of each of many streams."""


class Case(NamedTuple):
    """What is counted."""

    kind: Kind
    on_redis: bool
    load: Load

    def __str__(self) -> str:
        return f"{self.kind}, {'Redis' if self.on_redis else 'memory'}, {self.load}"


CASES: Final = [Case(kind, redis, load) for kind in Kind for redis in (False, True) for load in Load]


_SIZES: Final = {Load.LONE: (1, 100, 1), Load.BURST: (BURST, 12, 1), Load.MANY: (1, 40, STREAMS)}
"""Events of a stream at a time, how many times so many are counted, and streams."""


async def measured(case: Case, url: str, enough: Callable[[Calls], bool] = lambda _: True) -> tuple[Calls, str]:
    """The calls for one event, and the list of the most frequent. There are more runs while it is not `enough`."""
    size, groups, streams = _SIZES[case.load]
    runs: list[tuple[Calls, str]] = []
    while len(runs) < RUNS or (len(runs) < MOST_RUNS and not enough(min(runs)[0])):
        runs.append(await calls_per_event(case.kind, url, size=size, groups=groups, streams=streams))
    return min(runs)


class StreamCase(NamedTuple):
    """What is counted of streams."""

    kind: Kind
    on_redis: bool

    def __str__(self) -> str:
        return f"{self.kind}, {'Redis' if self.on_redis else 'memory'}"


STREAM_CASES: Final = [StreamCase(kind, redis) for kind in Kind for redis in (False, True)]
COUNTED_STREAMS: Final = 60


async def of_streams(
    case: StreamCase, url: str, enough: Callable[[StreamCosts], bool] = lambda _: True
) -> tuple[StreamCosts, str]:
    """As `measured`, for opening and ending a stream."""
    runs: list[tuple[StreamCosts, str]] = []
    while len(runs) < RUNS or (len(runs) < MOST_RUNS and not enough(min(runs)[0])):
        runs.append(await costs_per_stream(case.kind, url, streams=COUNTED_STREAMS))
    return min(runs)


OPEN_STREAMS: Final = 100


async def memory_of_streams(
    case: StreamCase, url: str, enough: Callable[[StreamMemory], bool] = lambda _: True
) -> tuple[StreamMemory, str]:
    """What an open stream takes, and the list of the lines that took most. Once more while that is not `enough`: the
    guard's own tasks may be at work in the moment in which it is counted."""
    found = await memory_per_stream(case.kind, url, streams=OPEN_STREAMS)
    if not enough(found[0]):
        found = min(found, await memory_per_stream(case.kind, url, streams=OPEN_STREAMS))
    return found


async def _record(redis: RedisServer) -> None:
    found = {}
    for case in CASES:
        calls, _ = await measured(case, redis.url if case.on_redis else "memory://")
        found[str(case)] = {name: round(count, 2) for name, count in calls._asdict().items()}
    RECORD.write_text(json.dumps(found, indent=2) + "\n")
    await _record_streams(redis)
    await _record_memory(redis)


async def _record_streams(redis: RedisServer) -> None:
    found = {}
    for case in STREAM_CASES:
        costs, _ = await of_streams(case, redis.url if case.on_redis else "memory://")
        found[str(case)] = {name: round(count, 1) for name, count in costs._asdict().items()}
    STREAM_RECORD.write_text(json.dumps(found, indent=2) + "\n")


async def _record_memory(redis: RedisServer) -> None:
    found = {}
    for case in STREAM_CASES:
        memory, _ = await memory_of_streams(case, redis.url if case.on_redis else "memory://")
        found[str(case)] = {name: round(count) for name, count in memory._asdict().items()}
    MEMORY_RECORD.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    """Measure every case, and write the figures."""
    with RedisServer() as redis:
        asyncio.run(_record(redis))


if __name__ == "__main__":
    main()
