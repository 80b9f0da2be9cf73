"""Runs one soak: plays chats while faults are injected, waits until all work is finished, and collects the results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .app import LIMIT
from .chats import Players
from .clients import Clock
from .collecting import ledger_in, logs_of, saved_in, unsettled
from .faults import Breaker
from .history import History
from .plan import chat_of
from .world import World

__all__ = ["Soaked", "soak"]

SETTLE_SECONDS: Final = 90.0
"""How long all work may take to finish after the last fault. Expired reservations are looked for every ten seconds."""
PLAY_SECONDS: Final = 90.0
"""How long chats may go on after the last fault."""
PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Soaked:
    """The result of a soak."""

    history: History
    worker_logs: dict[str, str]


async def soak(*, seconds: float, seed: int, at_once: int, say: Callable[[str], None]) -> Soaked:
    """Soak for `seconds`, with `at_once` chats at a time. The time that finishing takes after that is limited.

    If it is cancelled, it ends the processes that it started.

    Raises:
        AssertionError: a process did not start or did not end. This is the soak's own failure.
    """
    world = await asyncio.to_thread(World().__enter__)
    try:
        return await _soaked(world, seconds, seed, at_once, say)
    finally:
        await asyncio.to_thread(world.close)


async def _soaked(world: World, seconds: float, seed: int, at_once: int, say: Callable[[str], None]) -> Soaked:
    clock = _clock()
    players = Players([worker.port for worker in world.workers], clock)
    breaker = Breaker(world, seed, clock)
    numbers = iter(range(1_000_000))

    async def play() -> None:
        while clock() < seconds:
            await players.play(chat_of(seed, next(numbers)))

    unfinished: list[str] = []
    playing = [asyncio.create_task(play()) for _ in range(at_once)]
    try:
        await breaker.run(seconds)
        await asyncio.to_thread(world.heal)
        say(f"{len(breaker.injected)} faults injected; waiting for the last chats")
        _, late = await asyncio.wait(playing, timeout=PLAY_SECONDS)
        unfinished += sorted(players.playing) if late else []
    finally:
        for task in playing:
            task.cancel()
        ended = await asyncio.gather(*playing, return_exceptions=True)
    for failure in ended:
        if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
            raise failure
    say(f"{players.chats} chats; waiting for everything to settle")
    unfinished += await _settled(world)
    logs = await asyncio.to_thread(logs_of, world.master.client())
    await asyncio.to_thread(world.reconcile)
    again = {log.stream_id: log for log in await asyncio.to_thread(logs_of, world.master.client())}
    counter = f"w:{LIMIT.unit}:{LIMIT.period_ms}"
    reserved, standings = await asyncio.to_thread(ledger_in, world.ledger.client(), LIMIT.limit, counter)
    history = History(
        seed=seed,
        seconds=seconds,
        questions=tuple(players.questions),
        attempts=tuple(players.attempts),
        logs=tuple(logs),
        losses=tuple(breaker.losses),
        saved=tuple(await asyncio.to_thread(saved_in, world.database)),
        reserved=tuple(reserved),
        standings=tuple(standings),
        injected=tuple(breaker.injected),
        reconciled=tuple(log.stream_id for log in logs if again.get(log.stream_id) != log),
        unfinished=tuple(unfinished),
    )
    return Soaked(history, world.logs())


def _clock() -> Clock:
    begun = time.monotonic()
    return lambda: round(time.monotonic() - begun, 4)


async def _settled(world: World) -> list[str]:
    """Wait until all work is finished. Returns the work that was left when the time was up."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while left := await asyncio.to_thread(unsettled, world.master.client(), world.ledger.client()):
        if time.monotonic() >= give_up_at:
            break
        await asyncio.sleep(PAUSE_SECONDS)
    return left
