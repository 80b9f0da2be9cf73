"""An answer that nobody watches ends after a while, where that is set; whoever watches it anywhere keeps it."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.cursor import Cursor
from streamguard.runtime import LiveStream
from streamguard.runtime.upkeep.unwatched import RequestWaiting
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, StreamState

from ..harness.waiting import wait_until_async
from .conftest import Stores, look, memory, stores
from .lines import Line
from .stage import Model, Worker, quick, read, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

LONG = 600.0
SHORT = 0.2


async def begun(worker: Worker, model: Model, *, after: float | None = SHORT) -> LiveStream:
    """A stream with one event in its log."""
    stream = await worker.start(model, worker.request(abandon_after_seconds=after))
    await wait_until_async(lambda: stream.acked > 0, description="it is logged")
    return stream


async def reason_of(store: StreamStore, stream: LiveStream) -> tuple[Outcome, str | None]:
    meta = await store.meta(stream.ref)
    assert meta is not None
    assert meta.state is StreamState.CLOSED
    assert meta.seal is not None
    assert meta.seal.fault is not None
    return meta.seal.outcome, meta.seal.fault.reason


def tick(worker: Worker, seconds: float) -> None:
    """Let the watchdog look as if so much time had passed."""
    worker.runtime._parts.watchdog.tick(asyncio.get_running_loop().time() + seconds)


def asking(worker: Worker) -> bool:
    """Whether the store is being asked about any stream."""
    return bool(worker.runtime._parts.watchdog._unwatched._asking)


@pytest.mark.parametrize("viewed", [True, False])
async def test_what_nobody_watches_ends_interrupted(stores: Stores, look: StreamStore, viewed: bool) -> None:
    """Also what never had a viewer: its time counts from its start."""
    async with working(stores()) as worker:
        model = Model("a", "b")
        stream = await begun(worker, model)
        if viewed:
            reading = await read(worker.view(stream), until=lambda reading: reading.text == "ab")
            assert not reading.over
            for viewer in list(worker.runtime.viewer_registry.viewers):
                viewer.close()
        await stream.ended()
        assert model.left.is_set()
        assert await reason_of(look, stream) == (Outcome.INTERRUPTED, "abandoned")
        after = await read(await worker.resume())
        assert (after.text, after.outcome, after.notices) == ("ab", "interrupted", [("interrupted", "abandoned")])


async def test_it_ends_no_sooner_than_its_time_after_the_last_viewer(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await begun(worker, Model("a"), after=LONG)
        viewer = worker.view(stream)
        stream.feed.watched_at -= 10 * LONG
        tick(worker, 0)
        assert not stream.is_ending  # it is watched
        viewer.close()
        tick(worker, 0)
        assert not stream.is_ending
        stream.feed.watched_at -= LONG
        tick(worker, 0)
        await stream.ended()
        assert await reason_of(memory, stream) == (Outcome.INTERRUPTED, "abandoned")


async def test_without_the_setting_it_goes_on(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await begun(worker, model, after=None)
        stream.feed.watched_at -= 100 * LONG
        tick(worker, 0)
        assert not stream.is_ending
        model.end()
        await stream.ended()
        assert stream.seal is None or stream.seal.outcome is Outcome.COMPLETED


@pytest.mark.long
async def test_a_viewer_on_another_worker_keeps_it(stores: Stores, look: StreamStore) -> None:
    line = Line(look)
    async with working(line) as writer, working(stores()) as other:
        model = Model("a")
        stream = await begun(writer, model)
        remote = await other.resume()
        asked = line.calls["meta"]
        await wait_until_async(lambda: line.calls["meta"] >= asked + 4, description="the writer asked, and again")
        assert not stream.is_ending
        remote.close()
        await stream.ended()
        assert await reason_of(look, stream) == (Outcome.INTERRUPTED, "abandoned")


@pytest.mark.long
async def test_the_last_of_several_viewers_elsewhere_decides(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as writer, working(memory) as two, working(memory) as three:
        stream = await begun(writer, Model("a"))
        viewers = [await two.resume(), await two.resume(), await three.resume()]
        for viewer in viewers[:2]:
            viewer.close()
        asked = line.calls["meta"]
        await wait_until_async(lambda: line.calls["meta"] >= asked + 4, description="the writer asked, and again")
        assert not stream.is_ending
        viewers[2].close()
        await stream.ended()


@pytest.mark.long
async def test_a_viewer_of_an_older_feed_keeps_it_when_the_newer_one_is_left(memory: MemoryStore) -> None:
    """One that has seen more than its process's feed, which a slow store holds up, gets a feed of its own."""
    line, held_up = Line(memory), Line(memory)
    async with working(line) as writer, working(held_up) as other:
        model = Model("a")
        stream = await begun(writer, model)
        held_up.hold("read")
        held_up.deaf = True
        first = await other.resume()
        model.say("b", "c")
        await wait_until_async(lambda: stream.acked == 3, description="all is logged")
        second = await other.resume(cursor=Cursor(stream.ref.stream_id, stream.epoch, 3))
        assert first.feed is not second.feed
        first.close()
        asked = line.calls["meta"]
        await wait_until_async(lambda: line.calls["meta"] >= asked + 4, description="the writer asked, and again")
        assert not stream.is_ending
        second.close()
        held_up.let_go("read")
        await stream.ended()


@pytest.mark.parametrize("where", ["here", "elsewhere", "here and gone again"])
async def test_who_comes_back_while_the_store_is_asked_keeps_it(stores: Stores, look: StreamStore, where: str) -> None:
    """Looked at again in the moment it would end, with what is known by then."""
    line = Line(look)
    async with working(line) as writer, working(stores()) as other:
        model = Model("a")
        stream = await begun(writer, model, after=LONG)
        line.hold("meta", after=where != "elsewhere")
        stream.feed.watched_at -= LONG
        await wait_until_async(lambda: line.waiting["meta"] == 1, description="the writer asks")
        viewer = writer.view(stream) if where != "elsewhere" else await other.resume()
        if where == "elsewhere":
            await noted(look, stream)
        elif where == "here and gone again":
            viewer.close()
        tick(writer, 0)
        assert line.waiting["meta"] == 1  # it is asked once
        line.let_go("meta")
        tick(writer, 0)
        await wait_until_async(lambda: not asking(writer), description="it looked")
        assert not stream.is_ending
        model.say("b")
        model.end()
        await stream.ended()
        viewer.close()
        meta = await look.meta(stream.ref)
        assert meta is not None
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.COMPLETED


async def noted(store: StreamStore, stream: LiveStream) -> None:
    """Wait until it is known that somebody views it elsewhere."""
    async with asyncio.timeout(5):
        while (meta := await store.meta(stream.ref)) is None or meta.viewed_seconds is None:
            await asyncio.sleep(0)


async def test_the_request_that_waits_for_its_first_event_watches(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await begun(worker, Model("a"), after=LONG)
        with RequestWaiting(stream):
            stream.feed.watched_at -= 10 * LONG
            tick(worker, 0)
            assert not stream.is_ending
        tick(worker, 0)
        assert not stream.is_ending  # its time counts from here
        stream.feed.watched_at -= LONG
        await stream.ended()


@pytest.mark.long
async def test_while_the_store_does_not_answer_nothing_ends(memory: MemoryStore) -> None:
    """Others could not have told it that somebody watches: its time begins anew."""
    line = Line(memory)
    async with working(line) as writer:
        stream = await begun(writer, Model("a"))
        line.broken.add("meta")
        await wait_until_async(lambda: line.calls["meta"] >= 3, description="the writer asked, and again")
        assert not stream.is_ending
        line.broken.clear()
        await stream.ended()
        assert await reason_of(memory, stream) == (Outcome.INTERRUPTED, "abandoned")


async def test_a_store_that_takes_no_notes_is_told_again(memory: MemoryStore) -> None:
    line = Line(memory)
    line.broken.add("note_viewed")
    async with working(memory) as writer, working(line) as other:
        stream = await begun(writer, Model("a"), after=LONG)
        viewer = await other.resume()
        await wait_until_async(lambda: line.calls["note_viewed"] >= 2, description="it goes on trying")
        line.broken.clear()
        await noted(memory, stream)
        viewer.close()
        stream.feed.watched_at -= LONG
        tick(writer, 0)
        await wait_until_async(lambda: not asking(writer), description="it looked")
        assert not stream.is_ending


async def test_a_stream_without_its_log_counts_who_is_here(memory: MemoryStore) -> None:
    """Nobody can come back to it."""
    line = Line(memory)
    async with working(line) as writer:
        stream = await begun(writer, Model("a"), after=LONG)
        viewer = writer.view(stream)
        stream.degrade("for_the_test")
        stream.feed.watched_at -= LONG
        tick(writer, 0)
        assert not stream.is_ending
        viewer.close()
        asked = line.calls["meta"]
        stream.feed.watched_at -= LONG
        tick(writer, 0)
        await stream.ended()
        assert line.calls["meta"] == asked


async def test_time_for_which_the_process_stood_still_counts_for_nobody(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await begun(worker, Model("a"), after=LONG)
        stream.feed.watched_at -= LONG - 1
        worker.runtime._parts.watchdog._stalled_seconds -= LONG  # as if it had stood still since it last looked
        tick(worker, 2)
        assert not stream.is_ending


async def test_streams_that_go_on_anyway_cost_no_notes(memory: MemoryStore) -> None:
    line = Line(memory)
    async with (
        working(memory, quick(heartbeat_seconds=0.05)) as writer,
        working(line, quick(heartbeat_seconds=0.05)) as other,
    ):
        model = Model("a")
        stream = await begun(writer, model, after=None)
        viewer = await other.resume()
        await wait_until_async(lambda: line.calls["report_viewers"] >= 3, description="time passes")
        viewer.close()
        assert line.calls["note_viewed"] == 0
        model.end()
        await stream.ended()
