"""Replays of one log share what they read, and none of them gets an event that the log does not hold any more (I9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from streamguard.cursor import Cursor
from streamguard.errors import StoreUnavailableError
from streamguard.runtime import Viewer
from streamguard.runtime.viewing import replays
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.values import SessionKey, StreamRef

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .numbered import numbered
from .stage import KEY, Model, Reading, Worker, closed, next_chunk, quick, read, saying, working

pytestmark = pytest.mark.anyio

BIG = "x" * 20_000
MANY = 30
"""So many big events are several reads of a log."""


async def ended(store: StreamStore, *items: str, key: SessionKey = KEY) -> StreamRef:
    """A stream that said these, on a worker that is gone."""
    async with working(store) as worker:
        stream = await worker.start(saying(*items), worker.request(key))
        await stream.ended()
        await closed(store, stream.ref)
        return stream.ref


@pytest.fixture
async def line(stores: Stores) -> AsyncIterator[Line]:
    store = stores()
    await store.start()
    yield Line(store)
    await store.aclose()


async def together(line: Line, viewers: list[Viewer]) -> list[Reading]:
    """Read them all at once: none is ahead of another when the first read is answered."""
    line.hold("read")
    readings = [asyncio.create_task(read(viewer)) for viewer in viewers]
    await wait_until_async(lambda: line.waiting["read"] > 0, description="the log is being read")
    line.let_go("read")
    return await asyncio.gather(*readings)


async def test_many_replays_read_the_log_once(line: Line) -> None:
    await ended(line, *[BIG] * MANY)
    async with working(line) as worker:
        line.calls.clear()
        alone = await read(await worker.resume())
        reads = line.calls["read"]
        line.calls.clear()
        readings = await together(line, [await worker.resume() for _ in range(50)])
        assert all(reading.events == alone.events and reading.over for reading in readings)
        # Not fifty times as many; readers that a busy machine has separated ask again.
        assert line.calls["read"] <= 5 * reads
        if isinstance(line.inner, RedisStore):  # the memory store answers at once, so its readers do not meet
            assert line.calls["check_position"] <= 5 * reads


async def test_replays_from_different_cursors_share_what_follows(line: Line) -> None:
    ref = await ended(line, *(f"{n};" for n in range(200)))
    async with working(line) as worker:
        whole = await worker.resume()
        expected = (await read(whole, until=lambda r: r.outcome is not None)).events
        line.calls.clear()
        for seq in (1, 7, 100, 199):
            epoch = Cursor.parse(expected[0].id or "").epoch
            reading = await read(await worker.resume(cursor=Cursor(ref.stream_id, epoch, seq)))
            assert reading.over
            assert reading.events == expected[seq:]
        assert line.calls["read"] == 0
        whole.close()


async def test_replays_with_ids_and_without_share_no_frames(memory: MemoryStore) -> None:
    ref = await ended(memory, "a", "b")
    async with working(memory) as worker:
        meta = await memory.meta(ref)
        assert meta is not None
        replayed = await asyncio.gather(
            *(read(worker.runtime.resume_view(meta, meta.end._replace(seq=0), ids=n % 2 == 0)) for n in range(6))
        )
        assert [reading.text for reading in replayed] == ["ab"] * 6
        assert [reading.ids for reading in replayed] == [[1, 2, 3], []] * 3


async def holding(worker: Worker) -> tuple[Viewer, Viewer]:
    """Two viewers of the same replay: one has everything and stays, the other has the first chunk."""
    ahead, behind = await worker.resume(), await worker.resume()
    await read(ahead, until=lambda r: r.outcome is not None)
    assert await next_chunk(behind)
    return ahead, behind


async def test_what_one_replay_left_behind_serves_another(line: Line) -> None:
    await ended(line, *[BIG] * MANY)
    async with working(line) as worker:
        ahead, behind = await holding(worker)
        line.calls.clear()
        assert (await read(behind)).over
        assert line.calls["read"] == 0
        ahead.close()


@pytest.mark.promise("I12")
async def test_nobody_reads_on_in_what_was_erased(line: Line) -> None:
    """Not even what another viewer of this process was sent."""
    await ended(line, *[BIG] * MANY)
    async with working(line) as worker:
        ahead, behind = await holding(worker)
        await line.erase(KEY, mark_seconds=60.0)
        reading = await read(behind)
        assert (reading.cut, reading.text) == ("stream_gone", "")
        assert reading.notices == [("resume_failed", "stream_gone")]
        ahead.close()


@pytest.mark.promise("I9")
@pytest.mark.parametrize("lost", ["log", "record", "front", "tail"])
async def test_a_log_that_changes_under_a_replay_is_reported(redis_url: str, lost: str) -> None:
    store = RedisStore(redis_url, command_seconds=2.0)
    ref = await ended(store, *[BIG] * MANY)
    keys = store._redis.keys.stream(ref)
    async with working(store) as worker:
        ahead, behind = await holding(worker)
        with redis.Redis.from_url(redis_url) as client:
            match lost:
                case "log":
                    client.delete(keys.log)
                case "record":
                    client.delete(keys.log, keys.meta)
                case "front":
                    client.xtrim(keys.log, maxlen=5)
                case _:
                    entries = [entry for entry, _ in client.xrange(keys.log)]
                    client.xdel(keys.log, *entries[5:])
        reading = await read(behind)
        assert not reading.over
        reasons = {"log": "stream_gone", "record": "stream_gone", "front": "trimmed", "tail": "cursor_ahead"}
        if lost == "tail":  # it gets the two events that are still there, and no other
            assert len(reading.text) <= 2 * len(BIG)
        else:
            assert reading.text == ""
        assert reading.notices[0][0] == "resume_failed"
        assert lost == "tail" or reading.notices == [("resume_failed", reasons[lost])]
        ahead.close()


async def test_a_slow_replay_holds_up_no_other_and_keeps_no_more_than_its_share(memory: MemoryStore) -> None:
    line = Line(memory)
    await ended(line, *[BIG] * 100)
    async with working(line, quick(viewer_backlog_bytes=400_000)) as worker:
        slow = await worker.resume()
        into = Reading()
        into.take(await next_chunk(slow))
        held = worker.runtime.viewer_registry.replays

        def bounded(_: Reading) -> bool:
            assert held.held_bytes <= 400_000
            return False

        viewers = [await worker.resume() for _ in range(5)]
        fast = await asyncio.gather(*(read(viewer, until=bounded) for viewer in viewers))
        assert all(reading.over and len(reading.ids) == 101 for reading in fast)
        assert held.held_bytes > 0
        reading = await read(slow, into, until=bounded)
        assert (reading.over, reading.ids) == (True, list(range(1, 102)))
        assert held.held_bytes == 0


async def test_all_replays_together_keep_no_more_than_is_allowed(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replays, "SHARED_BYTES", 300_000)
    keys = [SessionKey("ana", f"chat-{n}") for n in range(6)]
    for key in keys:
        await ended(memory, *[BIG] * 10, key=key)
    async with working(memory) as worker:
        held = worker.runtime.viewer_registry.replays
        viewers = [await worker.resume(key) for key in keys]
        for viewer in viewers:
            assert await next_chunk(viewer)
            assert held.held_bytes <= 300_000
        assert len(held.logs) == 6
        for reading in await asyncio.gather(*map(read, viewers)):
            assert reading.over


async def test_a_viewer_that_leaves_while_it_reads_for_others_costs_them_nothing(memory: MemoryStore) -> None:
    line = Line(memory)
    await ended(line, "a", "b")
    async with working(line) as worker:
        first, *others = [await worker.resume() for _ in range(3)]
        line.hold("read")
        reading = asyncio.create_task(read(first))
        await wait_until_async(lambda: line.waiting["read"] == 1, description="the first reads")
        waiting = [asyncio.create_task(read(viewer)) for viewer in others]
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        first.close()
        await wait_until_async(lambda: line.waiting["read"] == 1, description="another reads")
        line.let_go("read")
        assert [one.ids for one in await asyncio.gather(*waiting)] == [[1, 2, 3]] * 2


async def test_a_failure_is_everybodys_and_asked_about_once(memory: MemoryStore) -> None:
    line = Line(memory)
    await ended(line, "a", "b")
    async with working(line) as worker:
        viewers = [await worker.resume() for _ in range(20)]
        line.calls.clear()
        line.errors["read"] = [StoreUnavailableError("gone", operation="read")]
        readings = await asyncio.gather(*map(read, viewers))
        assert [reading.ids for reading in readings] == [[1, 2, 3]] * 20
        assert line.calls["read"] <= 3


async def test_a_storm_of_resumes_of_a_live_stream_makes_one_feed(line: Line) -> None:
    """However many come in one turn of the loop: one subscription, one read of what was said before."""
    async with working(line.inner) as one, working(line) as two:
        model, stream = await numbered(one, 500)
        line.calls.clear()
        viewers = await asyncio.gather(*(two.resume() for _ in range(50)))
        assert len({id(viewer.feed) for viewer in viewers}) == 1
        model.end()
        for reading in await together(line, viewers):
            assert (reading.over, len(reading.ids)) == (True, 501)
        assert line.calls["subscribe"] == 1
        assert line.calls["read"] <= 8
        await stream.ended()


async def test_a_viewer_that_caught_up_with_a_live_stream_keeps_nothing_of_its_log(memory: MemoryStore) -> None:
    async with working(memory) as one, working(memory) as two:
        model = Model("a", "b")
        stream = await one.start(model)
        await wait_until_async(lambda: stream.acked == 2, description="it is logged")
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: len(r.events) == 2)
        model.say("c")
        await read(viewer, into, until=lambda r: len(r.events) == 3)
        assert not two.runtime.viewer_registry.replays.logs
        model.end()
        assert (await read(viewer, into)).text == "abc"
