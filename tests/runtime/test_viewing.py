"""Viewers: replay by range, hand-over to the feed, remote following, keep-alives, who is cut and how (I2, I3)."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.cursor import Cursor
from streamguard.errors import LogBrokenError, StoreUnavailableError
from streamguard.observations import Signal
from streamguard.runtime import LiveStream, ViewerCutError
from streamguard.runtime.producing.stream_records import new_stream_of
from streamguard.runtime.viewing.feed import EVENT_BYTES, Feed
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import LostLog, Terminal
from streamguard.values import START, EventKind, Outcome, Persisted, QuotaState
from streamguard.wire import protocol_named

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Reading, Worker, next_chunk, quick, read, saying, working

pytestmark = pytest.mark.anyio

BIG = "x" * 30_000


def at(stream: LiveStream, seq: int) -> Cursor:
    return Cursor(stream.ref.stream_id, stream.epoch, seq)


async def numbered(worker: Worker, count: int) -> tuple[Model, LiveStream]:
    """A stream that said its first `count` numbers and goes on."""
    model = Model(*(f"{n};" for n in range(1, count + 1)))
    stream = await worker.start(model)
    await wait_until_async(lambda: stream.acked == count, description="all of it is logged")
    return model, stream


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
        await asyncio.wait_for(dropped.wait(), 5)
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
        assert stream.feed._listeners == (), "reading to the end closes a viewer"
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


# -- the window itself -------------------------------------------------------------------------------------------------


def feed(limit_bytes: int = 1_000) -> Feed:
    return Feed(protocol_named("plain"), "0" * 24, start=START, limit_bytes=limit_bytes)


def test_chunks_are_coalesced_up_to_64_kib() -> None:
    window = feed(1_000_000)
    for data in [b"x" * 40_000, b"y" * 40_000, b"z" * 100_000, b"a", b"b"]:
        window.push(EventKind.DATA, data)
    window.show(5)
    position, sizes = 0, []
    while position < 5:
        before = position
        _, position = window.take(position, ids=True)
        sizes.append(position - before)
    assert sizes == [1, 1, 1, 2]


def test_only_what_was_shown_leaves_the_window() -> None:
    window = feed()
    for _ in range(20):
        window.push(EventKind.DATA, b"x" * 100)
    assert window.base == 0
    window.show(10)
    assert (window.base, window.emitted) == (10, 20)
    window.drop_hidden()
    window.drop_hidden()
    assert (window.emitted, window.held_bytes) == (10, 0)
    window.push(EventKind.DATA, b"y")
    window.show(11)
    window.show(11)
    window.clear()
    assert (window.base, window.emitted, window.data) == (11, 11, [])


def test_one_event_over_the_limit_always_fits() -> None:
    """And what follows it may be as much as ever."""
    window = feed(1_000)
    for size in (100, 50_000, 300, 300):
        seq = window.push(EventKind.DATA, b"x" * size)
    window.show(seq)
    assert window.base <= 1
    for _ in range(40):
        window.push(EventKind.DATA, b"y" * 300)
        window.show(window.emitted)
    assert window.base > 2, "until more follows than a backlog holds"
    assert window.held_bytes <= 2 * 1_000 + 300 + EVENT_BYTES


def test_many_small_events_count_with_what_they_cost() -> None:
    """Bounded in bytes means bounded in what the process holds: an empty event is not free."""
    window = feed(100_000)
    for seq in range(1, 5_001):
        window.push(EventKind.DATA, b"")
        window.show(seq)
    assert len(window.data) <= 2 * 100_000 // EVENT_BYTES


def test_what_was_never_shown_is_forgotten_with_its_kind_and_size() -> None:
    window = feed(100_000)
    for kind, data in ((EventKind.DATA, b"ab"), (EventKind.NOTICE, b"{}"), (EventKind.DATA, b"cde")):
        window.push(kind, data)
    window.show(1)
    assert window.data_bytes == 5
    window.drop_hidden()
    assert (window.emitted, window.data_bytes, window.held_bytes) == (1, 2, 2 + EVENT_BYTES)
    window.push(EventKind.DATA, b"f")  # in the notice's place
    window.show(2)
    assert window.payloads(1, 2) == [(EventKind.DATA, b"ab"), (EventKind.DATA, b"f")]


def test_kinds_leave_the_window_with_their_events() -> None:
    window = feed(10_000)
    for seq in range(1, 501):
        window.push(EventKind.NOTICE if seq % 2 else EventKind.DATA, b"{}" * 20)
        window.show(seq)
    assert window.base > 0
    assert set(window.kinds) == set(range(window.base + window.base % 2 + 1, 501, 2))


@pytest.mark.parametrize("ids", [True, False])
def test_however_it_is_read_the_form_is_the_same(ids: bool) -> None:
    """One by one at the tip, in chunks, by one viewer or several, before and after the log was lost."""
    window = feed(100_000)
    alone, chunks, expected = b"", b"", b""
    position = 0
    for seq in range(1, 41):
        kind = EventKind.NOTICE if seq % 7 == 0 else EventKind.DATA
        window.push(kind, b"{}" if kind is EventKind.NOTICE else b"%d" % seq)
        if seq == 25:
            window.lose_ids()
        window.show(seq)
        newest = window.newest(seq - 1, ids=ids)
        assert newest in (None, window.take(seq - 1, ids=ids)[0])
        assert window.newest(seq - 1, ids=ids) == newest  # for the next viewer
        alone += newest or window.take(seq - 1, ids=ids)[0]
        expected += window.frame(seq, ids=ids)
        if seq % 3 == 0:
            first, again = window.take(position, ids=ids), window.take(position, ids=ids)
            assert first == again
            chunks, position = chunks + first[0], first[1]
    chunks += window.take(position, ids=ids)[0]
    assert alone == chunks == expected
    assert (expected.count(b"id: ") > 0) is ids


async def test_the_first_end_stands() -> None:
    window = feed()
    told: list[str] = []
    window.listen(lambda: told.append("it changed"))
    window.end(complete=True)
    window.end(complete=False)
    assert window.complete
    assert told


async def test_a_listener_may_leave_when_it_is_told() -> None:
    window = feed()
    told: list[str] = []

    def leave() -> None:
        told.append("leaves")
        window.leave(leave)

    def stay() -> None:
        told.append("stays")

    window.listen(leave)
    window.listen(stay)
    window.wake()
    window.wake()
    assert told == ["leaves", "stays", "stays"]


async def test_a_change_is_awaited_and_leaves_nothing_behind() -> None:
    window = feed()
    waiting = [asyncio.create_task(window.change()) for _ in range(2)]
    await wait_until_async(lambda: len(window._listeners) == 2, description="both wait")
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert len(window._listeners) == 1
    window.end(complete=True)
    await asyncio.wait_for(waiting[1], 5)
    assert not window._listeners
