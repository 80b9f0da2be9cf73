"""The sweep: what dead workers left is ended once, live streams are left alone (I4, I10, I11)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from streamguard.errors import StoreError, StoreUnavailableError
from streamguard.observations import Signal
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, SessionKey

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.lines import Line
from ..runtime.stage import KEY, Model, Worker, closed, dying, expired, log_of, quick, read, saying, terminals, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]


async def orphaned(worker: Worker, line: Line, store: StreamStore, model: Model, key: SessionKey = KEY) -> LiveStream:
    """A stream whose worker fell silent, past its lease."""
    stream = await worker.start(model, worker.request(key))
    await stream.first(5)
    line.down = True
    await expired(store, stream.ref)
    return stream


@pytest.fixture
async def dead(look: StreamStore) -> AsyncIterator[tuple[Worker, Line]]:
    """A worker that loses its store, and its line; at the end the line is mended, so that the worker can leave."""
    line = Line(look)
    async with working(line, dying(), clean=False) as worker:
        yield worker, line
        line.down = False
        line.let_go("close")


@pytest.mark.promise("I4", "I10")
async def test_an_orphan_gets_its_terminal_and_its_viewers_their_end(
    stores: Stores, look: StreamStore, dead: tuple[Worker, Line]
) -> None:
    worker, line = dead
    stream = await worker.start(Model("a", "b"))
    await wait_until_async(lambda: stream.acked == 2, description="it is logged")
    async with working(stores()) as healthy:
        reading = asyncio.create_task(read(await healthy.resume()))
        healthy.runtime.supervise("sweep", OrphanSweep(healthy.runtime).run)
        line.down = True
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.INTERRUPTED
        seen = await reading
        assert (seen.text, seen.outcome) == ("ab", "interrupted")
        assert seen.notices == [("interrupted", "writer_lost")]
        assert seen.ids == list(range(1, meta.last_seq + 1))
        await wait_until_async(lambda: healthy.signals(Signal.ORPHAN_SETTLED), description="it is told")
        assert (await look.session(KEY)).active_id is None
        assert (await healthy.tell(saying("next"))).text == "next"


@pytest.mark.promise("I11")
async def test_a_second_sweep_changes_nothing(stores: Stores, look: StreamStore, dead: tuple[Worker, Line]) -> None:
    """Promise I11."""
    worker, line = dead
    stream = await orphaned(worker, line, look, Model("a"))
    async with working(stores()) as healthy:
        sweep = OrphanSweep(healthy.runtime)
        assert await sweep.sweep() == 1
        await closed(look, stream.ref)
        before = await log_of(look, stream.ref)
        assert await sweep.sweep() == 0
        assert await log_of(look, stream.ref) == before
        assert await look.expired_leases(limit=10) == []


async def test_a_requested_stop_is_kept(look: StreamStore, stores: Stores, dead: tuple[Worker, Line]) -> None:
    worker, line = dead
    line.deaf = True
    line.broken = {"heartbeat", "append", "seal"}
    stream = await worker.start(Model("a"))
    await look.request_stop(stream.ref)
    line.down = True
    await expired(look, stream.ref)
    async with working(stores()) as healthy:
        await OrphanSweep(healthy.runtime).sweep()
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.STOPPED
    line.broken = set()
    line.deaf = False


async def test_what_was_sealed_stands(look: StreamStore, stores: Stores, dead: tuple[Worker, Line]) -> None:
    """The worker died between seal and close: the sweep closes with the sealed outcome, and says so."""
    worker, line = dead
    line.hold("close")
    stream = await worker.start(saying("a"), worker.request(protocol="ui-message"))
    await wait_until_async(lambda: line.waiting["close"], description="it is sealed")
    line.down = True
    await expired(look, stream.ref)
    async with working(stores()) as healthy:
        await OrphanSweep(healthy.runtime).sweep()
        await closed(look, stream.ref)
        (terminal,) = terminals(await log_of(look, stream.ref))
        assert terminal.outcome is Outcome.COMPLETED
        replay = await read(await healthy.resume())
        assert [event.data for event in replay.events][-2:] == ['{"type":"finish"}', "[DONE]"]
        await wait_until_async(lambda: healthy.signals(Signal.ORPHAN_SETTLED), description="it is told")
        (settled,) = healthy.signals(Signal.ORPHAN_SETTLED)
        assert (settled.fields["outcome"], settled.fault) == ("completed", None)


async def test_a_lost_stream_gets_its_tombstone(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, dying(), clean=False) as worker, working(memory) as healthy:
        stream = await worker.start(Model("a"))
        await stream.first(5)
        stream.degrade("test")
        await wait_until_async(lambda: line.calls["declare_lost"], description="it is declared")
        line.down = True
        await expired(memory, stream.ref)
        assert await OrphanSweep(healthy.runtime).sweep() == 1
        assert (await closed(memory, stream.ref)).lost
        (terminal,) = terminals(await log_of(memory, stream.ref))
        assert (terminal.outcome, terminal.reason) == (Outcome.INTERRUPTED, "log_lost")
        line.down = False
        await worker.runtime.sessions.stop(KEY)


@pytest.mark.long
async def test_live_streams_are_left_alone(stores: Stores) -> None:
    steady = quick(lease_seconds=0.4, heartbeat_seconds=0.05)
    async with working(stores(), steady) as one, working(stores()) as two:
        model = Model("a")
        stream = await one.start(model)
        two.runtime.supervise("sweep", OrphanSweep(two.runtime).run)
        opened = stream.activity.opened_at
        loop = asyncio.get_running_loop()
        await wait_until_async(lambda: loop.time() > opened + 0.7, description="well past its first lease")
        model.end()
        assert (await one.watch(stream)).outcome == "completed"


async def test_this_processs_own_late_streams_are_left_alone(memory: MemoryStore) -> None:
    """Its heartbeats were late, but who could know better that it lives?"""
    line = Line(memory)
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        line.hold("heartbeat")
        await expired(memory, stream.ref)
        assert await OrphanSweep(worker.runtime).sweep() == 0
        line.let_go("heartbeat")
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"


async def test_protocols_of_tomorrow_are_left_to_newer_workers(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, dying(), clean=False) as worker, working(memory) as healthy:
        stream = await orphaned(worker, line, memory, Model("a"))
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        known, entry.new = entry.new, replace(entry.new, protocol="of-tomorrow")
        assert await OrphanSweep(healthy.runtime).sweep() == 0
        entry.new = known
        assert await OrphanSweep(healthy.runtime).sweep() == 1
        await closed(memory, stream.ref)
        line.down = False


async def test_a_stream_that_vanishes_meanwhile(memory: MemoryStore) -> None:
    line, other = Line(memory), Line(memory)
    async with working(line, dying(), clean=False) as worker, working(other) as healthy:
        stream = await orphaned(worker, line, memory, Model("a"))

        async def erase() -> None:
            await memory.erase(KEY, mark_seconds=60)

        other.before["meta"] = erase
        assert await OrphanSweep(healthy.runtime).sweep() == 0
        line.down = False
        await wait_until_async(lambda: stream.degraded, description="the old writer noticed")
        await worker.runtime.sessions.stop(KEY)


@pytest.mark.long
async def test_after_an_outage_the_sweep_holds_back_for_a_lease(memory: MemoryStore) -> None:
    """Live writers renew first. A process that just started has seen no more than one after an outage."""
    line = Line(memory)
    async with working(line, quick(sweep_seconds=0.02)) as worker:
        worker.runtime.supervise("sweep", OrphanSweep(worker.runtime).run)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await wait_until_async(lambda: line.calls["expired_leases"], description="the first sweep")
        assert loop.time() - started >= 0.3
        line.errors["expired_leases"] = [StoreUnavailableError("no", operation="expired_leases")]
        await wait_until_async(lambda: not line.errors["expired_leases"], description="a sweep failed")
        failed, asked = loop.time(), line.calls["expired_leases"]
        await wait_until_async(lambda: line.calls["expired_leases"] > asked, description="the next sweep")
        assert loop.time() - failed >= 0.3


async def test_a_sweep_says_when_the_store_failed(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.down = True
        with pytest.raises(StoreError):
            await OrphanSweep(worker.runtime).sweep()
        line.down = False


@pytest.mark.long
async def test_a_process_that_stood_still_lets_the_others_renew_first(memory: MemoryStore) -> None:
    """Its whole machine may have: leases that ran out meanwhile are no sign of a dead worker."""
    line = Line(memory)
    settings = quick(lease_seconds=1.0, heartbeat_seconds=0.1, sweep_seconds=0.05)
    async with working(line, settings) as worker:
        sweep = asyncio.create_task(OrphanSweep(worker.runtime).run())
        await wait_until_async(lambda: line.calls["expired_leases"], description="it looks")
        time.sleep(1.2)
        clock = worker.runtime.clock
        asked, stood_still = line.calls["expired_leases"], clock.time()
        await wait_until_async(lambda: line.calls["expired_leases"] > asked, description="it looks again")
        assert clock.time() - stood_still >= settings.lease_seconds - 0.1
        sweep.cancel()
        await asyncio.wait([sweep])
