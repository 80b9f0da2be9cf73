"""A store that lost its newest events: what each client is told, whoever writes or ends the stream afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from streamguard.cursor import Cursor
from streamguard.errors import FaultError, StoreError
from streamguard.messages import MemoryMessageStore
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream, Nothing
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import new_stream, put, registered, try_register
from streamguard.values import START, Event, Outcome, Persisted, SessionKey, StreamRef

from ..harness.redis import RedisServer
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
