"""A store that lost its newest events: what each client is told, whoever writes or ends the stream afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from streamguard.cursor import Cursor
from streamguard.errors import FaultError, StoreError
from streamguard.messages import MemoryMessageStore
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream, Nothing
from streamguard.runtime.request import Ending
from streamguard.runtime.viewing.feed import Feed
from streamguard.runtime.viewing.follower import Follower
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Hint
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import new_stream, put, registered, try_register
from streamguard.values import START, Event, EventKind, Outcome, Persisted, Position, SessionKey, StreamRef
from streamguard.wire import protocol_named

from ..harness.redis import RedisServer
from ..harness.sse import EventReader
from ..harness.waiting import wait_until_async
from .failover import Failover
from .lines import Line
from .savers import eventually, meta_of, saving_to
from .stage import Model, Reading, Worker, closed, expired, quick, read, working

pytestmark = pytest.mark.anyio

SAID = 45
LOST = (1, 2, 3, 4, 5, 40)
"""How many events a store loses, each of another stream."""

UNHURRIED = {"append_deadline_seconds": 5.0, "command_seconds": 2.0, "registration_seconds": 5.0}
NO_GRACE = {"replay_after_finish_seconds": 0.0}
AHEAD = "410 cursor_ahead"


@pytest.fixture
def failover(own_redis: Callable[..., RedisServer]) -> Iterator[Failover]:
    with Failover.of(own_redis) as made:
        yield made


@pytest.fixture
async def look(failover: Failover) -> AsyncIterator[StreamStore]:
    store = failover.store()
    await store.start()
    yield store
    await store.aclose()


def key_of(lost: int) -> SessionKey:
    return SessionKey("ana", f"lost-{lost}")


async def asked(worker: Worker, key: SessionKey, cursor: Cursor | None) -> str:
    """What a client that comes back is answered, once the worker has found the new primary."""
    answers: list[str] = []

    async def answered() -> bool:
        try:
            found = await worker.runtime.sessions.resume(key, cursor)
        except FaultError as exc:
            answers.append(f"{exc.fault.status} {exc.fault.reason}")
            return exc.fault.status != 503
        answers.append(f"204 {found.reason}" if isinstance(found, Nothing) else "200")
        return True

    await eventually(answered, "the store answers")
    return answers[-1]


async def lose_tail(failover: Failover, look: StreamStore) -> None:
    failover.lose_tail()

    async def answers() -> bool:
        try:
            await look.ping()
        except StoreError:
            return False
        return True

    await eventually(answers, "the new primary answers")


async def log_of(store: StreamStore, ref: StreamRef) -> list[Event]:
    return await store.read(ref, START, max_bytes=1 << 30)


@dataclass
class Story:
    """What a client saw of one stream while it was whole, and how much of that was lost."""

    ref: StreamRef
    lost: int
    seen: list[Event]

    def cursors(self, events: Sequence[Event]) -> list[Cursor]:
        return [Cursor(self.ref.stream_id, event.epoch, event.seq) for event in events]

    @property
    def gone(self) -> list[Cursor]:
        return self.cursors(self.seen[SAID - self.lost :])

    @property
    def kept(self) -> list[Cursor]:
        return self.cursors(self.seen[: SAID - self.lost])


async def seen_of(store: StreamStore, refs: dict[int, StreamRef]) -> list[Story]:
    return [Story(ref, lost, await log_of(store, ref)) for lost, ref in refs.items()]


async def refuse_what_is_gone(worker: Worker, stories: list[Story], *, kept: str = "200") -> None:
    for story in stories:
        for cursor in story.gone:
            assert await asked(worker, story.ref.key, cursor) == AHEAD, (story.lost, cursor)
        for cursor in (story.kept[0], story.kept[-1]):
            assert await asked(worker, story.ref.key, cursor) == kept, (story.lost, cursor)


async def swept(worker: Worker, store: StreamStore, refs: dict[int, StreamRef]) -> None:
    for ref in refs.values():
        await expired(store, ref)
    assert await OrphanSweep(worker.runtime).sweep() == len(refs)


async def written_by_nobody_left(store: StreamStore) -> dict[int, StreamRef]:
    """Streams of a writer that is about to die, as it has logged them up to the freeze."""
    refs = {}
    for lost in LOST:
        ref = refs[lost] = registered(await try_register(store, new_stream(key_of(lost)), lease=0.2)).ref
        await put(store, ref, 1, *(b"%d;" % number for number in range(1, SAID - lost + 1)))
    return refs


async def tell_the_rest(store: StreamStore, refs: dict[int, StreamRef]) -> None:
    for lost, ref in refs.items():
        first = SAID - lost + 1
        await put(store, ref, first, *(b"%d;" % number for number in range(first, SAID + 1)))


@pytest.mark.promise("I9")
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended by a sweep"])
async def test_a_dead_writers_lost_tail(failover: Failover, look: StreamStore, ended: bool) -> None:
    refs = await written_by_nobody_left(look)
    failover.freeze()
    await tell_the_rest(look, refs)
    async with working(failover.store(), quick(**UNHURRIED, **NO_GRACE)) as worker:
        if ended:
            await swept(worker, look, refs)
        stories = await seen_of(look, refs)
        epochs = {lost: {event.epoch for event in story.seen} for lost, story in zip(LOST, stories, strict=True)}
        for _ in range(2):
            await lose_tail(failover, look)
            await refuse_what_is_gone(worker, stories)
            await swept(worker, look, refs)
            await refuse_what_is_gone(worker, stories)
            for story in stories:
                assert await asked(worker, story.ref.key, None) == "200", "half a reply is never nothing to resume"
                meta, log = await meta_of(look, story.ref), await log_of(look, story.ref)
                assert log[: len(story.kept)] == story.seen[: len(story.kept)]
                assert meta.epoch not in epochs[story.lost], "no epoch is issued twice"
                epochs[story.lost].add(meta.epoch)
                reading = await read(await worker.resume(story.ref.key, story.kept[-1]))
                assert (reading.outcome, reading.ids[-1]) == ("interrupted", meta.last_seq)
                assert [code for code, _ in reading.notices] == ["interrupted"]
                # What this owner told is what the next failover loses.
                story.seen += log[len(story.kept) :]


async def test_a_superseded_writers_lost_tail(failover: Failover, look: StreamStore) -> None:
    """It lives, but the stream is another's: it puts nothing back."""
    settings = quick(**UNHURRIED, **NO_GRACE)
    async with working(failover.store(), settings) as one, working(failover.store(), settings) as two:
        models, streams = await telling(one)
        failover.freeze()
        await tell(models, streams)
        refs = {lost: stream.ref for lost, stream in streams.items()}
        for ref in refs.values():
            assert await two.runtime.eviction.take_over(await meta_of(look, ref), stopped=False, force=True)
        for stream in streams.values():
            await stream.ended()
            await closed(look, stream.ref)
        stories = await seen_of(look, refs)
        for _ in range(2):
            await lose_tail(failover, look)
            await refuse_what_is_gone(two, stories)
            await swept(two, look, refs)
            await refuse_what_is_gone(two, stories)
            for story in stories:
                assert await asked(two, story.ref.key, None) == "200"
                story.seen += (await log_of(look, story.ref))[len(story.kept) :]


async def telling(worker: Worker) -> tuple[dict[int, Model], dict[int, LiveStream]]:
    """Streams of a living writer, up to the freeze."""
    models, streams = {}, {}
    for lost in LOST:
        models[lost] = Model(*(f"{number};" for number in range(1, SAID - lost + 1)))
        streams[lost] = await worker.start(models[lost], worker.request(key_of(lost)))
    await wait_until_async(
        lambda: all(stream.acked == SAID - lost for lost, stream in streams.items()), description="all is logged"
    )
    return models, streams


async def tell(models: dict[int, Model], streams: dict[int, LiveStream]) -> None:
    for lost, model in models.items():
        model.say(*(f"{number};" for number in range(SAID - lost + 1, SAID + 1)))
    await wait_until_async(
        lambda: all(stream.acked == SAID for stream in streams.values()), description="the rest is logged"
    )


async def test_a_living_writer_puts_the_identical_events_back(failover: Failover, look: StreamStore) -> None:
    """Though its model is quiet. Each cursor is good again, and the epoch is the same."""
    settings = quick(**UNHURRIED)
    async with working(failover.store(), settings) as one, working(failover.store(), settings) as two:
        models, streams = await telling(one)
        failover.freeze()
        await tell(models, streams)
        stories = await seen_of(look, {lost: stream.ref for lost, stream in streams.items()})
        for _ in range(2):
            await lose_tail(failover, look)
            for story in stories:

                async def is_back(story: Story = story) -> bool:
                    return await log_of(look, story.ref) == story.seen

                await eventually(is_back, "the writer put it back")
                for worker in (one, two):
                    for cursor in story.gone + story.kept[-1:]:
                        assert await asked(worker, story.ref.key, cursor) == "200"
        readings = [asyncio.create_task(read(await two.resume(story.ref.key, story.gone[0]))) for story in stories]
        for model in models.values():
            model.end()
        for story, reading in zip(stories, readings, strict=True):
            first = story.gone[0].seq + 1
            assert (await reading).text == "".join(f"{number};" for number in range(first, SAID + 1))
            assert (await reading).outcome == "completed"
            assert {event.epoch for event in await log_of(look, story.ref)} == {streams[story.lost].epoch}


@pytest.mark.parametrize("writer", ["dead", "alive"])
@pytest.mark.parametrize("known", [True, False], ids=["", "of an endpoint unknown here"])
async def test_a_saved_streams_lost_tail(failover: Failover, look: StreamStore, writer: str, known: bool) -> None:
    """It ended and was saved whole, which its store forgot: that stays true, and what the log lacks is told."""
    messages = MemoryMessageStore()
    settings = quick(**UNHURRIED, **NO_GRACE)
    async with working(failover.store(), settings, bindings=saving_to(messages)) as one:
        models, streams = await telling(one)
        refs = {lost: stream.ref for lost, stream in streams.items()}
        failover.freeze()
        await tell(models, streams)
        for model in models.values():
            model.end()
        for ref in refs.values():
            assert (await closed(look, ref)).persisted is Persisted.YES
        await one.idle()
        stories = await seen_of(look, refs)
        saved = [await messages.list(ref.key, limit=10) for ref in refs.values()]
        if writer == "alive":
            await loses_it(failover, one if known else None, look, stories, refs)
    if writer == "dead" or not known:
        bindings = saving_to(messages) if known else None
        async with working(failover.store(), settings, bindings=bindings) as two:
            await loses_it(failover, two, look, stories, refs)
    assert [await messages.list(ref.key, limit=10) for ref in refs.values()] == saved


async def loses_it(
    failover: Failover, worker: Worker | None, look: StreamStore, stories: list[Story], refs: dict[int, StreamRef]
) -> None:
    if worker is None:
        return
    known = bool(worker.runtime.bindings.stores)
    for _ in range(2):
        await lose_tail(failover, look)
        await refuse_what_is_gone(worker, stories)
        await swept(worker, look, refs)
        await refuse_what_is_gone(worker, stories, kept="409 not_registered" if known else "200")
        for story in stories:
            meta = await meta_of(look, story.ref)
            assert meta.seal is not None
            if known:
                assert (meta.seal.outcome, meta.persisted, meta.lost) == (Outcome.COMPLETED, Persisted.YES, True)
            else:
                assert meta.seal.outcome is Outcome.INTERRUPTED
            assert await asked(worker, story.ref.key, None) == ("204 finished" if known else "200")
            story.seen += (await log_of(look, story.ref))[len(story.kept) :]


@pytest.mark.promise("I3")
@pytest.mark.parametrize("deaf", [False, True], ids=["hints", "ranges"])
async def test_viewers_of_what_was_lost_are_told_and_see_nothing_else(
    failover: Failover, look: StreamStore, deaf: bool
) -> None:
    """Under their numbers the log has other events by then: whoever saw the lost ones never sees those."""
    lost = 5
    ref = registered(await try_register(look, new_stream(key_of(lost)), lease=1.0)).ref
    await put(look, ref, 1, *(b"%d;" % number for number in range(1, SAID - lost + 1)))
    line = Line(look)
    async with (
        working(line, quick(**UNHURRIED, viewer_backlog_bytes=65_536)) as one,
        working(failover.store(), quick(**UNHURRIED)) as two,
    ):
        line.deaf = deaf
        eager, late = await one.resume(ref.key), await one.resume(ref.key)
        failover.freeze()
        await tell_the_rest(look, {lost: ref})
        saw = await read(eager, until=lambda reading: len(reading.events) == SAID)
        hesitant = await read(late, until=lambda reading: len(reading.events) > 0)
        story = Story(ref, lost, await log_of(look, ref))
        await lose_tail(failover, look)
        await swept(two, look, {lost: ref})
        log = await log_of(look, ref)
        saw, hesitant = await read(eager, saw), await read(late, hesitant)
        for reading in (saw, hesitant):
            assert not reading.over
            assert reading.notices == [("resume_failed", "cursor_ahead")]
            assert [event.id for event in reading.events if event.id] == [str(cursor) for cursor in ids(story, reading)]
        # Who comes now, with what is held or without, gets the log as it is, though others here followed the old one.
        for cursor in (None, story.kept[2]):
            fresh = await read(await one.resume(ref.key, cursor))
            assert (fresh.outcome, fresh.over) == ("interrupted", True)
            told = [event for event in log if cursor is None or event.seq > cursor.seq]
            assert [event.id for event in fresh.events if event.id][-1] == str(story.cursors(told)[-1])
            assert fresh.ids == [event.seq for event in told]


def ids(story: Story, reading: Reading) -> list[Cursor]:
    return story.cursors(story.seen)[: len(reading.ids)]


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


@pytest.mark.parametrize("ids", [True, False])
def test_a_window_with_two_writers_gives_each_event_its_own_id(ids: bool) -> None:
    window = Feed(protocol_named("plain"), "0" * 24, start=Position(7, 4), limit_bytes=10_000)
    window.begin_epoch(8)  # of an empty window, whose last event another epoch wrote
    window.push(EventKind.DATA, b"five")
    window.begin_epoch(8)
    window.push(EventKind.DATA, b"six")
    window.show(6)
    assert (window.newest(5, ids=ids) is not None) is ids  # the form that most viewers get
    window.begin_epoch(9)
    window.push(EventKind.NOTICE, b"{}")
    window.push(EventKind.DATA, b"eight")
    window.show(8)
    expected = [f"1.{'0' * 24}.{epoch}.{seq}" for epoch, seq in ((8, 5), (8, 6), (9, 7), (9, 8))] if ids else [None] * 4
    chunk, last = window.take(4, ids=ids)
    assert ([event.id for event in EventReader().feed(chunk)], last) == (expected, 8)
    assert (window.newest(7, ids=ids) or window.take(7, ids=ids)[0]) == window.frame(8, ids=ids)
    assert [window.position(seq).epoch for seq in range(4, 9)] == [7, 8, 8, 9, 9]
    window.clear()
    assert [window.position(seq).epoch for seq in range(4, 9)] == [7, 8, 8, 9, 9], "also of what left the window"
