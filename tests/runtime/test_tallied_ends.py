"""What is measured of a log is what the log holds, its end included, whatever happens to the replies of its store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import pytest

from streamguard.observations import Observation, Signal
from streamguard.runtime import Runtime
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, StreamRef

from ..harness.waiting import wait_until_async
from .lines import Line
from .savers import Messages, saving_to
from .stage import Model, Worker, closed, log_of, quick, working

pytestmark = pytest.mark.anyio

WRITING_SECONDS: Final = 0.2


class Told:
    """Asks for measurements of the log, and for ends."""

    signals: Final = frozenset({Signal.LOG_WRITTEN, Signal.STREAM_ENDED})

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        self.seen.append(observation)

    def sizes(self, signal: Signal) -> tuple[int, int]:
        """The events and bytes of all observations of this signal."""
        fields = [one.fields for one in self.seen if one.name is signal]
        return sum(int(str(one["events"])) for one in fields), sum(int(str(one["bytes"])) for one in fields)


@asynccontextmanager
async def measured(
    store: StreamStore, told: Told, *, saving: bool = False, **settings: object
) -> AsyncIterator[Worker]:
    """A worker that tells `told` what it writes."""
    bindings = saving_to(Messages()) if saving else None
    async with Runtime(store, quick(**settings), [told], bindings=bindings) as runtime:
        yield Worker(runtime, told.seen)


async def size_of(store: StreamStore, ref: StreamRef) -> tuple[int, int]:
    """How many events a log holds, and the size of their payloads."""
    log = await log_of(store, ref)
    return len(log), sum(len(data) for _, _, data in log)


@contextmanager
def replies_lost(line: Line, *operations: str) -> Iterator[None]:
    for operation in operations:
        line.lost[operation] = 1
    yield
    assert not any(line.lost.values())


@pytest.mark.parametrize("saving", [False, True], ids=["one_step", "saved"])
@pytest.mark.parametrize(
    "operations", [(), ("seal",), ("close",), ("seal", "close"), ("append",), ("append", "seal", "close")]
)
async def test_replies_of_the_end_are_lost(memory: MemoryStore, operations: tuple[str, ...], saving: bool) -> None:
    """The first is whole; in the others each step is carried out, told again, and counted once."""
    line, told = Line(memory), Told()
    async with measured(line, told, saving=saving) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        with replies_lost(line, *operations):
            model.say("bc", "d")
            model.end()
            assert (await worker.watch(stream)).outcome == "completed"
            await worker.runtime.idle()
    held = await size_of(memory, stream.ref)
    assert told.sizes(Signal.STREAM_ENDED) == held
    assert told.sizes(Signal.LOG_WRITTEN) == held


@pytest.mark.parametrize("fate", ["fails", "is_answered"])
async def test_the_end_overtakes_the_answer_of_the_last_append(memory: MemoryStore, fate: str) -> None:
    """The close proves that the append is in the log; what becomes of its answer adds nothing."""
    line, told = Line(memory), Told()
    async with measured(line, told) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        line.hold("append", after=True)
        model.say("bc")
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"
        line.lost["append"] = int(fate == "fails")
        assert line.waiting["append"] == 1
        line.let_go("append")
        await wait_until_async(lambda: not line.waiting["append"], description="the append is answered")
    held = await size_of(memory, stream.ref)
    assert told.sizes(Signal.STREAM_ENDED) == held
    assert told.sizes(Signal.LOG_WRITTEN) == held


@pytest.mark.parametrize("broken", ["seal", "close"])
async def test_viewers_have_their_end_before_the_log(memory: MemoryStore, broken: str) -> None:
    line, told = Line(memory), Told()
    async with measured(line, told, saving=True, append_deadline_seconds=0.2) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        line.broken = {broken, "ping"}
        model.end()
        await worker.watch(stream)
        line.broken = set()
        await closed(memory, stream.ref)
        await worker.runtime.idle()
    held = await size_of(memory, stream.ref)
    assert told.sizes(Signal.STREAM_ENDED) == held
    assert told.sizes(Signal.LOG_WRITTEN) == held


async def test_a_tombstone_is_one_event(memory: MemoryStore) -> None:
    """The log has less than its viewers were shown."""
    told = Told()
    async with measured(memory, told) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        stream.degrade("test")
        model.say("bc")
        model.end()
        await worker.watch(stream)
        await closed(memory, stream.ref)
    events, size = await size_of(memory, stream.ref)
    assert told.sizes(Signal.LOG_WRITTEN) == (events, size)
    assert told.sizes(Signal.STREAM_ENDED)[0] > events == 2


async def test_a_takeover_counts_what_it_wrote(memory: MemoryStore) -> None:
    told = Told()
    async with working(memory) as one, measured(memory, told) as two:
        stream = await one.start(Model("a"))
        await stream.first(5)
        before = await size_of(memory, stream.ref)
        reply = await memory.take_over(stream.ref, lease_seconds=30, force=True)
        assert reply.meta is not None
        await two.runtime.takeover.end(reply.meta, Outcome.INTERRUPTED)
        held = await size_of(memory, stream.ref)
    assert told.sizes(Signal.LOG_WRITTEN) == (held[0] - before[0], held[1] - before[1])


async def test_what_clients_take_is_no_time_of_the_store_s(memory: MemoryStore) -> None:
    """A lone event is written to its clients where it is shown."""

    def write(*_: object) -> None:
        until = time.perf_counter() + WRITING_SECONDS
        while time.perf_counter() < until:
            pass

    told = Told()
    async with measured(memory, told, samples_per_second=1_000) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        stream.feed.listen(write)
        for _ in range(3):
            acked = stream.acked
            model.say("b")
            await wait_until_async(lambda acked=acked: stream.acked > acked, description="it is in the log")  # type: ignore[misc]
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"
    taken = [seconds for one in told.seen for seconds in one.samples.get("append_seconds", ())]
    assert len(taken) >= 3
    assert max(taken) < WRITING_SECONDS
