"""Settles what closed streams still owe: each process looks for due entries, and makes an attempt at a few at once.

Claims choose who tries: a claim outlasts an attempt, so two workers seldom meet, and where they do, saving twice is
saving once.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import anyio
from anyio.abc import TaskGroup

from ..errors import StoreError
from ..faults import Fault, FaultCode
from ..model import Observation, Signal
from ..runtime import Runtime
from ..stores.base import Owed

__all__ = ["OutboxWorker"]

CONCURRENCY: Final = 16
"""Attempts at once in one process, so that one that hangs does not hold up the others."""
CLAIM_MARGIN_SECONDS: Final = 15.0
"""How much longer a claim lasts than an attempt may take."""


class OutboxWorker:
    """Looks every `outbox_seconds`, jittered so that workers do not move in step; at once again while there is more."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._under_way = 0
        self._begun = 0
        """How many attempts this worker has begun."""
        self._one_done = asyncio.Event()

    async def run(self) -> None:
        """Work until the drain; then wait for the attempts under way, which the drain breaks off in the end."""
        runtime = self._runtime
        async with anyio.create_task_group() as group:
            while True:
                await asyncio.sleep(runtime.settings.outbox_seconds * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter
                if runtime.draining:
                    return
                if runtime.breaker.open:
                    continue
                try:
                    await self._work_off(group)
                except StoreError:
                    runtime.breaker.stumbled()

    async def sweep(self) -> int:
        """One look at what is due, and an attempt at all of it. Returns how many entries there were.

        Raises:
            StoreError: the stream store failed; what was claimed comes up again.
        """
        before = self._begun
        failure: StoreError | None = None
        async with anyio.create_task_group() as group:
            try:
                await self._work_off(group)
            except StoreError as exc:  # what is under way goes on
                failure = exc
        if failure is not None:
            raise failure
        return self._begun - before

    async def _work_off(self, group: TaskGroup) -> None:
        """Begin an attempt at everything that is due, a few at once."""
        settings = self._runtime.settings
        while not self._runtime.draining:
            while self._under_way >= CONCURRENCY:
                self._one_done.clear()
                await self._one_done.wait()
            free = CONCURRENCY - self._under_way
            due = await self._runtime.store.claim_owed(
                limit=free, claim_seconds=settings.save_total_seconds + CLAIM_MARGIN_SECONDS
            )
            for owed in due:
                self._under_way += 1
                group.start_soon(self._settle, owed)
            self._begun += len(due)
            if len(due) < free:
                return

    async def _settle(self, owed: Owed) -> None:
        runtime = self._runtime
        try:
            await runtime.saving.settle_owed(owed)
        except StoreError:
            runtime.breaker.stumbled()
        except Exception as exc:  # noqa: BLE001 -- one entry's accident is no other's
            runtime.observe(Observation(Signal.FAULT, ref=owed.ref, fault=Fault.of(FaultCode.INTERNAL), error=exc))
        finally:
            self._under_way -= 1
            self._one_done.set()
