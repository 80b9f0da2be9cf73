"""Which way to its end a stream takes, as the state of its log, its last record and its viewers show."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.runtime.producing.phases import LogState
from streamguard.stores.memory import MemoryStore
from streamguard.values import Outcome, StreamState

from ..harness.waiting import wait_until_async
from .lines import Line
from .stage import Model, closed, log_of, quick, terminals, working

pytestmark = pytest.mark.anyio


async def test_whole_with_nothing_to_save_in_one_step(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model = Model("a")
        model.end()
        stream = await worker.start(model)
        reading = await worker.watch(stream)
        assert (stream.log.state, stream.degraded) == (LogState.CLOSED, False)
    assert reading.ids == [1, 2]
    (terminal,) = terminals(await log_of(memory, stream.ref))
    assert (terminal.outcome, terminal.reason) == (Outcome.COMPLETED, None)


async def test_late_when_the_seal_cannot_be_written(memory: MemoryStore) -> None:
    """Viewers have their end at once and without ids; the record gets it when the store is back."""
    line = Line(memory)
    async with working(line, quick(append_deadline_seconds=0.2)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        line.broken = {"seal", "ping"}
        model.end()
        reading = await worker.watch(stream)
        assert (reading.outcome, reading.over, reading.ids) == ("completed", True, [1])
        assert (stream.log.state, stream.degraded, stream.finished) == (LogState.UNWRITTEN, False, True)
        line.broken = set()
        meta = await closed(memory, stream.ref)
    assert not meta.lost
    (terminal,) = terminals(await log_of(memory, stream.ref))
    assert (terminal.outcome, terminal.reason) == (Outcome.COMPLETED, None)


async def test_without_a_log_by_a_tombstone(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        stream.degrade("test")
        model.say("b")
        model.end()
        reading = await worker.watch(stream)
        assert (reading.text, reading.outcome, reading.ids) == ("ab", "completed", [1])
        meta = await closed(memory, stream.ref)
        assert (stream.log.state, stream.log.degraded_reason, meta.lost) == (LogState.LOST, "test", True)
    (terminal,) = terminals(await log_of(memory, stream.ref))
    assert (terminal.outcome, terminal.reason) == (Outcome.COMPLETED, "log_lost")


async def test_not_here_when_another_worker_owns_it(memory: MemoryStore) -> None:
    """Nothing is written here; viewers follow the new owner to its end."""
    async with working(memory) as one, working(memory) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        reading = asyncio.create_task(one.watch(stream))
        meta = await memory.meta(stream.ref)
        assert meta is not None
        reply = await memory.take_over(stream.ref, lease_seconds=30, expected_epoch=meta.epoch, force=True)
        assert reply.meta is not None
        two.runtime.takeover.end_soon(reply.meta, Outcome.INTERRUPTED)
        assert (await reading).outcome == "interrupted"
        await stream.ended()
        assert (stream.log.state, model.left.is_set()) == (LogState.SUPERSEDED, True)
    assert len(terminals(await log_of(memory, stream.ref))) == 1


async def test_without_a_log_and_without_a_record_when_another_worker_owns_that(memory: MemoryStore) -> None:
    """A degraded stream goes on for its viewers; nothing of it is written any more."""
    async with working(memory) as one, working(memory) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        stream.degrade("test")
        meta = await memory.meta(stream.ref)
        assert meta is not None
        reply = await memory.take_over(stream.ref, lease_seconds=30, expected_epoch=meta.epoch, force=True)
        assert reply.meta is not None
        two.runtime.takeover.end_soon(reply.meta, Outcome.INTERRUPTED)
        await closed(memory, stream.ref)
        await wait_until_async(lambda: stream.log.disowned, description="a heartbeat told it")
        model.say("b")
        model.end()
        reading = await one.watch(stream)
        assert (reading.text, reading.outcome) == ("ab", "completed")
        await stream.ended()
        assert stream.log.state is LogState.DISOWNED
    (terminal,) = terminals(await log_of(memory, stream.ref))
    assert terminal.outcome is Outcome.INTERRUPTED
    after = await memory.meta(stream.ref)
    assert after is not None
    assert after.state is StreamState.CLOSED
