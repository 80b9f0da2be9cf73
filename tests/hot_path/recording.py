"""Writes `calls.json`: what an event may cost, in calls. Run as a program on the Python of continuous integration."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final, NamedTuple

from tests.harness.redis import RedisServer

from .counting import BURST, Calls, Kind, calls_per_event

__all__ = ["CASES", "RECORD", "Case", "measured"]

RECORD: Final = Path(__file__).parent / "calls.json"
RUNS: Final = 4
"""Of which the fewest calls count: the guard's own tasks run beside, whenever their time has come."""


class Case(NamedTuple):
    """What is counted."""

    kind: Kind
    on_redis: bool
    lone: bool
    """Each event has a commit to itself, as at reading speed; otherwise many share one, as in a burst."""

    def __str__(self) -> str:
        return f"{self.kind}, {'Redis' if self.on_redis else 'memory'}, {'one at a time' if self.lone else 'burst'}"


CASES: Final = [Case(kind, redis, lone) for kind in Kind for redis in (False, True) for lone in (False, True)]


async def measured(case: Case, url: str) -> tuple[Calls, str]:
    """The calls for one event, and the list of the most frequent."""
    size, groups = (1, 100) if case.lone else (BURST, 12)
    return min([await calls_per_event(case.kind, url, size=size, groups=groups) for _ in range(RUNS)])


async def _record(redis: RedisServer) -> None:
    found = {}
    for case in CASES:
        calls, _ = await measured(case, redis.url if case.on_redis else "memory://")
        found[str(case)] = {name: round(count, 2) for name, count in calls._asdict().items()}
    RECORD.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    """Measure every case, and write the figures."""
    with RedisServer() as redis:
        asyncio.run(_record(redis))


if __name__ == "__main__":
    main()
