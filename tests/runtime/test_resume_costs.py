"""What a client that comes back costs: how often the store is asked, which tasks it takes, and what is kept for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from streamguard.cursor import Cursor
from streamguard.runtime import Nothing
from streamguard.runtime.viewing.replays import SHARED_BYTES
from streamguard.stores.memory import MemoryStore
from streamguard.values import SessionKey

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .numbered import at, numbered
from .stage import KEY, Worker, closed, next_chunk, quick, read, saying, working

pytestmark = pytest.mark.anyio

UNRELATED = (
    "listen",
    "note_viewed",
    "report_viewers",
    "report_worker",
    "partition",
    "expired_leases",
    "ping",
    "heartbeat",
)
"""What a worker asks of its own accord."""


@pytest.fixture
async def line(stores: Stores) -> AsyncIterator[Line]:
    store = stores()
    await store.start()
    yield Line(store)
    await store.aclose()


def asked(line: Line) -> Counter[str]:
    """What the store was asked since the last call."""
    calls = Counter({name: count for name, count in line.calls.items() if name not in UNRELATED})
    line.calls.clear()
    return calls


async def ended(line: Line) -> Cursor:
    """A stream of two events and its end, on a worker that is gone. Returns the cursor of its first event."""
    async with working(line.inner) as worker:
        stream = await worker.start(saying("a", "b"))
        await stream.ended()
        await closed(line.inner, stream.ref)
        return at(stream, 1)


async def test_a_replay_asks_twice(line: Line) -> None:
    cursor = await ended(line)
    async with working(line) as worker:
        asked(line)
        assert (await read(await worker.resume())).ids == [1, 2, 3]
        assert asked(line) == {"session": 1, "read": 1}
        assert (await read(await worker.resume(cursor=cursor))).ids == [2, 3]
        assert asked(line) == {"check_position": 1, "read": 1}
        done = await worker.runtime.sessions.resume(KEY, Cursor(cursor.stream_id, cursor.epoch, 3))
        assert isinstance(done, Nothing)
        assert asked(line) == {"check_position": 1}


async def test_a_live_stream_of_this_worker_is_not_read_again(line: Line) -> None:
    async with working(line) as worker:
        model, stream = await numbered(worker, 3)
        asked(line)
        viewers = [await worker.resume(), await worker.resume(cursor=at(stream, 2))]
        for viewer, count in zip(viewers, (3, 1), strict=True):
            await read(viewer, until=lambda r, count=count: len(r.ids) == count)  # type: ignore[misc]
            viewer.close()
        assert asked(line) == {"session": 1, "check_position": 1}
        model.end()
        await stream.ended()


async def test_a_live_stream_of_another_worker_is_asked_for_once_for_all(line: Line) -> None:
    """Each resume reads the session's record; the subscription and the log are everybody's."""
    async with working(line.inner) as one, working(line) as two:
        model, stream = await numbered(one, 3)
        asked(line)
        viewers = await asyncio.gather(*(two.resume() for _ in range(40)))
        readings = [asyncio.create_task(read(viewer)) for viewer in viewers]
        await wait_until_async(lambda: line.calls["meta"] > 0, description="the follower has caught up")
        calls = asked(line)
        assert (calls["session"], calls["subscribe"], calls["meta"]) == (40, 1, 1)
        assert calls.total() <= 40 + 1 + 1 + 8  # the log: the follower's read, and the viewers', who share theirs
        model.end()
        assert all(reading.over for reading in await asyncio.gather(*readings))
        await stream.ended()


async def test_a_followed_stream_is_one_task_however_many_view_it(memory: MemoryStore) -> None:
    async with working(memory) as one, working(memory) as two:
        model, stream = await numbered(one, 3)
        before = len(asyncio.all_tasks())
        viewers = [await two.resume() for _ in range(40)]
        await wait_until_async(lambda: len(asyncio.all_tasks()) == before + 1, description="it is followed")
        for viewer in viewers:
            viewer.close()
        await wait_until_async(lambda: len(asyncio.all_tasks()) == before, description="nobody follows it")
        model.end()
        await stream.ended()


@pytest.mark.long
async def test_a_storm_of_slow_replays_keeps_bounded_memory(memory: MemoryStore) -> None:
    """Each of them has read one chunk and reads no more for now."""
    text = "x" * 10_000
    keys = [SessionKey(f"owner-{n}", "chat") for n in range(100)]
    async with working(memory, quick()) as worker:
        for key in keys:
            stream = await worker.start(saying(*[text] * 60), worker.request(key))
            await stream.ended()
        await worker.idle()
    async with working(memory) as worker:
        await _slow(worker, keys)


async def _slow(worker: Worker, keys: list[SessionKey]) -> None:
    replays = worker.runtime.viewer_registry.replays
    viewers = [await worker.resume(key) for key in keys for _ in range(5)]
    for _ in range(6):
        for viewer in viewers:
            assert len(await next_chunk(viewer)) < 100_000
            assert replays.held_bytes <= SHARED_BYTES
    assert replays.held_bytes > SHARED_BYTES / 2
    for viewer in viewers:
        viewer.close()
    assert replays.held_bytes == 0
