"""A feed tells its own events' epochs: whoever comes to it from the log, or brings it a hint, compares."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard.runtime.request import Ending
from streamguard.runtime.viewing.feed import Feed
from streamguard.runtime.viewing.follower import Follower
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Hint
from streamguard.testing._stream_store.steps import a_terminal, new_stream, put, registered, try_register
from streamguard.values import START, EventKind, Outcome, Position
from streamguard.wire import protocol_named

from ..harness.sse import EventReader
from ..harness.waiting import wait_until_async
from .lines import Line
from .savers import meta_of
from .stage import Model, Reading, read, working

pytestmark = pytest.mark.anyio


async def test_a_new_owners_viewer_joins_no_feed_of_the_lost_log(memory: MemoryStore) -> None:
    """A follower that has not noticed yet has other events under the same numbers."""
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        stream = await one.start(Model("a", "b", "c"))
        await wait_until_async(lambda: stream.acked == 3, description="it is logged")
        following = await two.resume()
        await read(following, seen := Reading(), until=lambda reading: len(reading.events) == 3)
        meta = await meta_of(memory, stream.ref)
        # As if the log had lost event 3, and the next owner had written another.
        joining = two.runtime.resume_view(replace(meta, epoch=meta.epoch + 1), Position(meta.epoch + 1, 3), ids=True)
        assert joining.feed is not following.feed
        for after in (Position(meta.epoch, 3), Position(meta.epoch, 1), START):
            viewer = two.runtime.resume_view(meta, after, ids=True)
            assert viewer.feed is following.feed
            viewer.close()
        ahead = two.runtime.resume_view(meta, Position(meta.epoch, 4), ids=True)
        assert ahead.feed is not following.feed, "whether it goes on from event 4 cannot be told yet"
        for viewer in (joining, ahead, following):
            viewer.close()
        stream.cancel(Ending(Outcome.STOPPED, None))
        await stream.ended()
        assert seen.text == "abc"


async def test_a_hint_of_another_epoch_says_only_that_the_range_is_to_be_read(memory: MemoryStore) -> None:
    """Its number would continue the feed, but the events before it may have been replaced by others."""
    ref = registered(await try_register(memory, new_stream())).ref
    await put(memory, ref, 1, b"a", b"b")
    meta = await meta_of(memory, ref)
    feed = Feed(protocol_named("plain"), ref.stream_id, start=meta.end, limit_bytes=1_000)
    follower = Follower(memory, ref, feed, poll_seconds=5.0, patience_seconds=5.0)
    for hint, continues in (
        (Hint(3, ((EventKind.DATA, b"x"),), False, meta.epoch + 1), False),
        (Hint(3, ((EventKind.DATA, b"c"),), False, meta.epoch), True),
        (Hint(2, ((EventKind.DATA, b"b"), (EventKind.DATA, b"c")), False, meta.epoch), True),
        (Hint(5, ((EventKind.DATA, b"e"),), False, meta.epoch), False),
    ):
        assert follower._extend_by([hint]) is continues
    assert feed.data == [b"c"]


async def test_a_hint_is_shown_as_it_arrives(memory: MemoryStore) -> None:
    """No turn of a task, no read of the log or the record is between a hint and the viewers, and no timer is begun."""
    line = Line(memory)
    ref = registered(await try_register(memory, new_stream())).ref
    await put(memory, ref, 1, b"a", b"b")
    meta = await meta_of(memory, ref)
    feed = Feed(protocol_named("plain"), ref.stream_id, start=meta.end, limit_bytes=1_000)
    follower = Follower(line, ref, feed, poll_seconds=60.0, patience_seconds=5.0)
    following = asyncio.create_task(follower.run())
    await wait_until_async(lambda: follower._waits, description="it waits for hints")
    line.calls.clear()
    for seq in range(3, 400):
        follower._on_hint(Hint(seq, ((EventKind.DATA, b"c"),), False, meta.epoch))
        assert feed.visible == seq
    assert not line.calls
    await put(memory, ref, 3, *[b"c"] * 400)
    follower._on_hint(Hint(401, ((EventKind.DATA, b"gap"),), False, meta.epoch))
    assert feed.visible == 399
    await wait_until_async(lambda: feed.visible == 402, description="it read the log instead")
    follower._on_hint(Hint(403, ((EventKind.TERMINAL, a_terminal().to_json()),), False, meta.epoch))
    assert (feed.complete, feed.visible) == (True, 403)
    await asyncio.wait_for(following, 20)


@pytest.mark.parametrize("ids", [True, False])
def test_a_window_with_two_writers_gives_each_event_its_own_id(ids: bool) -> None:
    window = Feed(protocol_named("plain"), "0" * 24, start=Position(7, 4), limit_bytes=10_000)
    window.listen(lambda *_: None)
    window.begin_epoch(8)  # of an empty window, whose last event another epoch wrote
    window.push(EventKind.DATA, b"five")
    window.begin_epoch(8)
    window.push(EventKind.DATA, b"six")
    window.show(5)
    window.show(6)
    assert window.newest == window.frame(6, ids=True)  # the form that most viewers get
    window.begin_epoch(9)
    window.push(EventKind.NOTICE, b"{}")
    window.push(EventKind.DATA, b"eight")
    window.show(7)
    window.show(8)
    assert window.newest == b""
    expected = [f"1.{'0' * 24}.{epoch}.{seq}" for epoch, seq in ((8, 5), (8, 6), (9, 7), (9, 8))] if ids else [None] * 4
    chunk, last = window.take(4, ids=ids)
    assert ([event.id for event in EventReader().feed(chunk)], last) == (expected, 8)
    assert window.take(7, ids=ids)[0] == window.frame(8, ids=ids)
    assert [window.position(seq).epoch for seq in range(4, 9)] == [7, 8, 8, 9, 9]
    window.clear()
    assert [window.position(seq).epoch for seq in range(4, 9)] == [7, 8, 8, 9, 9], "also of what left the window"


def test_a_frame_at_hand_is_given_to_nobody_from_before_the_window() -> None:
    """Whether it follows the event that such a viewer has, only the log can tell."""
    protocol = protocol_named("plain")
    ids = protocol.ids_by_default
    window = Feed(protocol, "0" * 24, start=START, limit_bytes=10_000)
    window.push(EventKind.DATA, b"one")
    window.push(EventKind.DATA, b"two")
    window.listen(lambda *_: None)
    window.show(1)
    window.show(2)
    assert window.newest == window.frame(2, ids=ids)
    window.clear()
    assert window.continues(Position(9, 1)), "as far as it can tell"
    assert window.newest == b""
