"""Plays the schedule of a seed in a world, and checks what came of it."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streamguard.errors import LogBrokenError, StoreError
from streamguard.stores.records import Status
from streamguard.stores.registrations import Registered
from streamguard.stores.store import StreamStore
from streamguard.values import START, Event, Position, StreamRef

from .actors import LEASE_SECONDS, RETENTION_SECONDS, Reader, Worker, is_tombstone, new_stream, repeated
from .history import History, Loss, ViolationError
from .plan import READERS, WORKERS, Action, Step, steps_of
from .reconcilers import check_found, check_owed, settle, sweep
from .worlds import World

__all__ = ["Tally", "play", "play_many"]

EVERYTHING: Final = 1 << 30
LONGEST_SECONDS: Final = 240.0
"""A schedule that takes longer hangs: every wait of a store has a bound."""
Wrap = Callable[[StreamStore], StreamStore]


@dataclass(slots=True)
class Tally:
    """What was played."""

    schedules: int = 0
    steps: int = 0
    appends: int = 0
    faults: int = 0
    refused: int = 0
    """Steps that the store could not do, for as long as it was asked."""
    failovers: int = 0
    lost_events: int = 0
    """Acknowledged events that failovers lost; each was reported."""

    def __str__(self) -> str:
        return (
            f"{self.schedules} schedules, {self.steps} steps, {self.appends} appends acknowledged, "
            f"{self.faults} faults, {self.refused} steps refused, {self.failovers} failovers that lost writes, "
            f"{self.lost_events} acknowledged events lost with them, each reported"
        )


async def play(seed: int, world: World, tally: Tally, wrap: Wrap = lambda store: store) -> None:
    """Play one schedule.

    Raises:
        ViolationError: a promise is broken. The text has the seed and the schedule.
    """
    steps, history = steps_of(seed), History()
    ref = await world.begin(seed, history)
    played = _Schedule(ref, history, world, wrap)
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            await played.run(steps)
            await played.finish()
    except (ViolationError, StoreError, TimeoutError) as exc:
        lines = [f"  {number}: {step.action} {step.who} {step.amount}" for number, step in enumerate(steps, 1)]
        where = f"in step {played.history.now} of"
        lines += [f"  {note}" for note in history.notes]
        text = "\n".join((f"{type(exc).__name__}: {exc}", f"{where} STREAMGUARD_SEED={seed}:", *lines))
        raise ViolationError(text) from exc
    finally:
        await world.over()
    tally.schedules += 1
    tally.steps += len(steps)
    tally.appends += played.history.appends
    tally.faults += played.faults
    tally.refused += played.refused
    tally.failovers += len(played.history.losses)
    tally.lost_events += played.history.lost_events


async def play_many(
    worlds: Sequence[World], seed: int, tally: Tally, *, schedules: int = sys.maxsize, seconds: float = math.inf
) -> None:
    """Play so many schedules, or for so long, one in each of several worlds at once. The first one's seed is `seed`;
    those of the others follow.

    Raises:
        ViolationError: a promise is broken.
    """
    numbers, ends = itertools.count(seed), time.monotonic() + seconds

    async def play_on(world: World) -> None:
        while time.monotonic() < ends and (number := next(numbers)) < seed + schedules:
            await play(number, world, tally)

    try:
        async with asyncio.TaskGroup() as group:
            for world in worlds:
                group.create_task(play_on(world))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        for world in worlds:
            await world.aclose()


class _Schedule:
    def __init__(self, ref: StreamRef, history: History, world: World, wrap: Wrap) -> None:
        self.history = history
        self.faults = self.refused = 0
        self._world = world
        self._stores = [wrap(world.store(who)) for who in range(WORKERS)]
        self._workers = [Worker("abc"[who], store, self.history) for who, store in enumerate(self._stores)]
        self._readers = [Reader(self.history) for _ in range(READERS)]
        self._ref = ref
        self._lagged_at: int | None = None

    async def run(self, steps: list[Step]) -> None:
        """Register the stream with the first worker, and carry out the steps."""
        new, began = new_stream(self._ref), time.monotonic()
        first = steps[0].who
        answer = await repeated(
            lambda: self._stores[first].register(
                new, lease_seconds=LEASE_SECONDS, ttl_seconds=RETENTION_SECONDS, limit=None
            )
        )
        if not isinstance(answer, Registered):
            raise ViolationError(f"the stream could not be registered: {answer}")
        self._workers[first].begin(answer.meta, age_seconds=time.monotonic() - began)
        for self.history.now, step in enumerate(steps, 1):
            try:
                await self._carry_out(step)
            except StoreError:
                self.refused += 1  # while a slot is half way, say: the store says so, and whoever asked tries later

    async def _carry_out(self, step: Step) -> None:
        worker = self._workers[step.who]
        match step.action:
            case Action.APPEND:
                await worker.append(step.amount)
            case Action.TAKE:
                await worker.take(self._ref)
            case Action.SEAL:
                await worker.seal()
            case Action.CLOSE:
                await worker.close(owes=step.amount % 2 == 0)
            case Action.FINISH:
                await worker.finish(step.amount)
            case Action.BEAT:
                await worker.beat()
            case Action.LOSE_LOG:
                await worker.lose_log()
            case Action.SWEEP:
                await sweep(self._two(step.who), self._ref, self.history, step.amount)
            case Action.SETTLE:
                await settle(self._two(step.who), self._ref, self.history)
            case Action.ERASE:
                await self._erase(self._stores[step.who])
            case Action.READ:
                await self._readers[step.amount % READERS].read(self._stores[step.who], self._ref)
            case Action.RESUME:
                reader = self._readers[step.amount % READERS]
                reader.resume(self._readers[step.who])
                await reader.read(self._stores[step.who], self._ref)
            case _:
                self.faults += 1
                await self._fault(step)

    def _two(self, who: int) -> list[StreamStore]:
        return [self._stores[who], self._stores[(who + 1) % WORKERS]]

    async def _erase(self, store: StreamStore) -> None:
        history = self.history
        if history.erasing_at is None:
            history.erasing_at = history.now
        await repeated(lambda: store.erase(self._ref.key, mark_seconds=RETENTION_SECONDS))
        history.erased_at = history.now

    async def _fault(self, step: Step) -> None:
        world, ref = self._world, self._ref
        match step.action:
            case Action.LOSE_REPLY | Action.LOSE_REQUEST:
                await world.lose(step.who, ref, reply=step.action is Action.LOSE_REPLY, where=step.amount)
            case Action.CUT:
                await world.cut()
            case Action.PAUSE:
                await world.pause(ref)
            case Action.LAG:
                if self._lagged_at is None:
                    await world.lag(ref)
                    self._lagged_at = self.history.now
            case Action.FAIL_OVER:
                if self._lagged_at is not None:
                    self.history.losses.append(Loss(self._lagged_at, self.history.now))
                await world.fail_over(ref)
                self._lagged_at = None
            case Action.MIGRATE:
                await world.migrate(ref)
            case Action.MOVE:
                await world.move(ref)
            case Action.MIGRATED:
                await world.migrated()

    async def finish(self) -> None:
        """Let nothing go wrong any more, end the stream, and look at all of it."""
        history, store = self.history, self._stores[0]
        history.now += 1
        await self._world.calm()
        self._world.later()
        await check_found(self._stores, self._ref, history, self._world.found_within_seconds)
        if not await self._ended():
            return
        await check_owed(self._stores, self._ref, history, self._world.found_within_seconds)
        log = await self._whole(store)
        meta = await repeated(lambda: store.meta(self._ref))
        assert meta is not None
        history.whole(log, lost=meta.lost)
        for position in history.missing(log):
            await self._reported(store, position)
        for reader in self._readers:
            while await reader.read(store, self._ref, max_bytes=EVERYTHING):
                pass
            if not reader.told and reader.view != (log[:-1] if meta.lost else log):
                raise ViolationError(f"I3: a reader saw {reader.view}, and the log is {log}")

    async def _ended(self) -> bool:
        """Take the stream over and end it. False if a failover lost it altogether, or it was erased, which readers are
        told."""
        history = self.history
        for worker in self._workers:
            status = await worker.take(self._ref)
            if status is Status.GONE:
                if history.erasing_at is None and not history.may_be_lost(history.registered_at):
                    raise ViolationError("I2: the stream is gone")
                await self._gone()
                return False
            if history.stands(history.erased_at):
                raise ViolationError(f"I12: the session was erased in step {history.erased_at}, and is there")
            if status is Status.OK and history.stands(history.ended_at):
                raise ViolationError(f"I4: the end of step {history.ended_at} is gone")
            if status is Status.OK:
                await worker.seal()
                await worker.close()
            meta = await repeated(lambda: self._stores[0].meta(self._ref))
            if meta is not None and meta.closed_seconds is not None:
                return True
        raise ViolationError("I4: the stream could not be ended")

    async def _gone(self) -> None:
        """The whole stream is gone: whoever saw something of it is told."""
        self.history.lost_events += len(self.history.acked)
        for reader in self._readers:
            if reader.view and (await reader.read(self._stores[0], self._ref) or not reader.told):
                raise ViolationError("I9: the stream is gone, and a reader of it is not told")

    async def _whole(self, store: StreamStore) -> list[Event]:
        log: list[Event] = []
        while True:
            after = Position(log[-1].epoch, log[-1].seq) if log else START
            try:
                found = await repeated(lambda after=after: store.read(self._ref, after, max_bytes=EVERYTHING))  # type: ignore[misc] # bound
            except LogBrokenError as exc:
                raise ViolationError(f"I1: the log does not go on after {after}: {exc}") from exc
            if not found:
                return log
            log += found

    async def _reported(self, store: StreamStore, position: Position) -> None:
        """Whoever saw an event that is lost is told when they resume after it (I9)."""
        meta, held = await repeated(lambda: store.check_position(self._ref, position))
        if held and not (meta is not None and is_tombstone(meta, position.seq)):
            raise ViolationError(f"I9: the event at {position} is lost, and whoever saw it is not told")
