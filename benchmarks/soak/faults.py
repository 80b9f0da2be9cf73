"""Injects faults into a soak, one after the other, drawn from the seed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from .clients import Clock
from .history import Injected, Loss
from .world import World

__all__ = ["KINDS", "Breaker"]

Fault = Callable[["Breaker", Random], Awaitable[str]]
"""Injects a fault and ends it. Returns a description of what it did."""

QUIET_SECONDS: Final = (0.5, 3.0)
"""Shortest and longest pause between two faults of one sequence."""


class Breaker:
    """Injects faults in two sequences, one for Redis and one for everything else. So two faults may happen at once, but
    never two of one process."""

    def __init__(self, world: World, seed: int, clock: Clock) -> None:
        self.world = world
        self._seed = seed
        self._clock = clock
        self.injected: list[Injected] = []
        self.losses: list[Loss] = []
        self._worker_locks = [asyncio.Lock() for _ in world.workers]
        """A fault of a worker holds that worker's lock."""

    async def run(self, until: float) -> None:
        """Inject faults until the clock shows `until`. On return all faults are over."""
        async with asyncio.TaskGroup() as group:
            for hand, kinds in _HANDS.items():
                group.create_task(self._one_hand(hand, kinds, until))

    async def _one_hand(self, hand: str, kinds: dict[str, Fault], until: float) -> None:
        rng = Random(f"{self._seed}/faults/{hand}")
        while True:
            await asyncio.sleep(rng.uniform(*QUIET_SECONDS))
            if self._clock() >= until:
                return
            kind = rng.choice(list(kinds))
            at = self._clock()
            detail = await kinds[kind](self, rng)
            self.injected.append(Injected(at, kind, detail))

    # -- of Redis -------------------------------------------------------------------------------------------------

    async def fail_over(self, rng: Random) -> str:
        loss = await asyncio.to_thread(self.world.fail_over, rng.uniform(0.02, 1.5), self._clock)
        self.losses.append(loss)
        return f"lost something of {len(loss.logs)} streams, all of {len(loss.gone)}"

    async def fail_over_with_a_worker(self, rng: Random) -> str:
        number, seconds = rng.randrange(len(self.world.workers)), rng.uniform(0.0, 3.0)
        worker = self.world.workers[number]
        async with self._worker_locks[number]:
            loss = await asyncio.to_thread(self.world.fail_over, rng.uniform(0.02, 1.0), self._clock, killing=worker)
            self.losses.append(loss)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(worker.start)
        return f"lost something of {len(loss.logs)} streams, all of {len(loss.gone)}, and worker {number}"

    async def restart_redis(self, rng: Random) -> str:
        await asyncio.to_thread(self.world.restart_redis)
        return "kill -9, started again with its append-only file"

    async def pause_redis(self, rng: Random) -> str:
        seconds = rng.uniform(0.1, 4.0)
        self.world.master.pause()
        await asyncio.sleep(seconds)
        self.world.master.resume()
        return f"{seconds:.1f} s"

    async def cut_redis(self, rng: Random) -> str:
        times = rng.randrange(1, 4)
        for _ in range(times):
            await asyncio.to_thread(self.world.proxy.cut)
            await asyncio.sleep(rng.uniform(0.0, 0.3))
        return f"{times} times"

    async def lose_replies(self, rng: Random) -> str:
        times = rng.randrange(1, 4)
        await asyncio.to_thread(self.world.proxy.lose_reply, b"EVALSHA", times=times)
        return f"{times} replies"

    async def partition(self, rng: Random) -> str:
        seconds = rng.uniform(0.1, 4.0)
        await asyncio.to_thread(self.world.proxy.hang)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.world.proxy.forward)
        return f"{seconds:.1f} s"

    async def refuse_redis(self, rng: Random) -> str:
        seconds = rng.uniform(0.1, 4.0)
        await asyncio.to_thread(self.world.proxy.refuse)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.world.proxy.forward)
        return f"{seconds:.1f} s"

    # -- of everything else ---------------------------------------------------------------------------------------

    async def kill_worker(self, rng: Random) -> str:
        number = rng.randrange(len(self.world.workers))
        seconds = rng.uniform(0.0, 4.0)
        worker = self.world.workers[number]
        async with self._worker_locks[number]:
            await asyncio.to_thread(worker.kill)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(worker.start)
        return f"worker {number}, started again after {seconds:.1f} s"

    async def terminate_worker(self, rng: Random) -> str:
        number = rng.randrange(len(self.world.workers))
        worker = self.world.workers[number]
        async with self._worker_locks[number]:
            worker.terminate()
            await asyncio.to_thread(worker.wait_exit, 30.0)
            await asyncio.to_thread(worker.start)
        return f"worker {number}"

    async def pause_worker(self, rng: Random) -> str:
        number = rng.randrange(len(self.world.workers))
        seconds = rng.uniform(0.1, 5.0)
        async with self._worker_locks[number]:
            self.world.workers[number].pause()
            await asyncio.sleep(seconds)
            self.world.workers[number].resume()
        return f"worker {number} for {seconds:.1f} s"

    async def fail_saves(self, rng: Random) -> str:
        return await self._while_file("fail", rng)

    async def slow_saves(self, rng: Random) -> str:
        return await self._while_file("slow", rng)

    async def _while_file(self, name: str, rng: Random) -> str:
        seconds = rng.uniform(0.5, 6.0)
        path = self.world.faults / name
        path.touch()
        await asyncio.sleep(seconds)
        path.unlink(missing_ok=True)
        return f"{seconds:.1f} s"

    async def pause_ledger(self, rng: Random) -> str:
        seconds = rng.uniform(0.1, 3.0)
        self.world.ledger.pause()
        await asyncio.sleep(seconds)
        self.world.ledger.resume()
        return f"{seconds:.1f} s"


_HANDS: Final[dict[str, dict[str, Fault]]] = {
    "redis": {
        "fail over": Breaker.fail_over,
        "fail over with a worker": Breaker.fail_over_with_a_worker,
        "restart Redis": Breaker.restart_redis,
        "pause Redis": Breaker.pause_redis,
        "cut Redis": Breaker.cut_redis,
        "lose replies": Breaker.lose_replies,
        "partition": Breaker.partition,
        "refuse Redis": Breaker.refuse_redis,
    },
    "rest": {
        "kill worker": Breaker.kill_worker,
        "terminate worker": Breaker.terminate_worker,
        "pause worker": Breaker.pause_worker,
        "fail saves": Breaker.fail_saves,
        "slow saves": Breaker.slow_saves,
        "pause ledger": Breaker.pause_ledger,
    },
}

KINDS: Final = tuple(kind for kinds in _HANDS.values() for kind in kinds)
