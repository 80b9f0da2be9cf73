"""Ends streams whose writer is gone, so that no viewer waits for ever and no session stays blocked.

Leases choose who acts; the epoch, raised before anything is written, protects what is written: of two sweeps that race
for one stream, one takes it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ..errors import StoreError
from ..runtime import Runtime

__all__ = ["OrphanSweep"]

BATCH: Final = 200


class OrphanSweep:
    """Looks for expired leases every `sweep_seconds`, jittered so that workers do not move in step."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self) -> None:
        """Sweep for ever. After an outage of the store it holds back for one lease: live writers renew first."""
        settings = self._runtime.settings
        while True:
            await asyncio.sleep(settings.sweep_seconds * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter
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
            meta = await store.meta(ref)
            if meta is not None and await self._runtime.admission.take_over(meta, stopped=meta.stop_requested):
                taken += 1
        return taken
