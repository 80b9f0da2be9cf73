"""A busy writer waits a moment for more events, and not for longer than it may."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import pytest

from streamguard.runtime.producing import gathering
from streamguard.runtime.producing.backlog import BACKLOG_BYTES, COMMIT_BYTES
from streamguard.runtime.producing.stream import LiveStream
from streamguard.stores.appends import AppendReply, AppendRequest
from streamguard.stores.memory import MemoryStore
from streamguard.values import SessionKey

from ..harness.waiting import wait_until_async
from .stage import Model, Worker, saying, working

pytestmark = pytest.mark.anyio

FOR_GOOD = 3600.0
BURST = gathering.BUSY_EVENTS + 1


class Commits(MemoryStore):
    """Keeps the number of events of each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[int] = []

    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        self.events.append(sum(len(append.events) for append in batch))
        return await super().append(batch)


@pytest.fixture(autouse=True)
def pausing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause that nothing ended would never end."""
    monkeypatch.setattr(gathering, "PAUSE_SECONDS", FOR_GOOD)
    monkeypatch.setattr(gathering, "BURST_PAUSE_SECONDS", FOR_GOOD)


async def begin_a_pause(worker: Worker) -> Model:
    """A stream whose last commit was one of many events."""
    model = Model("first")
    stream = await worker.start(model)
    await wait_until_async(lambda: stream.acked == 1, description="its first event is in the log")
    model.say(*["word"] * BURST)
    await wait_until_async(lambda: stream.acked == 1 + BURST, description="a burst is in the log")
    return model


async def say_one_by_one(model: Model, stream: LiveStream, *, up_to: int) -> None:
    """A word each time that the last one is in the log, from the second event on."""
    for said in range(2, up_to + 1):
        model.say("word")
        await wait_until_async(partial(_is, stream, "acked", said), description="it is in the log")


async def say_one_more(model: Model, stream: LiveStream, store: Commits, *, gathers: bool) -> None:
    """A word that waits for others, or that is in the log at once."""
    last, commits = stream.feed.emitted + 1, len(store.events)
    model.say("word")
    if gathers:
        await wait_until_async(partial(_is, stream.feed, "emitted", last), description="it waits")
        assert len(store.events) == commits, "it gathers"
    else:
        await wait_until_async(partial(_is, stream, "acked", last), description="it is in the log")


def _is(owner: object, name: str, value: int) -> bool:
    return bool(getattr(owner, name) == value)


async def test_a_lone_burst_gathers_and_its_end_waits_for_nothing() -> None:
    store = Commits()
    async with working(store) as worker:
        with anyio.fail_after(10):
            model = await begin_a_pause(worker)
            (stream,) = worker.runtime.streams.values()
            for _ in range(4):
                await say_one_more(model, stream, store, gathers=True)
            model.end()
            await stream.ended()
    assert store.events[:2] == [1, BURST]


@pytest.mark.parametrize("since_last", [FOR_GOOD, 0.0], ids=["right after another commit", "later"])
async def test_a_burst_of_two_events_a_commit_gathers(since_last: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that answers at once leaves a lone burst no time for more."""
    monkeypatch.setattr(gathering, "NEXT_SECONDS", since_last)
    store = Commits()
    async with working(store) as worker:
        with anyio.fail_after(10):
            model = Model("first")
            stream = await worker.start(model)
            await wait_until_async(lambda: stream.acked == 1, description="its first event is in the log")
            model.say("word", "word")
            await wait_until_async(lambda: stream.acked == 3, description="two are in the log")
            await say_one_more(model, stream, store, gathers=since_last > 0)
            model.end()
            await stream.ended()
    assert store.events[:2] == [1, 2]


async def test_words_at_reading_speed_wait_for_nothing() -> None:
    store = Commits()
    async with working(store) as worker:
        with anyio.fail_after(10):
            model = Model("first")
            stream = await worker.start(model)
            await say_one_by_one(model, stream, up_to=5)
            model.end()
            await stream.ended()


@pytest.mark.parametrize("within", [FOR_GOOD, 0.0], ids=["in a short time", "over a long time"])
async def test_many_small_commits_gather_if_they_come_fast(within: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred streams whose events never fall together cost a round trip for each otherwise."""
    monkeypatch.setattr(gathering, "STEADY_SECONDS", within)
    store = Commits()
    async with working(store) as worker:
        with anyio.fail_after(10):
            model = Model("first")
            stream = await worker.start(model)
            await say_one_by_one(model, stream, up_to=gathering.STEADY_EVENTS + 1)
            await say_one_more(model, stream, store, gathers=within > 0)
            model.end()
            await stream.ended()


async def test_another_streams_first_event_ends_a_pause() -> None:
    store = Commits()
    async with working(store) as worker:
        with anyio.fail_after(10):
            model = await begin_a_pause(worker)
            other = await worker.start(saying("hello"), worker.request(SessionKey("ana", "chat-2")))
            await other.ended()
            model.end()


async def test_a_producer_far_ahead_of_the_log_ends_a_pause() -> None:
    store = Commits()
    async with working(store) as worker:
        with anyio.fail_after(10):
            model = await begin_a_pause(worker)
            size = BACKLOG_BYTES // 8
            model.say(*["x" * size] * 20)
            (stream,) = worker.runtime.streams.values()
            await wait_until_async(lambda: stream.acked > 12, description="the log takes what there was no room for")
            model.end()
            await stream.ended()


async def test_an_end_of_several_commits_ends_every_pause() -> None:
    async with working(Commits()) as worker:
        with anyio.fail_after(10):
            model = await begin_a_pause(worker)
            model.say(*["x" * (COMMIT_BYTES // (2 * BURST))] * (7 * BURST))
            model.end()
            (stream,) = worker.runtime.streams.values()
            await stream.ended()


async def test_a_producer_far_ahead_of_the_log_ends_every_pause() -> None:
    async with working(Commits()) as worker:
        with anyio.fail_after(10):
            model = await begin_a_pause(worker)
            event = "x" * (COMMIT_BYTES // (2 * BURST))
            model.say(*[event] * (3 * BACKLOG_BYTES // len(event)))
            (stream,) = worker.runtime.streams.values()
            await wait_until_async(lambda: stream.acked > 100, description="it went on")
            model.end()
            await stream.ended()
