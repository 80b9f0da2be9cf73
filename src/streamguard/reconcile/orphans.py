"""Ends streams whose writer is gone, so that no viewer waits for ever and no session stays blocked.

Leases choose who acts; the epoch, raised before anything is written, protects what is written: of two sweeps that race
for one stream, one takes it. Workers share the work out among themselves, so that not each of them looks at everything.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Final

import anyio

from ..errors import StoreCorruptError, StoreError, StoreFormatError, StoreUnavailableError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..retrying import jittered
from ..runtime import Runtime
from ..stores.damage import RecordKind
from ..stores.records import Partition, Status, StreamMeta
from ..values import Outcome, StreamRef
from ..wire import knows_protocol
from .results import Duty, Result, Treated

__all__ = ["OrphanSweep"]

BATCH: Final = 400
"""How many streams one look takes up at most. Another follows at once while there are more."""
CONCURRENCY: Final = 64
"""How many of them are ended at once: one whose save hangs does not hold up the others, and what waits for its turn
is not taken yet, so that no lease runs out meanwhile."""
LOOKS_SHARED: Final = 5
"""After so many looks at its own share a worker looks at everything: what the worker whose share it is cannot do, or
did not live to do, is found by another."""
SHARE_SWEEPS: Final = 2.0
"""How many sweeps a worker counts among those that share the work, from its last one; but no longer than its streams
keep their leases when it dies, so that by then nobody waits for it to do its share."""


UNREADABLE_SECONDS: Final = 60.0
"""How long a stream whose record cannot be read is left alone before it is looked at again."""


LATER_SECONDS: Final = 10.0
"""After how long a look comes again upon what this version cannot end; workers of the later version may end it then."""
TOLERATED: Final = 32
"""So many streams that it has to leave a look reads each time."""
_LASTING: Final = frozenset({"unknown_protocol", "newer_format"})
"""Why a stream is left for as long as there is nobody but this version."""


class OrphanSweep:
    """Looks for expired leases every `sweep_seconds`, jittered so that workers do not move in step."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._worker = secrets.token_hex(8)
        self._looks = 0
        self.last_success: float | None = None
        """Loop time of the last look that came to its end."""

    async def run(self) -> None:
        """Sweep until the drain. After an outage of the store, and after the start, it holds back for one lease: live
        writers renew first."""
        runtime, settings = self._runtime, self._runtime.settings
        stalled = runtime.clock.stalled_seconds
        while True:
            await asyncio.sleep(jittered(settings.sweep_seconds))
            if runtime.draining:
                with suppress(StoreError):
                    await runtime.store.partition(self._worker, lease_seconds=0.0)
                return
            if runtime.breaker.healthy_seconds < settings.lease_seconds:
                continue
            before, stalled = stalled, runtime.clock.stalled_seconds
            if stalled - before >= settings.lease_seconds - settings.heartbeat_seconds:
                # This process stood still, perhaps with its whole machine: who else did renews first.
                runtime.breaker.stood_still()
                continue
            try:
                await self.look(await self._share())
            except StoreUnavailableError as exc:
                runtime.breaker.stumbled(exc)
            except StoreCorruptError as exc:  # what all workers share: their list, or an index
                runtime.observe(Observation(Signal.RECORD_UNREADABLE, error=exc, fields={"operation": exc.operation}))

    async def _share(self) -> Partition | None:
        """Which part of the work is this worker's; None now and then, for all of it."""
        settings = self._runtime.settings
        counts = min(settings.sweep_seconds * SHARE_SWEEPS, settings.lease_seconds - settings.heartbeat_seconds)
        share = await self._runtime.store.partition(self._worker, lease_seconds=counts)
        self._looks += 1
        return None if self._looks % (LOOKS_SHARED + 1) == 0 else share

    async def sweep(self) -> int:
        """A look at everything. Returns how many streams it ended.

        Raises:
            StoreError: see `look`.
        """
        return sum(1 for one in await self.look() if one.result is Result.DONE)

    async def look(self, partition: Partition | None = None) -> list[Treated]:
        """End every orphan there is, in one `partition` of the work or in all of it. Says what it did and left.

        Cancelled, it leaves what it took to whoever finds its lease expired.

        Raises:
            StoreError: the store failed; what was taken runs out again and is found again.
        """
        runtime = self._runtime
        treated: list[Treated] = []
        left: set[StreamRef] = set()
        """What stays due for all that this look does, and must not hide the rest."""
        while not runtime.draining:
            limit = BATCH + len(left)
            due = await runtime.store.expired_leases(limit=limit, partition=partition)
            fresh = [ref for ref in due if ref not in left]
            # This process's own are late, but alive: their next heartbeat renews the lease.
            left.update(ref for ref in fresh if runtime.owns(ref))
            some = await self._all_of([ref for ref in fresh if ref not in left])
            lasting = [one.ref for one in some if one.reason in _LASTING]
            left.update(one.ref for one in some if one.result is Result.LEFT)
            if len(left) > TOLERATED:
                for ref in lasting:  # so many would be read again by every look
                    await runtime.store.defer(ref, seconds=LATER_SECONDS, readable=True)
            treated += some
            if len(due) < limit:
                break
        self.last_success = asyncio.get_running_loop().time()
        return treated

    async def _all_of(self, refs: list[StreamRef]) -> list[Treated]:
        """End these, a few at once. When the store fails, what is under way goes on, and nothing more is begun."""
        treated: list[Treated] = []
        failures: list[StoreError] = []
        waiting = iter(refs)

        async def work() -> None:
            for ref in waiting:
                if failures or self._runtime.draining:
                    return
                try:
                    treated.append(await self._treat(ref))
                except StoreFormatError:  # a worker of that version ends it
                    treated.append(Treated(ref, Duty.ORPHANS, Result.LEFT, "newer_format"))
                except StoreCorruptError as exc:  # of one record; that must not keep it from the others
                    treated.append(Treated(ref, Duty.ORPHANS, Result.LEFT, "unreadable"))
                    await self._defer(ref, exc)
                except StoreError as exc:
                    failures.append(exc)
                except Exception as exc:  # noqa: BLE001 -- one stream's accident is no other's
                    fault = Fault.of(FaultCode.INTERNAL, stream_id=ref.stream_id)
                    self._runtime.observe(Observation(Signal.FAULT, ref=ref, fault=fault, error=exc))
                    treated.append(Treated(ref, Duty.ORPHANS, Result.LEFT, "failed"))

        async with anyio.create_task_group() as group:
            for _ in range(min(CONCURRENCY, len(refs))):
                group.start_soon(work)
        if failures:
            raise failures[0]
        return treated

    async def _defer(self, ref: StreamRef, error: StoreCorruptError) -> None:
        """Report a stream that nobody can end, and look at it again later: until its record expires."""
        fields = {"record": RecordKind.STREAM, "reason": "damaged", "action": "put_off"}
        self._runtime.observe(Observation(Signal.RECORD_UNREADABLE, ref=ref, error=error, fields=fields))
        with suppress(StoreError):  # it is come upon again, then
            await self._runtime.store.defer(ref, seconds=UNREADABLE_SECONDS)

    async def _treat(self, ref: StreamRef) -> Treated:
        runtime = self._runtime
        meta = await runtime.store.meta(ref)
        if meta is None:
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "gone")
        if not knows_protocol(meta.protocol):
            # Only a later version knows the closing parts, and so ends the stream.
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "unknown_protocol")
        taken = await self._taken(meta)
        if taken is None:
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "taken_by_another")
        outcome = Outcome.STOPPED if taken.stop_requested else Outcome.INTERRUPTED
        ended = await runtime.takeover.end(taken, outcome)
        if ended is None:
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "taken_by_another")
        return Treated(ref, Duty.ORPHANS, Result.DONE, ended.outcome)

    async def _taken(self, meta: StreamMeta) -> StreamMeta | None:
        """The record under an epoch of ours; None when another was faster, or its writer came back."""
        reply = await self._runtime.store.take_over(
            meta.ref, lease_seconds=self._runtime.settings.lease_seconds, expected_epoch=meta.epoch
        )
        return reply.meta if reply.status is Status.OK else None
