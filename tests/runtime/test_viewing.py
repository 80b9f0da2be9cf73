"""Viewers: replay by range, hand-over to the feed, keep-alives, who is cut and how (I2, I3)."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.observations import Signal
from streamguard.runtime import ViewerCutError
from streamguard.stores.memory import MemoryStore

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .numbered import at, numbered
from .stage import Model, Reading, next_chunk, quick, read, saying, working

pytestmark = pytest.mark.anyio


BIG = "x" * 30_000


@pytest.mark.parametrize("where", ["same", "other"])
async def test_resume_at_every_event_while_it_runs(stores: Stores, where: str) -> None:
    """Promise I3. From each cursor, on the writing worker or another, the rest arrives once and in order."""
    async with working(stores()) as one, working(stores()) as two:
        model, stream = await numbered(one, 12)
        worker = one if where == "same" else two
        viewers = [await worker.resume()]
        viewers += [await worker.resume(cursor=at(stream, seq)) for seq in range(13)]
        readings = [asyncio.create_task(read(viewer)) for viewer in viewers]
        for n in range(13, 25):
            model.say(f"{n};")
            await asyncio.sleep(0)
        model.end()
        whole, *rest = await asyncio.gather(*readings)
    assert whole.ids == list(range(1, 26))
    assert whole.text == "".join(f"{n};" for n in range(1, 25))
    for seq, reading in enumerate(rest):
        assert reading.over
        assert reading.ids == list(range(seq + 1, 26))


async def test_resume_at_every_event_after_it_ended(stores: Stores) -> None:
    async with working(stores()) as one, working(stores()) as two:
        stream = await one.start(saying("a", "b", "c"))
        await one.watch(stream)
        for worker in (one, two):
            for seq in range(4):
                reading = await read(await worker.resume(cursor=at(stream, seq)))
                assert (reading.over, reading.ids) == (True, list(range(seq + 1, 5)))


async def test_a_replay_outlives_a_short_outage(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        await worker.tell(saying("a"))
        viewer = await worker.resume()
        line.errors["read"] = [StoreUnavailableError("gone", operation="read")]
        assert (await read(viewer)).ids == [1, 2]


async def test_a_replay_that_keeps_failing_is_cut(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, quick(append_deadline_seconds=0.2)) as worker:
        await worker.tell(saying("a"))
        viewer, other = await worker.resume(), await worker.resume()
        line.broken = {"read"}
        reading = await read(viewer)
        assert (reading.cut, reading.notices) == ("store_unavailable", [("store_unavailable", "None")])
        waiting = asyncio.create_task(read(other))
        await wait_until_async(lambda: line.calls["read"] > 4, description="it tries again")
        other.cut("disconnect")
        assert (await waiting).cut == "disconnect"


async def test_a_lagging_viewer_replays_what_left_the_window(stores: Stores) -> None:
    """The window is bounded; whoever is behind it reads the store, then joins again, without gap or repeat."""
    async with working(stores(), quick(viewer_backlog_bytes=100_000)) as worker:
        model = Model()
        stream = await worker.start(model)
        lagging = worker.view(stream)
        model.say(*[BIG] * 100)
        await wait_until_async(lambda: stream.acked == 100, description="all of it is logged")
        assert stream.feed.base > 0
        assert stream.feed.held_bytes < 2_200_000
        await read(lagging, into := Reading(), until=lambda r: len(r.events) >= 99)
        model.say("end")
        model.end()
        reading = await read(lagging, into)
    assert reading.over
    assert reading.ids == list(range(1, 103))


async def test_a_lagging_viewer_of_a_degraded_stream_is_cut(memory: MemoryStore) -> None:
    """What left the window of a lost log is nowhere: its viewer gets what is logged, then a cut, never a clean end."""
    line = Line(memory)
    async with working(line, quick(viewer_backlog_bytes=100_000)) as worker:
        model, stream = await numbered(worker, 3)
        behind, further = worker.view(stream), worker.view(stream)
        await read(further, begun := Reading(), until=lambda r: len(r.events) == 3)
        line.broken = {"append"}
        model.say(*[BIG] * 200)
        model.end()
        await stream.ended()
        await wait_until_async(lambda: worker.runtime.health().streams == 0, description="its tombstone stands")
        reading = await read(behind)
        assert (reading.cut, reading.over, reading.ids) == ("slow", False, [1, 2, 3])
        assert (await read(further, begun)).cut == "slow"


async def test_keep_alives_come_between_events(memory: MemoryStore) -> None:
    async with working(memory, quick(keep_alive_seconds=0.05)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        into = Reading()
        await read(viewer, into, until=lambda r: r.keep_alives >= 2)
        model.say("b")
        model.end()
        reading = await read(viewer, into)
    assert reading.text == "ab"
    assert reading.ids == [1, 2, 3]
    assert len(reading.reader.comments) == reading.keep_alives


async def test_a_slow_viewer_is_dropped_and_hurts_nobody(memory: MemoryStore) -> None:
    async with working(memory, quick(viewer_send_seconds=0.05, keep_alive_seconds=0.1)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        slow, good = worker.view(stream), worker.view(stream)
        reading = asyncio.create_task(read(good))
        assert await next_chunk(slow)
        dropped = asyncio.Event()
        slow.on_drop = dropped.set
        slow.sending_since = asyncio.get_running_loop().time()
        await asyncio.wait_for(dropped.wait(), 20)
        with pytest.raises(ViewerCutError) as cut:
            await next_chunk(slow)
        assert cut.value.reason == "slow"
        model.say("b")
        model.end()
        assert (await reading).text == "ab"
        slow.close()
        slow.close()
    (seen,) = worker.signals(Signal.VIEWER_CUT)
    assert seen.fields["reason"] == "slow"


async def test_a_viewer_behind_the_window_is_dropped_sooner(memory: MemoryStore) -> None:
    settings = quick(viewer_backlog_bytes=100_000, viewer_send_seconds=30.0, keep_alive_seconds=0.1)
    async with working(memory, settings) as worker:
        model = Model(*[BIG] * 100)
        stream = await worker.start(model)
        stuck = worker.view(stream)
        await wait_until_async(lambda: stream.feed.base > 0, description="the window moved on")
        stuck.sending_since = asyncio.get_running_loop().time() - 1.0
        await wait_until_async(lambda: stuck.cut_reason is not None, description="it is dropped")
        with pytest.raises(ViewerCutError, match="slow"):
            await next_chunk(stuck)
        stuck.close()
        model.end()
        await stream.ended()


async def test_a_viewer_can_be_cut_while_it_waits(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        await next_chunk(viewer)
        waiting = asyncio.create_task(read(viewer))
        await wait_until_async(lambda: viewer.listening, description="it waits")
        viewer.cut("disconnect")
        viewer.cut("again")
        assert (await waiting).cut == "disconnect"
        assert stream.feed.listeners == (), "reading to the end closes a viewer"
        model.end()
        await stream.ended()


async def test_cancelling_a_wait_loses_nothing(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        into = Reading()
        await read(viewer, into, until=lambda r: len(r.events) == 1)
        waiting = asyncio.create_task(next_chunk(viewer))
        await wait_until_async(lambda: viewer.listening, description="it waits")
        waiting.cancel()
        await asyncio.wait([waiting])
        model.say("b")
        model.end()
        assert (await read(viewer, into)).ids == [1, 2, 3]


async def test_a_protocol_without_a_visible_terminal_ends_all_the_same(stores: Stores) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying("data: a\n\n", "data: [DONE]\n\n"), worker.request(protocol="opaque"))
        without_ids = await read(worker.view(stream, ids=False))
        assert [event.data for event in without_ids.events] == ["a", "[DONE]"]
        assert (without_ids.over, without_ids.ids) == (True, [])
        with_ids = await read(await worker.resume())
        assert (with_ids.over, with_ids.ids) == (True, [1, 2])


async def test_viewers_without_ids_see_the_same_text(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying(*[BIG] * 5))
        reading = await read(worker.view(stream, ids=False))
    assert (reading.text, reading.ids, reading.over) == (BIG * 5, [], True)
    assert reading.chunks >= 2, "a chunk is about 64 KiB"
