"""Two workers, one stream: who loses the epoch stops writing, and its viewers follow the winner (I4, I5)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streamguard.faults import Fault, FaultCode
from streamguard.observations import Signal
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream
from streamguard.settings import Settings
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome, StreamState

from ..harness.waiting import wait_until, wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import (
    KEY,
    Model,
    Reading,
    Worker,
    closed,
    declared_lost,
    dying,
    expired,
    log_of,
    payloads,
    quick,
    read,
    saying,
    terminals,
    working,
)

pytestmark = pytest.mark.anyio


async def lost_to_another(
    one: Worker, two: Worker, stream: LiveStream, store: StreamStore, *, force: bool = True
) -> None:
    """`two` takes the stream over, as after an expired lease."""
    meta = await store.meta(stream.ref)
    assert meta is not None
    assert await two.runtime.eviction.take_over(meta, stopped=False, force=force)


@pytest.mark.promise("I5")
@pytest.mark.parametrize("found_by", ["hint", "heartbeat", "append", "seal", "close"])
@pytest.mark.long
async def test_whoever_lost_the_epoch_writes_nothing_more(memory: MemoryStore, found_by: str) -> None:
    """Promise I5. However the old writer finds out, its viewers go on to the new owner's one terminal."""
    line = Line(memory)
    if found_by != "hint":
        line.broken = {"listen"}
    settings = quick(lease_seconds=12.0, heartbeat_seconds=0.1 if found_by == "heartbeat" else 6.0)
    async with working(line, settings) as one, working(memory, quick()) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        reading = asyncio.create_task(read(one.view(stream)))
        if found_by in ("seal", "close"):
            line.hold(found_by)
            model.end()
            await wait_until_async(lambda: line.waiting[found_by], description="it is about to end")
        await lost_to_another(one, two, stream, memory)
        if found_by == "append":
            model.say("lost")
        if found_by in ("seal", "close"):
            line.let_go(found_by)
        seen = await reading
        meta = await closed(memory, stream.ref)
        await stream.ended()
        assert seen.over
        assert seen.text == "a"
        expected = "completed" if found_by == "close" else "interrupted"
        assert seen.outcome == expected
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.taken) == (expected, True)
        assert seen.ids == list(range(1, meta.last_seq + 1)), "the very log, whoever wrote it"
        if found_by not in ("seal", "close"):
            assert model.left.is_set()
        assert payloads(await log_of(memory, stream.ref)) == [b"a"]
        assert len(one.signals(Signal.STREAM_SUPERSEDED)) == 1
        assert one.signals(Signal.STREAM_ENDED) == []
        (settled,) = two.signals(Signal.ORPHAN_SETTLED)
        assert (settled.fields["outcome"], settled.fields["epoch"]) == (expected, meta.epoch)


async def test_a_late_viewer_of_a_stream_that_was_lost_follows_too(memory: MemoryStore) -> None:
    """The response was about to be made when the stream went to another worker."""
    line = Line(memory)
    async with working(line) as one, working(memory) as two:
        stream = await one.start(Model("a"))
        await stream.first(5)
        await memory.take_over(stream.ref, lease_seconds=5.0, force=True)
        await wait_until_async(lambda: stream.finished, description="it is superseded")
        early, late = one.view(stream), one.view(stream)
        taken = await memory.meta(stream.ref)
        assert taken is not None
        two.runtime.takeover.end_soon(taken, Outcome.INTERRUPTED)
        for viewer in (early, late):
            assert (await read(viewer)).outcome == "interrupted"


async def test_nothing_is_said_in_a_lost_stream(memory: MemoryStore) -> None:
    """A stop that came first, a notice, a late first item: none of it may take a number of the new owner's."""
    line = Line(memory)
    async with working(line) as one, working(memory) as two:
        model = Model()
        stream = await one.start(model, one.request(protocol="ui-message"))
        await model.started.wait()
        stream.stop()
        viewer = one.view(stream)
        await lost_to_another(one, two, stream, memory)
        stream.supersede()
        stream.supersede()
        stream.notices.tell(Fault.of(FaultCode.SAVE_CONFLICT))
        stream.begin()
        assert stream.feed.emitted == stream.feed.visible
        reading = await read(viewer)
        await stream.ended()
        assert reading.ids == list(range(1, (await closed(memory, stream.ref)).last_seq + 1))


async def test_our_own_close_is_no_takeover(memory: MemoryStore) -> None:
    """A heartbeat that was carried out after the close, but answered before it, says "sealed"."""
    line = Line(memory)
    async with working(line) as worker:
        line.hold("close", after=True)
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        reading = asyncio.create_task(read(viewer))
        model.end()
        await closed(memory, stream.ref)
        beats = line.calls["heartbeat"]
        await wait_until_async(lambda: line.calls["heartbeat"] >= beats + 2, description="two more heartbeats")
        line.let_go("close")
        seen = await reading
        assert seen.ids == [1, 2]
        assert worker.signals(Signal.STREAM_SUPERSEDED) == []


@pytest.mark.promise("I5")
@pytest.mark.parametrize("sealed", [False, True])
async def test_two_takeovers_one_wins(stores: Stores, look: StreamStore, sealed: bool) -> None:
    """Promise I4. Two workers find the same orphan: one terminal, and a second sweep changes nothing."""
    dead = Line(look)
    async with working(dead, dying(), clean=False) as one, working(stores()) as two, working(stores()) as three:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        if sealed:
            dead.hold("close")
            model.end()
            await wait_until_async(lambda: dead.waiting["close"], description="sealed")
        dead.broken = {"heartbeat", "append", "close"}
        dead.let_go("close")
        await expired(look, stream.ref)
        taken = await asyncio.gather(OrphanSweep(two.runtime).sweep(), OrphanSweep(three.runtime).sweep())
        assert sorted(taken) == [0, 1]
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is (Outcome.COMPLETED if sealed else Outcome.INTERRUPTED)
        assert await OrphanSweep(two.runtime).sweep() == 0
        assert len(two.signals(Signal.ORPHAN_SETTLED) + three.signals(Signal.ORPHAN_SETTLED)) == 1
        dead.broken = set()
        await wait_until_async(lambda: stream.finished, description="the old writer noticed")
        await one.idle()


async def test_an_event_loop_that_stood_still_past_its_lease(redis_url: str) -> None:
    """Promise I5. A worker's loop is blocked; another takes the stream; awake again, the first writes nothing, and its
    viewers get the new owner's end."""
    settings = quick(lease_seconds=0.4, heartbeat_seconds=0.1, command_seconds=2.0, append_deadline_seconds=5.0)
    stalled = Stalled(redis_url, settings)
    thread = threading.Thread(target=stalled.run, name="stalled-worker")
    thread.start()
    try:
        async with working(RedisStore(redis_url), settings) as two:
            await wait_until_async(lambda: stalled.speaking, description="the first worker speaks")
            assert stalled.stream is not None
            remote = asyncio.create_task(read(await two.resume()))
            stalled.stall.set()
            two.runtime.supervise("sweep", OrphanSweep(two.runtime).run)
            meta = await closed(two.runtime.store, stalled.stream.ref)
            stalled.wake.set()
            seen = await remote
            await wait_until_async(lambda: stalled.reading is not None, description="its viewer has the end")
            assert stalled.reading is not None
            for reading in (seen, stalled.reading):
                assert reading.over
                assert reading.outcome == "interrupted"
                assert reading.ids == list(range(1, meta.last_seq + 1))
            log = await log_of(two.runtime.store, stalled.stream.ref)
            assert payloads(log) == [b"a"]
            assert [kind for _, kind, _ in log] == [EventKind.DATA, EventKind.NOTICE, EventKind.TERMINAL]
    finally:
        stalled.stall.set()
        stalled.wake.set()
        wait_until(lambda: not thread.is_alive(), description="the first worker ended")
    assert stalled.superseded


class Stalled:
    """A worker in a thread and loop of its own, which can be blocked as a whole."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.settings = settings
        self.stall, self.wake = threading.Event(), threading.Event()
        self.speaking = False
        self.superseded = False
        self.stream: LiveStream | None = None
        self.reading: Reading | None = None

    def run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        async with working(RedisStore(self.url, command_seconds=2.0), self.settings) as worker:
            model = Model("a")
            self.stream = await worker.start(model)
            viewer = worker.view(self.stream)
            into = await read(viewer, Reading(), until=lambda r: r.ids == [1])
            self.speaking = True
            await wait_until_async(self.stall.is_set, description="told to stall", timeout=10)
            self.wake.wait(10)  # the whole loop stands still
            model.say("too late")
            self.reading = await read(viewer, into)
            await self.stream.ended()
            self.superseded = self.stream.superseded


async def test_a_degraded_stream_that_was_taken_over_is_not_written(memory: MemoryStore) -> None:
    """Its viewers, told that it cannot be resumed, still get their answer; the log has the new owner's end only."""
    line = Line(memory)
    async with working(line) as one, working(memory) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        line.down = True
        model.say("b")
        await wait_until_async(lambda: stream.degraded, description="it is degraded")
        await lost_to_another(one, two, stream, memory)
        await closed(memory, stream.ref)
        line.down = False
        await wait_until_async(lambda: stream.log.disowned, description="it is told")
        stream.supersede()
        model.say("c")
        model.end()
        reading = await one.watch(stream)
        await one.idle()
        assert (reading.text, reading.outcome) == ("abc", "completed")
        meta = await closed(memory, stream.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.INTERRUPTED
        assert not meta.lost
        (terminal,) = terminals(await log_of(memory, stream.ref))
        assert terminal.outcome is Outcome.INTERRUPTED


async def test_a_tombstone_that_comes_too_late_is_refused(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, quick(heartbeat_seconds=5.0, lease_seconds=10.0)) as one, working(memory) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        stream.degrade("test")
        await lost_to_another(one, two, stream, memory)
        await closed(memory, stream.ref)
        model.end()
        assert (await one.watch(stream)).over
        await one.idle()
        assert stream.log.disowned
        stream.supersede()


@pytest.mark.parametrize("step", ["seal", "close"])
async def test_a_late_end_that_finds_a_new_owner_gives_way(memory: MemoryStore, step: str) -> None:
    """Its viewers got their end while the store was away; meanwhile another worker ended the stream."""
    line = Line(memory)
    line.broken = {step, "ping", "heartbeat"}
    async with working(line) as one, working(memory) as two:
        stream = await one.start(saying("a"))
        assert (await one.watch(stream)).outcome == "completed"
        await lost_to_another(one, two, stream, memory)
        meta = await closed(memory, stream.ref)
        line.broken = set()
        await one.idle()
        assert await memory.meta(stream.ref) is not None
        assert len(terminals(await log_of(memory, stream.ref))) == 1
        assert meta.epoch > stream.epoch


@pytest.mark.parametrize("step", ["seal", "close", "declare_lost"])
async def test_an_orphan_lost_to_a_third_worker_is_left_to_it(memory: MemoryStore, step: str) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        stream = await one.start(Model("a"))
        await stream.first(5)
        if step == "declare_lost":
            stream.degrade("test")
            await declared_lost(memory, stream.ref)
        meta = await memory.meta(stream.ref)
        assert meta is not None

        async def steal() -> None:
            reply = await memory.take_over(stream.ref, lease_seconds=5.0, force=True)
            assert reply.status is Status.OK

        line.before[step] = steal
        took = await two.runtime.eviction.take_over(meta, stopped=False, force=True)
        assert took is (step == "close")
        assert two.signals(Signal.ORPHAN_SETTLED) == []
        left = await memory.meta(stream.ref)
        assert left is not None
        assert left.state is not StreamState.CLOSED
        await memory.erase(KEY, mark_seconds=60)
        await wait_until_async(lambda: stream.finished or stream.degraded, description="it is told")
        await one.runtime.sessions.stop(KEY)


@pytest.mark.parametrize("late", [False, True])
async def test_an_epoch_lost_before_any_seal(memory: MemoryStore, late: bool) -> None:
    """The new owner has not sealed yet: the old writer's seal is refused, in time or after an outage."""
    line = Line(memory)
    line.broken = {"listen", "ping"} | ({"seal"} if late else set())
    async with working(line, quick(lease_seconds=12.0, heartbeat_seconds=6.0)) as one, working(memory) as two:
        if not late:
            line.hold("seal")
        stream = await one.start(saying("a"))
        reading = asyncio.create_task(one.watch(stream))
        if late:
            assert (await reading).outcome == "completed"
        else:
            await wait_until_async(lambda: line.waiting["seal"], description="it is about to seal")
        reply = await memory.take_over(stream.ref, lease_seconds=5.0, force=True)
        assert reply.meta is not None
        line.broken = set()
        line.let_go("seal")
        await one.idle()
        assert stream.superseded is not late
        two.runtime.takeover.end_soon(reply.meta, Outcome.INTERRUPTED)
        assert (await reading).outcome == ("completed" if late else "interrupted")
        (terminal,) = terminals(await log_of(memory, (await closed(memory, stream.ref)).ref))
        assert terminal.outcome is Outcome.INTERRUPTED


async def test_a_sealed_stream_lost_while_its_close_hangs(memory: MemoryStore) -> None:
    """A heartbeat tells first: from then on the feed is the follower's, and the close has no say in it."""
    line = Line(memory)
    async with working(line) as one, working(memory) as two:
        line.hold("close")
        stream = await one.start(saying("a"))
        reading = asyncio.create_task(one.watch(stream))
        await wait_until_async(lambda: line.waiting["close"], description="it is sealed")
        reply = await memory.take_over(stream.ref, lease_seconds=5.0, force=True)
        assert reply.meta is not None
        await wait_until_async(lambda: stream.superseded, description="a heartbeat told")
        line.broken = {"close"}
        line.let_go("close")
        two.runtime.takeover.end_soon(reply.meta, Outcome.INTERRUPTED)
        seen = await reading
        assert (seen.outcome, seen.ids) == ("completed", [1, 2])
        await one.idle()
