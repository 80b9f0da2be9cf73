"""Plays randomised schedules: `python -m tests.schedules --store memory --schedules 10000`.

    --store memory|redis|cluster   where (memory)
    --schedules N                  how many (1,000)
    --seconds S                    or for how long
    --together N                   how many side by side in a cluster (16)
    --seed N                       the first one's seed, as STREAMGUARD_SEED; those of the others follow

A schedule that breaks a promise is printed with its seed, and is played again with `--seed N --schedules 1`. In a
cluster, where others were played beside it, that may take several tries.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections.abc import Sequence

from ..harness.redis import RedisServer
from .cluster_field import ClusterField, schedules_cluster
from .history import ViolationError
from .play import Tally, play_many
from .worlds import MemoryWorld, RedisWorld, World


def main() -> int:
    """Play them, and say what was played."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description="Plays randomised schedules.")
    parser.add_argument("--store", choices=["memory", "redis", "cluster"], default="memory")
    parser.add_argument("--schedules", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("STREAMGUARD_SEED", secrets.randbelow(1 << 32))))
    parser.add_argument("--together", type=int, default=16)
    given = parser.parse_args()
    schedules = given.schedules or (1_000 if given.seconds is None else sys.maxsize)
    seconds = given.seconds or float("inf")
    print(f"STREAMGUARD_SEED={given.seed} on {given.store}", flush=True)
    began = time.monotonic()

    tally = Tally()

    async def run() -> str:
        async def played(worlds: Sequence[World]) -> None:
            await play_many(worlds, given.seed, tally, schedules=schedules, seconds=seconds)

        match given.store:
            case "redis":
                with RedisServer() as server:
                    await played([RedisWorld(server)])
            case "cluster":
                with schedules_cluster() as cluster:
                    field = ClusterField(cluster, together=given.together)
                    await played(field.worlds)
                    return f"; {field}"
            case _:
                await played([MemoryWorld()])
        return ""

    try:
        more = asyncio.run(run())
    except ViolationError as exc:
        print(f"{exc}\nafter {tally}")
        return 1
    print(f"{tally}{more}: nothing lost or twice, in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
