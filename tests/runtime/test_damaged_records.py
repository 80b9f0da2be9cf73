"""A store that cannot read one stream's record: that stream goes on without a log, and nobody else is touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import pytest

from streamguard.errors import StoreCorruptError, StoreUnavailableError
from streamguard.observations import Signal
from streamguard.runtime.request import Ending
from streamguard.stores.appends import AppendReply, AppendRequest
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import NOTHING_CONSUMED
from streamguard.stores.store import StreamStore
from streamguard.testing._passing import PassingStore
from streamguard.values import Outcome, SessionKey, StreamRef, Usage

from ..harness.waiting import wait_until_async
from .conftest import memory
from .lines import Line
from .stage import Model, log_of, quick, read, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["memory"]

T = TypeVar("T")

BAD, GOOD = SessionKey("ana", "bad"), SessionKey("ana", "good")


class Spoilt(PassingStore):
    """A host's store that raises for a whole batch because of one stream in it, and for every step on that stream."""

    def __init__(self, inner: StreamStore) -> None:
        super().__init__(inner)
        self.bad: set[StreamRef] = set()
        self.down = False

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    def _check(self, operation: str, *refs: StreamRef) -> None:
        if self.down:
            raise StoreUnavailableError(f"{operation}: away", operation=operation)
        if self.bad.intersection(refs):
            raise StoreCorruptError(f"{operation}: a record cannot be read", operation=operation)

    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        self._check("append", *(append.ref for append in batch))
        return await self.inner.append(batch)

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        self._check("heartbeat", *(ref for ref, _ in claims))
        return await self.inner.heartbeat(
            claims, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, consumed=consumed
        )


async def test_a_batch_of_appends_that_one_record_spoils_is_told_apart(memory: MemoryStore) -> None:
    store = Spoilt(memory)
    async with working(store) as worker:
        bad, good = Model("a"), Model("a")
        spoilt = await worker.start(bad, worker.request(BAD))
        fine = await worker.start(good, worker.request(GOOD))
        await wait_until_async(lambda: fine.acked == spoilt.acked == 1, description="both have begun")
        store.bad.add(spoilt.ref)
        for model in (bad, good):
            model.say("b", "c")
            model.end()
        reading = await worker.watch(fine)
        assert (reading.over, fine.degraded) == (True, False)
        assert [data for _, kind, data in await log_of(memory, fine.ref) if kind == "d"] == [b"a", b"b", b"c"]
        assert (await worker.watch(spoilt)).over
        assert spoilt.log.degraded_reason == "record_unreadable"
        assert not worker.runtime.breaker.open
        assert worker.signals(Signal.BREAKER_OPENED, Signal.TASK_RESTARTED) == []


async def test_heartbeats_that_one_record_spoils_renew_the_others(memory: MemoryStore) -> None:
    store = Spoilt(memory)
    async with working(store, quick(heartbeat_seconds=0.02)) as worker:
        bad, good = Model(), Model()
        spoilt = await worker.start(bad, worker.request(BAD))
        fine = await worker.start(good, worker.request(GOOD))
        store.bad.add(spoilt.ref)
        await wait_until_async(lambda: spoilt.degraded, description="the damaged one goes on without a log")
        assert spoilt.log.degraded_reason == "record_unreadable"
        assert not fine.degraded
        assert worker.signals(Signal.BREAKER_OPENED, Signal.TASK_RESTARTED) == []
        store.bad.clear()
        bad.end()
        good.end()
        await worker.watch(fine)
        await worker.watch(spoilt)


async def test_a_record_that_cannot_be_read_says_nothing_of_the_store(memory: MemoryStore) -> None:
    """Healthy time, which sweeps wait for, goes on; an outage begins it again."""
    store = Spoilt(memory)
    async with working(store, quick(heartbeat_seconds=0.02)) as worker:
        breaker = worker.runtime.breaker
        before = breaker.healthy_seconds
        model = Model("a")
        spoilt = await worker.start(model, worker.request(BAD))
        store.bad.add(spoilt.ref)
        await wait_until_async(lambda: spoilt.degraded, description="the damaged one goes on without a log")
        healthy = breaker.healthy_seconds
        assert healthy > before
        store.bad.clear()
        fine = await worker.start(Model("a"), worker.request(GOOD))
        store.down = True
        await wait_until_async(lambda: breaker.healthy_seconds < healthy, description="an outage is noticed")
        store.down = False
        model.end()
        fine.cancel(Ending(Outcome.STOPPED, None))
        await worker.watch(spoilt)


async def test_a_record_that_is_found_damaged_after_the_end_adds_nothing_to_that(memory: MemoryStore) -> None:
    """When the seal is written at last: who still reads then gets the end, and nothing after it."""
    line = Line(memory)
    async with working(line) as worker:
        line.broken = {"seal", "ping"}
        stream = await worker.start(saying("a"))
        viewer = worker.view(stream)
        await wait_until_async(lambda: stream.finished, description="its end is there, and cannot be sealed")
        line.errors["seal"] = [StoreCorruptError("damaged", operation="seal")]
        line.broken = set()
        await worker.idle()
        reading = await read(viewer)
        assert [event.event for event in reading.events] == ["message", "streamguard.end"]
