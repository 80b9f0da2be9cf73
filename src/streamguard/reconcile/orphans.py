"""Ends streams whose writer is gone, so that no viewer waits for ever and no session stays blocked.

Leases choose who acts; the epoch, raised before anything is written, protects what is written: of two sweeps that race
for one stream, one takes it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ..errors import StoreCorruptError, StoreError
from ..model import StreamRef
from ..runtime import Runtime
from ..stores.base import StreamMeta
from ..wire import knows_protocol

__all__ = ["OrphanSweep"]

BATCH: Final = 200


class OrphanSweep:
    """Looks for expired leases every `sweep_seconds`, jittered so that workers do not move in step."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self) -> None:
        """Sweep until the drain. After an outage of the store, and after the start, it holds back for one lease: live
        writers renew first."""
        settings = self._runtime.settings
        while True:
            await asyncio.sleep(settings.sweep_seconds * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter
            if self._runtime.draining:
                return
            if self._runtime.breaker.healthy_seconds < settings.lease_seconds:
                continue
            try:
                await self.sweep()
            except StoreError:
                self._runtime.breaker.stumbled()

    async def sweep(self) -> int:
        """One look. Returns how many streams it took.

        Raises:
            StoreError: the store failed; what was taken runs out again and is found again.
        """
        store = self._runtime.store
        taken = 0
        for ref in await store.due(limit=BATCH):
            if self._runtime.owns(ref):
                continue  # late, but alive: its next heartbeat renews the lease
            meta = await self._readable(ref)
            # Of an unknown protocol only a later version knows the closing parts, and so ends the stream.
            if meta is None or not knows_protocol(meta.protocol):
                continue
            if await self._runtime.admission.take_over(meta, stopped=meta.stop_requested):
                taken += 1
        return taken

    async def _readable(self, ref: StreamRef) -> StreamMeta | None:
        """The record; None if it is gone, or this version cannot read it: that must not keep it from other streams."""
        try:
            return await self._runtime.store.meta(ref)
        except StoreCorruptError:
            return None
