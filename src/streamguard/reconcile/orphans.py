"""Ends streams whose writer is gone, so that no viewer waits for ever and no session stays blocked.

Leases choose who acts; the epoch, raised before anything is written, protects what is written: of two sweeps that race
for one stream, one takes it. Workers divide the work into partitions, so that not every worker reads everything.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import anyio

from ..contained import passes
from ..errors import StoreCorruptError, StoreError, StoreFormatError, StoreUnavailableError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..retrying import jittered
from ..runtime import Runtime
from ..stores.damage import RecordKind
from ..stores.records import Partition, Status, StreamMeta
from ..values import Outcome, StreamRef
from ..wire import knows_protocol
from .measuring import StoreMeasuring
from .results import Duty, Result, Tally, Treated
from .rounds import Rounds

__all__ = ["OrphanSweep"]

BATCH: Final = 400
"""So many streams one read of the lease index gives at most. Another follows at once while there are more."""
CONCURRENCY: Final = 64
"""So many streams are ended at once: one whose save hangs does not hold up the others. The others are not taken over
yet, so that no lease runs out while they wait."""
PARTITIONED_ROUNDS: Final = 5
"""After so many rounds over its own partition a worker makes one over everything, and so finds what the worker of
another partition cannot end or did not live to end."""
PARTITION_SWEEPS: Final = 2.0
"""A worker keeps its partition for so many sweeps from its last one; but no longer than its streams keep their leases
when it dies, so that no orphan waits for it."""
UNREADABLE_SECONDS: Final = 60.0
"""How long a stream whose record cannot be read is left alone before it is tried again."""
LATER_SECONDS: Final = 10.0
"""After how long a stream that this version cannot end is tried again; a worker of the later version may end it
first."""
DEFER_OVER: Final = 32
"""Streams that this version cannot end are deferred once there are more of them: below that, every round reads them."""
MEASURE_SWEEPS: Final = 5
"""The shared stores are measured with every so many sweeps."""
_LASTING: Final = frozenset({"unknown_protocol", "newer_format"})
"""The reasons that only a worker of a later version can remove."""


class OrphanSweep:
    """Ends streams with expired leases every `sweep_seconds`, jittered so that workers do not move in step."""

    def __init__(self, runtime: Runtime, told: Rounds | None = None) -> None:
        self._runtime = runtime
        self._told = told or Rounds(runtime.observe, Tally())
        self._measuring = StoreMeasuring(runtime)
        self._rounds = 0
        self._leads = False
        """Whether this worker's place among those that share the work is the first."""
        self._sweeps = 0
        self.last_success: float | None = None
        """Loop time of the last round that came to its end."""

    async def run(self) -> None:
        """Sweep until the drain. After an outage of the store, and after the start, it holds back for one lease: live
        writers renew first."""
        runtime, settings = self._runtime, self._runtime.settings
        stalled = runtime.clock.stalled_seconds
        while True:
            await asyncio.sleep(jittered(settings.sweep_seconds))
            if runtime.draining:
                with suppress(StoreError):
                    await runtime.store.partition(self._runtime.worker, lease_seconds=0.0)
                return
            if runtime.breaker.healthy_seconds < settings.lease_seconds:
                continue
            before, stalled = stalled, runtime.clock.stalled_seconds
            if stalled - before >= settings.lease_seconds - settings.heartbeat_seconds:
                # This process stood still, perhaps with its whole machine: let the other processes renew first.
                runtime.breaker.stood_still()
                continue
            try:
                await self._round()
            except StoreUnavailableError as exc:
                runtime.breaker.stumbled(exc)
            except StoreCorruptError as exc:  # a record that all workers share: their list, or an index
                runtime.observe(Observation(Signal.RECORD_UNREADABLE, error=exc, fields={"operation": exc.operation}))

    async def _round(self) -> None:
        """One round in the background, of which operators are told.

        Raises:
            StoreError: see `run_once`.
        """
        observe = self._runtime.observe
        try:
            partition = await self._partition()
        except StoreError:
            with self._told.one():
                raise
        with self._told.one() as treated:
            treated += await self.run_once(partition)
        if self._leads and not self._runtime.draining:  # one worker's share of this is enough
            await self._runtime.store.repair_indexes()
        self._sweeps += 1
        if self._sweeps % MEASURE_SWEEPS == 1 and observe.wants(Signal.STORE_MEASURED):
            await self._measuring.measure()

    async def _partition(self) -> Partition | None:
        """This worker's partition of the work; None now and then, for all of it."""
        settings = self._runtime.settings
        counts = min(settings.sweep_seconds * PARTITION_SWEEPS, settings.lease_seconds - settings.heartbeat_seconds)
        partition = await self._runtime.store.partition(self._runtime.worker, lease_seconds=counts)
        self._told.shared(partition)
        self._leads = partition.place == 0
        self._rounds += 1
        return None if self._rounds % (PARTITIONED_ROUNDS + 1) == 0 else partition

    async def sweep(self) -> int:
        """One round over everything. Returns how many streams it ended.

        Raises:
            StoreError: see `run_once`.
        """
        return sum(1 for one in await self.run_once() if one.result is Result.DONE)

    async def run_once(self, partition: Partition | None = None) -> list[Treated]:
        """End every orphan there is, in one `partition` of the work or in all of it. Returns what it did and left.

        Cancelled, it leaves the streams that it took over to any worker that finds their leases expired.

        Raises:
            StoreError: the store failed; the leases of streams that were taken over expire and are found again.
        """
        runtime = self._runtime
        treated: list[Treated] = []
        left: set[StreamRef] = set()
        """Streams that stay due in this round; they must not hide the others."""
        while not runtime.draining:
            limit = BATCH + len(left)
            due = await runtime.store.expired_leases(limit=limit, partition=partition)
            fresh = [ref for ref in due if ref not in left]
            # Streams of this process are late, but alive: their next heartbeat renews the lease.
            left.update(ref for ref in fresh if runtime.owns(ref))
            some = await self._end_all([ref for ref in fresh if ref not in left])
            lasting = [one.ref for one in some if one.reason in _LASTING]
            left.update(one.ref for one in some if one.result is Result.LEFT)
            if len(left) > DEFER_OVER:
                for ref in lasting:  # else every round would read so many again
                    await runtime.store.defer(ref, seconds=LATER_SECONDS, readable=True)
            treated += some
            if len(due) < limit:
                break
        self.last_success = asyncio.get_running_loop().time()
        return treated

    async def _end_all(self, refs: list[StreamRef]) -> list[Treated]:
        """End streams, a few at once. When the store fails, those under way go on, and no other is begun."""
        treated: list[Treated] = []
        failures: list[StoreError] = []
        waiting = iter(refs)

        async def work() -> None:
            for ref in waiting:
                if failures or self._runtime.draining:
                    return
                try:
                    treated.append(await self._end_orphan(ref))
                except StoreFormatError:  # a worker of that version ends it
                    treated.append(Treated(ref, Duty.ORPHANS, Result.LEFT, "newer_format"))
                except StoreCorruptError as exc:  # of one record; that must not keep it from the others
                    treated.append(Treated(ref, Duty.ORPHANS, Result.LEFT, "unreadable"))
                    await self._defer(ref, exc)
                except StoreError as exc:
                    failures.append(exc)
                except BaseException as exc:  # one stream's accident is no other's
                    if passes(exc):
                        raise
                    fault = Fault.of(FaultCode.INTERNAL, session_id=ref.key.session_id, stream_id=ref.stream_id)
                    self._runtime.observe(Observation(Signal.FAULT, ref=ref, fault=fault, error=exc))
                    treated.append(Treated(ref, Duty.ORPHANS, Result.LEFT, "failed"))

        async with anyio.create_task_group() as group:
            for _ in range(min(CONCURRENCY, len(refs))):
                group.start_soon(work)
        if failures:
            raise failures[0]
        return treated

    async def _defer(self, ref: StreamRef, error: StoreCorruptError, meta: StreamMeta | None = None) -> None:
        """Report a stream that no worker can end, and defer it; it is tried again until its record expires."""
        fields = {"record": RecordKind.STREAM, "reason": "damaged", "action": "put_off"}
        found = Observation(Signal.RECORD_UNREADABLE, ref=ref, error=error, fields=fields)
        if meta is not None:
            found = Observation.about(meta, Signal.RECORD_UNREADABLE, error=error, fields=fields)
        self._runtime.observe(found)
        with suppress(StoreError):  # then the next round finds it again
            await self._runtime.store.defer(ref, seconds=UNREADABLE_SECONDS)

    async def _end_orphan(self, ref: StreamRef) -> Treated:
        """Take one stream over and end it."""
        runtime = self._runtime
        meta = await runtime.store.meta(ref)
        if meta is None:
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "gone")
        if not knows_protocol(meta.protocol):
            # Only a later version knows the closing parts, so its workers end the stream.
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "unknown_protocol")
        try:
            return await self._end(meta)
        except StoreFormatError:
            raise
        except StoreCorruptError as exc:  # its log, perhaps
            await self._defer(ref, exc, meta)
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "unreadable")
        except StoreError:
            raise
        except BaseException as exc:  # one stream's accident is no other's
            if passes(exc):
                raise
            fault = Fault.about(meta, FaultCode.INTERNAL)
            runtime.observe(Observation.about(meta, Signal.FAULT, fault=fault, error=exc))
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "failed")

    async def _end(self, meta: StreamMeta) -> Treated:
        runtime, ref = self._runtime, meta.ref
        taken = await self._take_over(meta)
        if taken is None:
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "taken_by_another")
        outcome = Outcome.STOPPED if taken.stop_requested else Outcome.INTERRUPTED
        ended = await runtime.takeover.end(taken, outcome)
        if ended is None:
            return Treated(ref, Duty.ORPHANS, Result.LEFT, "taken_by_another")
        return Treated(ref, Duty.ORPHANS, Result.DONE, ended.outcome)

    async def _take_over(self, meta: StreamMeta) -> StreamMeta | None:
        """The stream's record under an epoch of this worker's; None when another worker was faster, or its writer came
        back."""
        reply = await self._runtime.store.take_over(
            meta.ref,
            lease_seconds=self._runtime.settings.lease_seconds,
            expected_epoch=meta.epoch,
            worker=self._runtime.worker,
        )
        return reply.meta if reply.status is Status.OK else None
