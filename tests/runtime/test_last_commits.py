"""A stream's last events go with its end in one step, or the writer commits them: the log is the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.observations import Observation, Signal
from streamguard.runtime import Runtime
from streamguard.runtime.producing.backlog import COMMIT_BYTES
from streamguard.runtime.producing.phases import LogState
from streamguard.runtime.producing.stream import LiveStream
from streamguard.stores.appends import Append, AppendReply, AppendRequest
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Close, Seal, Status
from streamguard.values import EventKind, SessionKey, StreamRef

from ..harness.waiting import wait_until_async
from .lines import Line
from .stage import KEY, Model, Worker, closed, log_of, payloads, quick, saying, terminals

pytestmark = pytest.mark.anyio


class Told:
    """Asks for what is measured of a log."""

    signals = frozenset({Signal.LOG_WRITTEN, Signal.STREAM_ENDED})

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        self.seen.append(observation)

    def events(self, signal: Signal) -> int:
        return sum(int(str(one.fields["events"])) for one in self.seen if one.name is signal)


class EndLine(Line):
    """Passes ends in one step on as such, and notes what is to be appended in them."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.ends: list[list[bytes] | None] = []
        self.within_seconds: list[float] = []
        """How long the store may take for what is to be appended in them."""

    async def seal_and_close(
        self, close: Close, seal: Seal, last: AppendRequest | None = None
    ) -> tuple[Status, Seal | None, AppendReply | None]:
        self.ends.append(None if last is None else [payload for _, payload in last.events])
        if last is not None:
            self.within_seconds.append(last.within_seconds)
        return await self._pass("seal_and_close", lambda: self.inner.seal_and_close(close, seal, last))


@pytest.fixture
def line(memory: MemoryStore) -> EndLine:
    return EndLine(memory)


class Scene:
    """One stream that has one event in its log."""

    def __init__(self, worker: Worker, told: Told, model: Model, stream: LiveStream) -> None:
        self.worker, self.told, self.model, self.stream = worker, told, model, stream
        self.counted_once = True

    async def logged(self, *expected: str) -> None:
        """The stream ends, its viewers have these events with ids, and so has its log, each once."""
        reading = await self.worker.watch(self.stream)
        assert (reading.text, reading.outcome) == ("".join(expected), "completed")
        assert reading.ids == list(range(1, len(expected) + 2))
        await self.worker.runtime.idle()
        store = self.worker.runtime.store
        assert isinstance(store, Line)
        log = await log_of(store.inner, self.stream.ref)
        assert payloads(log) == [one.encode() for one in expected]
        assert len(terminals(log)) == 1
        assert (await closed(store.inner, self.stream.ref)).lost is False
        assert self.stream.log.state is LogState.CLOSED


@asynccontextmanager
async def scene(line: EndLine, **settings: object) -> AsyncIterator[Scene]:
    told = Told()
    async with Runtime(line, quick(**settings), [told]) as runtime:
        worker, model = Worker(runtime, told.seen), Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        on = Scene(worker, told, model, stream)
        yield on
    if on.counted_once and line.ends and stream.log.state is LogState.CLOSED:
        held = len(await log_of(line.inner, stream.ref))
        assert told.events(Signal.LOG_WRITTEN) == told.events(Signal.STREAM_ENDED) == held


@pytest.mark.parametrize("said", [[], ["b"], ["b", "c", "d"]], ids=["nothing", "one", "several"])
async def test_what_waits_goes_with_the_end(line: EndLine, said: list[str]) -> None:
    async with scene(line) as on:
        appends = line.calls["append"]
        on.model.say(*said)
        on.model.end()
        await on.logged("a", *said)
        assert line.ends == [[one.encode() for one in said] or None]
        assert line.calls["append"] == appends


async def test_so_does_the_first_event(line: EndLine) -> None:
    """The writer is busy with another stream."""
    async with Runtime(line, quick(append_deadline_seconds=20.0)) as runtime:
        worker, model = Worker(runtime, []), Model("a")
        line.hold("append")
        await worker.start(model, worker.request(SessionKey("bob", "chat-2")))
        await wait_until_async(lambda: line.waiting["append"], description="an append is under way")
        stream = await worker.start(saying("only"))
        reading = await worker.watch(stream)
        assert (reading.text, reading.ids, reading.outcome) == ("only", [1, 2], "completed")
        assert line.ends == [[b"only"]]
        line.let_go("append")
        model.end()


@pytest.mark.promise("I2")
async def test_a_first_event_that_waited_has_no_more_time_with_the_end(line: EndLine) -> None:
    """The store is silent. What is shown without an id when the time of a first event is up would be logged later."""
    settings = quick(registration_seconds=10.0, append_deadline_seconds=60.0)
    async with Runtime(line, settings) as runtime:
        worker, other, model, clock = Worker(runtime, []), Model("a"), Model("only"), runtime.clock.time
        line.hold("append")
        await worker.start(other, worker.request(SessionKey("bob", "chat-2")))
        await wait_until_async(lambda: line.waiting["append"], description="an append is under way")
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.backlog.first_commit is not None, description="its first event waits")
        first = stream.backlog.first_commit
        assert first is not None
        due = first.at
        await wait_until_async(lambda: due - clock() < 9.8, description="it has waited for a while")
        line.hold("seal_and_close")
        model.end()
        await wait_until_async(lambda: line.waiting["seal_and_close"], description="its end is under way")
        assert line.ends == [[b"only"]]
        assert line.within_seconds[0] < 9.8
        line.let_go("seal_and_close")
        line.let_go("append")
        assert (await worker.watch(stream)).ids == [1, 2]
        other.end()


async def test_not_while_an_append_is_under_way(line: EndLine) -> None:
    async with scene(line) as on:
        line.hold("append")
        on.model.say("b")
        await wait_until_async(lambda: line.waiting["append"], description="an append is under way")
        on.model.say("c")
        on.model.end()
        await wait_until_async(lambda: on.stream.finalising, description="it ends")
        line.let_go("append")
        await on.logged("a", "b", "c")
        assert line.ends
        assert set(map(str, line.ends)) == {"None"}


@pytest.mark.promise("I1")
async def test_not_while_an_append_is_under_way_of_events_that_were_put_back(line: EndLine) -> None:
    """Its answer would be taken for that of the end."""
    async with scene(line) as on:
        line.hold("append")
        on.model.say("b")
        await wait_until_async(lambda: line.waiting["append"], description="an append is under way")
        on.stream.backlog.put_back(1)
        on.counted_once = False  # the append that is under way, and the one of what was put back
        on.model.say("c")
        on.model.end()
        await wait_until_async(lambda: on.stream.finalising, description="it ends")
        line.let_go("append")
        await on.logged("a", "b", "c")
        assert not any(line.ends)


async def test_not_after_an_append_that_failed(line: EndLine) -> None:
    async with scene(line, append_deadline_seconds=20.0) as on:
        line.broken = {"append"}
        on.model.say("b")
        await wait_until_async(lambda: on.stream.backlog.failing_since is not None, description="an append failed")
        on.model.end()
        await wait_until_async(lambda: on.stream.finalising, description="it ends")
        line.broken = set()
        await on.logged("a", "b")
        assert [b"b"] not in line.ends


def due(stream: LiveStream) -> None:
    stream.backlog.refresh_at = 0.0


def too_much(stream: LiveStream) -> None:
    stream.emit(EventKind.DATA, b"x" * COMMIT_BYTES)


@pytest.mark.parametrize("why", [due, too_much])
async def test_not_where_a_commit_does_more(line: EndLine, why: Callable[[LiveStream], None]) -> None:
    async with scene(line) as on:
        on.model.say("b")
        why(on.stream)
        on.model.end()
        assert (await on.worker.watch(on.stream)).outcome == "completed"
        assert line.ends == [None]


@pytest.mark.promise("I4")
@pytest.mark.parametrize("lost", ["reply", "request"])
async def test_an_end_that_was_not_answered_is_found_out(line: EndLine, lost: str) -> None:
    """Carried out or not: each event once, one terminal."""
    async with scene(line) as on:
        if lost == "reply":
            line.lost["seal_and_close"] = 1
        else:
            line.errors["seal_and_close"] = [StoreUnavailableError("lost", operation="close")]
        on.model.say("b", "c")
        on.model.end()
        await on.logged("a", "b", "c")
        assert line.ends == [[b"b", b"c"]]


async def test_an_end_that_no_store_takes_is_shown_without_ids(line: EndLine, memory: MemoryStore) -> None:
    async with scene(line, append_deadline_seconds=0.3) as on:
        line.down = True
        on.model.say("b")
        on.model.end()
        reading = await on.worker.watch(on.stream)
        assert (reading.text, reading.ids, reading.outcome) == ("ab", [1], "completed")
        line.down = False
        assert (await closed(memory, on.stream.ref)).lost
        assert payloads(await log_of(memory, on.stream.ref)) == [b"a"]


async def test_a_stop_that_came_meanwhile_changes_nothing(line: EndLine, memory: MemoryStore) -> None:
    line.deaf = True
    async with scene(line) as on:
        await memory.request_stop(on.stream.ref)
        on.model.say("b")
        on.model.end()
        await on.logged("a", "b")
        assert line.ends == [[b"b"]]


@pytest.mark.promise("I5")
async def test_whoever_took_the_stream_meanwhile_ends_it(line: EndLine, memory: MemoryStore) -> None:
    line.deaf = True
    async with scene(line) as on:
        await memory.take_over(on.stream.ref, lease_seconds=30, force=True)
        on.model.say("b")
        on.model.end()
        await on.stream.ended()
        assert on.stream.superseded
        assert line.ends[0] == [b"b"]
        assert payloads(await log_of(memory, on.stream.ref)) == [b"a"]


async def test_a_record_that_is_gone_ends_without_its_log(line: EndLine, memory: MemoryStore) -> None:
    line.deaf = True
    async with scene(line) as on:
        await memory.erase(KEY, mark_seconds=30)
        on.model.say("b")
        on.model.end()
        reading = await on.worker.watch(on.stream)
        assert (reading.text, reading.ids, reading.outcome) == ("ab", [1], "completed")
        assert await memory.meta(on.stream.ref) is None


@pytest.mark.promise("I1")
async def test_events_that_are_in_the_log_already_are_not_added_again(line: EndLine, memory: MemoryStore) -> None:
    """An append that was given up arrived after all."""

    async def arrive() -> None:
        await memory.append([given_up(on.stream.ref, on.stream.epoch)])

    async with scene(line) as on:
        line.before["seal_and_close"] = arrive
        on.model.say("b", "c")
        on.model.end()
        await on.logged("a", "b", "c")
        assert line.ends[0] == [b"b", b"c"]


def given_up(ref: StreamRef, epoch: int) -> Append:
    return Append(ref, epoch, 2, [(EventKind.DATA, b"b")], refresh=False)


async def test_a_log_that_is_lost_meanwhile_is_not_waited_for(line: EndLine) -> None:
    async with scene(line) as on:
        line.hold("seal_and_close")
        on.model.say("b")
        on.model.end()
        await wait_until_async(lambda: line.waiting["seal_and_close"], description="the end is under way")
        on.stream.degrade("test")
        reading = await on.worker.watch(on.stream)
        assert (reading.text, reading.ids, reading.outcome) == ("ab", [1], "completed")
        line.let_go("seal_and_close")
