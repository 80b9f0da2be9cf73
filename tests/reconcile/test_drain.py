"""What goes on in the background ends with the drain."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.reconcile.orphans import OrphanSweep
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.stores.memory import MemoryStore

from ..runtime.conftest import memory
from ..runtime.savers import Messages, saving_to
from ..runtime.stage import quick, working

pytestmark = pytest.mark.anyio

__all__ = ["memory"]


@pytest.mark.parametrize("duty", [OrphanSweep, OutboxWorker])
async def test_each_duty_ends_with_the_drain(duty: type[OrphanSweep | OutboxWorker], memory: MemoryStore) -> None:
    settings = quick(sweep_seconds=0.02, outbox_seconds=0.03)
    async with working(memory, settings, bindings=saving_to(Messages())) as worker:
        ended = asyncio.Event()

        async def work() -> None:
            await duty(worker.runtime).run()
            ended.set()

        worker.runtime.supervise("duty", work)
        await worker.runtime.drain()
        await asyncio.wait_for(ended.wait(), 20)
