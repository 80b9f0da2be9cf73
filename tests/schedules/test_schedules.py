"""Randomised schedules of writers, takeovers, readers and failures: nothing is lost or twice unless it is told."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable

import pytest

from ..harness.redis import RedisServer
from .bugs import BUGS
from .cluster_field import ClusterField, schedules_cluster
from .history import ViolationError
from .plan import steps_of
from .play import Tally, play, play_many
from .worlds import MemoryWorld, RedisWorld, World

pytestmark = pytest.mark.anyio

SEED = int(os.environ.get("STREAMGUARD_SEED", secrets.randbelow(1 << 32)))
SECONDS = 10.0
"""How long each of the slow ones plays, with a seed of its own in each run; on a cluster six times as long."""
FEW = 300
MANY = 20_000
"""Schedules that must find a bug. The rarest takes a thousand, on average."""


def test_a_seed_is_one_schedule() -> None:
    assert steps_of(7) == steps_of(7) != steps_of(8)


async def played(*worlds: World, schedules: int = sys.maxsize, seconds: float = 60.0) -> Tally:
    print(f"STREAMGUARD_SEED={SEED}")
    tally = Tally()
    await play_many(worlds, SEED, tally, schedules=schedules, seconds=seconds)
    print(tally)
    return tally


@pytest.mark.long
async def test_schedules_on_the_specification() -> None:
    await played(MemoryWorld(), schedules=FEW)


@pytest.mark.long
async def test_schedules_on_redis(own_redis: Callable[..., RedisServer]) -> None:
    await played(RedisWorld(own_redis()), seconds=3.0)


@pytest.mark.slow
async def test_many_schedules_on_the_specification() -> None:
    tally = await played(MemoryWorld(), seconds=SECONDS)
    assert tally.lost_events > 0


@pytest.mark.slow
async def test_many_schedules_on_redis(own_redis: Callable[..., RedisServer]) -> None:
    tally = await played(RedisWorld(own_redis()), seconds=SECONDS)
    assert tally.lost_events > 0


@pytest.mark.slow
async def test_many_schedules_on_a_cluster() -> None:
    """Slots move, replicas take over, masters die, and replies are lost by proxies."""
    with schedules_cluster() as cluster:
        field = ClusterField(cluster, together=16)
        tally = await played(*field.worlds, seconds=6 * SECONDS)
        print(field)
    assert tally.lost_events > 0
    assert field.migrations > 0
    assert field.handovers + field.takeovers + field.deaths > 0


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS)
async def test_schedules_find_a_bug(bug: str) -> None:
    world, tally = MemoryWorld(), Tally()
    said = ""
    while not said and tally.schedules < MANY:
        said = await violation(SEED + tally.schedules, world, tally, bug)
    assert "STREAMGUARD_SEED=" in said
    again = await violation(SEED + tally.schedules, world, tally, bug)
    assert again.partition("\n")[2] == said.partition("\n")[2], "its seed repeats it"


async def violation(seed: int, world: World, tally: Tally, bug: str) -> str:
    """What a schedule finds on a store with a bug; empty for nothing."""
    try:
        await play(seed, world, tally, BUGS[bug])
    except ViolationError as exc:
        return str(exc)
    return ""
