"""Viewers on a worker that does not write the stream: one follower for all, hints, outages, lost logs (I2, I3)."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import LogBrokenError
from streamguard.runtime.producing.stream_records import new_stream_of
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import LostLog, Terminal
from streamguard.values import Outcome, Persisted, QuotaState

from ..harness.waiting import wait_until_async
from .lines import Line
from .numbered import at, numbered
from .stage import KEY, Reading, read, working

pytestmark = pytest.mark.anyio


async def test_many_viewers_share_one_follower(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 3)
        viewers = [await two.resume(cursor=at(stream, n % 4)) for n in range(50)]
        readings = [asyncio.create_task(read(viewer)) for viewer in viewers]
        await wait_until_async(lambda: line.calls["subscribe"] == 1, description="it is followed")
        model.say("4;")
        model.end()
        for n, reading in enumerate(await asyncio.gather(*readings)):
            assert reading.ids == list(range(n % 4 + 1, 6))
        assert line.calls["subscribe"] == 1
    assert two.runtime.health().viewers == 0


async def test_leaving_viewer_makes_way_for_the_next(memory: MemoryStore) -> None:
    """The last viewer leaves, and in the same moment another comes: it is followed for, not cut."""
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 3)
        first = await two.resume()
        await read(first, until=lambda r: len(r.events) == 3)
        await wait_until_async(lambda: line.calls["subscribe"] == 1, description="it is followed")
        first.close()
        second = await two.resume(cursor=at(stream, 3))
        model.say("4;")
        model.end()
        reading = await read(second)
    assert reading.over
    assert reading.ids == [4, 5]


async def test_viewer_gone_before_its_follower_began(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 3)
        (await two.resume()).close()
        stayed = await two.resume()
        model.end()
        assert (await read(stayed)).ids == [1, 2, 3, 4]
        assert line.calls["subscribe"] == 1
        await stream.ended()


async def test_hints_are_only_a_shortcut(memory: MemoryStore) -> None:
    """A follower that hears nothing reads the range at its next look."""
    line = Line(memory)
    line.deaf = True
    async with working(memory) as one, working(line) as two:
        model, _ = await numbered(one, 3)
        reading = asyncio.create_task(read(await two.resume()))
        model.say("4;")
        model.end()
        assert (await reading).ids == [1, 2, 3, 4, 5]


async def test_hints_with_a_jump_send_the_follower_to_the_range(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 1)
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: r.ids == [1])
        line.deaf = True
        model.say("2;")
        await wait_until_async(lambda: stream.acked == 2, description="an unheard append")
        line.deaf = False
        model.say("3;")
        model.end()
        assert (await read(viewer, into)).ids == [1, 2, 3, 4]


async def test_a_follower_far_behind_its_hints_reads_the_range(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 1)
        line.hold("read")
        viewer = await two.resume(cursor=at(stream, 1))
        await wait_until_async(lambda: line.waiting["read"], description="it reads the range")
        for n in range(2, 300):
            model.say(f"{n};")
            await wait_until_async(lambda n=n: stream.acked == n, description="one append at a time")  # type: ignore[misc]
        model.end()
        await stream.ended()
        line.let_go("read")
        assert (await read(viewer)).ids == list(range(2, 301))


async def test_a_short_outage_does_not_cut_remote_viewers(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, _ = await numbered(one, 3)
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: len(r.events) == 3)
        line.broken = {"read", "meta"}
        line.deaf = True
        model.say("4;")
        await wait_until_async(lambda: line.calls["read"] > 3, description="the range could not be read")
        line.broken = set()
        model.end()
        assert (await read(viewer, into)).ids == [1, 2, 3, 4, 5]


async def test_a_long_outage_cuts_remote_viewers_and_says_why(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, _ = await numbered(one, 3)
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: len(r.events) == 3)
        line.down = True
        reading = await read(viewer, into)
        assert (reading.cut, reading.notices) == ("store_unavailable", [("store_unavailable", "None")])
        model.end()


async def test_a_log_that_vanishes_under_its_viewers_cuts_them(memory: MemoryStore) -> None:
    async with working(memory) as one, working(memory) as two:
        model, stream = await numbered(one, 3)
        live = await two.resume()
        await read(live, into := Reading(), until=lambda r: len(r.events) == 3)
        late = await two.resume()
        await memory.erase(KEY, mark_seconds=60)
        assert (await read(live, into)).notices == [("resume_failed", "stream_gone")]
        assert (await read(late)).notices == [("resume_failed", "stream_gone")]
        model.end()
        await stream.ended()


async def test_remote_viewers_of_a_lost_log_are_cut(memory: MemoryStore) -> None:
    """Its tombstone is a terminal record, but half an answer must not look whole."""
    line = Line(memory)
    async with working(line, clean=False) as one, working(memory) as two:
        model, stream = await numbered(one, 3)
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: len(r.events) == 3)
        line.broken = {"append", "heartbeat"}
        line.hold("declare_lost")
        model.say("4;")
        await wait_until_async(lambda: stream.degraded, description="its log is lost")
        line.broken = set()
        line.let_go("declare_lost")
        model.end()
        reading = await read(viewer, into)
        assert not reading.over
        assert reading.notices == [("resume_failed", "not_registered")]
        assert reading.outcome is None
        await stream.ended()


@pytest.mark.parametrize("ends", [False, True])
async def test_a_lost_log_reaches_remote_viewers_by_hint_or_range(memory: MemoryStore, ends: bool) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 3)
        following = await two.resume(cursor=at(stream, 3))
        replaying = await two.resume()
        await wait_until_async(lambda: line.calls["read"], description="it is followed")
        terminal = Terminal(Outcome.FAILED, Persisted.NO, QuotaState.NONE, "m", None, "log_lost") if ends else None
        await memory.declare_lost(LostLog(new_stream_of(stream), stream.epoch, 5.0, 60.0, terminal))
        assert (await read(following)).notices == [("resume_failed", "not_registered")]
        reading = await read(replaying)
        assert not reading.over
        assert (reading.ids, reading.notices) == ([1, 2, 3], [("resume_failed", "not_registered")])
        model.end()
        await stream.ended()


async def test_a_store_restored_from_older_times_cuts_remote_viewers(memory: MemoryStore) -> None:
    older = Line(memory)
    async with working(memory) as one, working(older) as two:
        model, stream = await numbered(one, 3)
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: len(r.events) == 3)
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        del entry.events[1:]
        assert (await read(viewer, into)).notices == [("resume_failed", "cursor_ahead")]
        model.end()
        await stream.ended()


async def test_events_lost_under_a_follower_cut_its_viewers(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model, stream = await numbered(one, 1)
        viewer = await two.resume()
        await read(viewer, into := Reading(), until=lambda r: len(r.events) == 1)
        line.deaf = True
        model.say("2;", "3;")
        await wait_until_async(lambda: stream.acked == 3, description="unheard appends")
        broken = LogBrokenError(stream.ref.stream_id, epoch=stream.epoch, seq=1)
        line.errors["read"] = [broken]
        assert (await read(viewer, into)).notices == [("resume_failed", "cursor_ahead")]
        assert into.ids == [1]
        late = await two.resume(cursor=at(stream, 0))
        line.errors["read"] = [broken, broken]
        assert (await read(late)).notices == [("resume_failed", "cursor_ahead")]
        model.end()
        await stream.ended()
