"""What other workers want of the streams that this one writes, heard over one subscription for all of them.

A hint is a shortcut: whatever it says, the stream's next heartbeat answers too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ...errors import StoreError
from ...retrying import Backoff
from ...stores.roles.stream_writes import StreamWrites
from ...stores.worker_hints import WorkerHint
from ..producing.stream import LiveStream
from .leases import Leases

__all__ = ["WorkerChannel"]

RETRY: Final = Backoff(0.25, 1.0)
"""The pauses while the store cannot be subscribed to; stops are heard with heartbeats meanwhile."""


class WorkerChannel:
    """Stops streams, and looks after those that another worker may have taken over."""

    def __init__(
        self, store: StreamWrites, worker: str, *, named: Callable[[str], LiveStream | None], leases: Leases
    ) -> None:
        self._store = store
        self._worker = worker
        self._named = named
        """The stream of an id, if this process writes it."""
        self._leases = leases

    async def run(self) -> None:
        """Listen until cancelled."""
        retries = RETRY.retries()
        while True:
            try:
                async with self._store.subscribe_worker(self._worker, self.hear):
                    retries.reset()
                    self._leases.renew_soon()  # for what came before
                    await asyncio.get_running_loop().create_future()
            except StoreError:
                await retries.pause()

    def hear(self, hint: WorkerHint) -> None:
        """Do what a hint says. A stream that ended, or is another worker's, is ignored."""
        if hint.stream_id is None:
            self._leases.renew_soon()
            return
        stream = self._named(hint.stream_id)
        if stream is None or stream.finished:
            return
        if stream.log.registered and hint.epoch != stream.epoch:
            if not (stream.finalising or stream.degraded):  # these learn it from their own next step
                self._leases.look_soon(stream)
            return
        if hint.stop_requested:
            stream.stop()
