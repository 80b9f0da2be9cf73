"""All healing of one runtime: as background tasks of a server, or as one round for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..model import StreamRef, StreamState
from ..runtime import Runtime
from ..stores.base import Owed, StreamMeta
from ..wire import knows_protocol
from .orphans import OrphanSweep
from .outbox import OutboxWorker

__all__ = ["Planned", "Reconciler", "Step"]

PING_SECONDS: Final = 1.0
PAGE: Final = 200


class Step(StrEnum):
    """What a round would do about a stream."""

    INTERRUPT = "interrupt"
    """Its writer is gone: end it as interrupted, and save what there is."""
    STOP = "stop"
    """Its writer is gone and a stop was asked for: end it as stopped."""
    FINISH = "finish"
    """Its end is decided: carry it out."""
    SAVE = "save"
    """Make the save that is owed."""
    DROP = "drop"
    """Strike out what is owed: its endpoint does not save any more."""
    LEAVE_BINDING = "leave_unknown_binding"
    """Leave it to a worker that has its endpoint."""
    LEAVE_PROTOCOL = "leave_unknown_protocol"
    """Leave it to a worker of a later version."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a round would do about one stream."""

    ref: StreamRef
    step: Step
    binding: str
    waiting_seconds: float
    """For how long the stream has had no writer, or its save has been due."""
    attempts: int = 0
    """Failed attempts at the save."""


class Reconciler:
    """Ends orphans and settles what is owed, under the bindings of one guard."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._orphans = OrphanSweep(runtime)
        self._outbox = OutboxWorker(runtime)

    @property
    def shared(self) -> bool:
        """Whether other processes see the same streams."""
        return self._runtime.store.shared

    def supervise(self) -> None:
        """Go on for as long as the runtime lives, in its background tasks."""
        self._runtime.supervise("orphans", self._orphans.run)
        self._runtime.supervise("outbox", self._outbox.run)

    async def once(self, *, patience: bool = True) -> None:
        """One round: end every orphan, then try everything that is due, and wait until that is done.

        With `patience`, which it should have, it first sees the store answer for one lease: after an outage live
        writers need that long to renew theirs. Cancelled, it leaves what it took to other workers.

        Raises:
            StoreError: the store failed. What was taken or claimed comes up again.
        """
        if patience:
            await self._healthy()
        while await self._orphans.sweep():
            await self._runtime.idle()
        await self._outbox.sweep()
        await self._runtime.idle()

    async def _healthy(self) -> None:
        """Wait until the store has answered for one lease."""
        runtime = self._runtime
        while True:
            await runtime.store.ping()
            missing = runtime.settings.lease_seconds - runtime.breaker.healthy_seconds
            if missing <= 0:
                return
            await asyncio.sleep(min(missing, PING_SECONDS))

    async def plan(self, *, limit: int) -> AsyncIterator[Planned]:
        """What `once` would do, about `limit` orphans and `limit` saves at most. It changes nothing.

        Raises:
            StoreError: the store failed.
        """
        store = self._runtime.store
        for meta in await store.active(limit=limit):
            if meta.lease_seconds <= 0:
                yield Planned(meta.ref, _end_of(meta), meta.binding, -meta.lease_seconds)
        found, last = 0, None
        while found < limit:
            page = await store.owed(dead=False, limit=PAGE, after=last)
            for owed in page:
                if owed.due_seconds <= 0 and found < limit:
                    found += 1
                    record = await store.meta(owed.ref)
                    if record is not None:
                        yield self._settling_of(record, owed)
            if len(page) < PAGE:
                return
            last = page[-1].ref

    def _settling_of(self, meta: StreamMeta, owed: Owed) -> Planned:
        bindings = self._runtime.bindings
        if not bindings.knows(meta.binding):
            step = Step.LEAVE_BINDING
        elif bindings.target_of(meta.binding) is None:
            step = Step.DROP
        elif not knows_protocol(meta.protocol):
            step = Step.LEAVE_PROTOCOL
        else:
            step = Step.SAVE
        return Planned(meta.ref, step, meta.binding, -owed.due_seconds, owed.attempts)


def _end_of(meta: StreamMeta) -> Step:
    if not knows_protocol(meta.protocol):
        return Step.LEAVE_PROTOCOL
    if meta.state is not StreamState.OPEN:
        return Step.FINISH
    return Step.STOP if meta.stop_requested else Step.INTERRUPT
