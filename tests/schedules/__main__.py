"""Plays randomised schedules: `python -m tests.schedules --store memory --schedules 10000`.

    --store memory|redis|cluster   where (memory)
    --schedules N                  how many (1,000)
    --seconds S                    or for how long
    --seed N                       the first one's seed, as STREAMGUARD_SEED; those of the others follow

A schedule that breaks a promise is printed with its seed, and is played again with `--seed N --schedules 1`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time

from ..harness.redis import RedisServer
from ..harness.redis_cluster import RedisCluster
from .history import ViolationError
from .play import Tally, play
from .worlds import ClusterWorld, MemoryWorld, RedisWorld, World


async def _played(world: World, seed: int, *, schedules: int, seconds: float) -> Tally:
    tally, ends = Tally(), time.monotonic() + seconds
    try:
        while tally.schedules < schedules and time.monotonic() < ends:
            await play(seed + tally.schedules, world, tally)
    finally:
        await world.aclose()
    return tally


def main() -> int:
    """Play them, and say what was played."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description="Plays randomised schedules.")
    parser.add_argument("--store", choices=["memory", "redis", "cluster"], default="memory")
    parser.add_argument("--schedules", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("STREAMGUARD_SEED", secrets.randbelow(1 << 32))))
    given = parser.parse_args()
    schedules = given.schedules or (1_000 if given.seconds is None else sys.maxsize)
    seconds = given.seconds or float("inf")
    print(f"STREAMGUARD_SEED={given.seed} on {given.store}", flush=True)
    began = time.monotonic()

    async def run() -> Tally:
        match given.store:
            case "redis":
                with RedisServer() as server:
                    return await _played(RedisWorld(server), given.seed, schedules=schedules, seconds=seconds)
            case "cluster":
                with RedisCluster(replicas=1, proxied=True) as cluster:
                    return await _played(ClusterWorld(cluster), given.seed, schedules=schedules, seconds=seconds)
            case _:
                return await _played(MemoryWorld(), given.seed, schedules=schedules, seconds=seconds)

    try:
        tally = asyncio.run(run())
    except ViolationError as exc:
        print(exc)
        return 1
    print(f"{tally}: nothing lost or twice, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
