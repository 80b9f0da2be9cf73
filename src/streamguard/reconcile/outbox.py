"""Attempts what closed streams still owe: each process claims due outbox entries, a few at once.

Claims choose who tries: a claim outlasts an attempt, so two workers seldom meet, and where they do, saving twice is
saving once.
"""

from __future__ import annotations

import asyncio
from typing import Final

import anyio
from anyio.abc import TaskGroup

from ..contained import passes
from ..errors import StoreError, StoreUnavailableError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..retrying import jittered
from ..runtime import Runtime
from ..saving.save_result import SaveStatus
from ..stores.records import OutboxEntry
from .results import Duty, Result, Tally, Treated

__all__ = ["OutboxWorker"]

CONCURRENCY: Final = 16
"""Attempts at once in one process, so that one that hangs does not hold up the others."""
CLAIM_MARGIN_SECONDS: Final = 15.0
"""How much longer a claim lasts than an attempt may take."""


class OutboxWorker:
    """Claims due entries every `outbox_seconds`, jittered so that workers do not move in step; at once again while
    there are more."""

    def __init__(self, runtime: Runtime, tally: Tally | None = None) -> None:
        self._runtime = runtime
        self._tally = tally or Tally()
        self._under_way = 0
        self._one_done = asyncio.Event()
        self.last_success: float | None = None
        """Loop time of the last round that came to its end, whatever became of its entries."""

    async def run(self) -> None:
        """Work until the drain; then wait for the attempts under way, which the drain breaks off in the end."""
        runtime = self._runtime
        async with anyio.create_task_group() as group:
            while True:
                await asyncio.sleep(jittered(runtime.settings.outbox_seconds))
                if runtime.draining:
                    return
                if runtime.breaker.open:
                    continue
                try:
                    await self._attempt_due(group, None)
                except StoreUnavailableError as exc:
                    runtime.breaker.stumbled(exc)

    async def sweep(self) -> int:
        """As `run_once`. Returns how many entries there were."""
        return len(await self.run_once())

    async def run_once(self) -> list[Treated]:
        """One attempt at every entry that is due. Returns what became of each.

        Raises:
            StoreError: the stream store failed; claimed entries become due again.
        """
        treated: list[Treated] = []
        failure: StoreError | None = None
        async with anyio.create_task_group() as group:
            try:
                await self._attempt_due(group, treated)
            except StoreError as exc:  # the attempts under way go on
                failure = exc
        if failure is not None:
            raise failure
        return treated

    async def _attempt_due(self, group: TaskGroup, treated: list[Treated] | None) -> None:
        """Begin an attempt at every entry that is due, a few at once; their results go into `treated`."""
        settings = self._runtime.settings
        while not self._runtime.draining:
            while self._under_way >= CONCURRENCY:
                self._one_done.clear()
                await self._one_done.wait()
            free = CONCURRENCY - self._under_way
            due = await self._runtime.store.claim_due(
                limit=free, claim_seconds=settings.save_total_seconds + CLAIM_MARGIN_SECONDS
            )
            for owed in due:
                self._under_way += 1
                group.start_soon(self._process, owed, treated)
            if len(due) < free:
                break
        self.last_success = asyncio.get_running_loop().time()

    async def _process(self, owed: OutboxEntry, treated: list[Treated] | None) -> None:
        runtime = self._runtime
        result, reason = Result.LEFT, "failed"
        try:
            attempt = await runtime.outbox.process(owed)
            if attempt.status in (SaveStatus.FAILED, SaveStatus.REFUSED):
                reason = attempt.reason or reason
            else:
                result, reason = Result.DONE, attempt.status.value
                if attempt.status is SaveStatus.NOTHING:
                    self._tally.settlements += 1
                else:
                    self._tally.saves += 1
        except StoreUnavailableError as exc:
            runtime.breaker.stumbled(exc)
            reason = "store_unavailable"
        except BaseException as exc:  # one entry's accident is no other's
            if passes(exc):
                raise
            runtime.observe(Observation(Signal.FAULT, ref=owed.ref, fault=Fault.of(FaultCode.INTERNAL), error=exc))
        finally:
            self._under_way -= 1
            self._one_done.set()
            self._tally.left += result is Result.LEFT
            if treated is not None:
                treated.append(Treated(owed.ref, Duty.OUTBOX, result, reason))
