"""The drain: streams in every state get their end in time, nothing new begins, no viewer is left without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from streamguard.errors import FaultError, NotStartedError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import Runtime, StreamRequest
from streamguard.runtime.ending import drain
from streamguard.runtime.upkeep import watchdog
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, SessionKey, StreamState

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, closed, log_of, quick, read, saying, terminals, working

pytestmark = pytest.mark.anyio


async def test_streams_that_end_in_time_complete(stores: Stores, look: StreamStore) -> None:
    async with working(stores(), quick(drain_seconds=5)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        reading = asyncio.create_task(worker.watch(stream))
        draining = asyncio.create_task(worker.runtime.drain())
        await wait_until_async(lambda: worker.runtime.draining, description="the drain began")
        with pytest.raises(FaultError) as refused:
            await worker.open(worker.request(SessionKey("ana", "other")))
        assert (refused.value.fault.status, refused.value.fault.code) == (503, FaultCode.SHUTTING_DOWN)
        assert worker.runtime.health().reasons == ("draining",)
        assert not worker.runtime.health().ready
        model.end()
        assert (await reading).outcome == "completed"
        await draining
    await closed(look, stream.ref)


async def test_streams_in_every_state(stores: Stores, look: StreamStore) -> None:
    """Speaking, silent, not launched, swallowing its cancellation, stopping: each has its one terminal in the end."""

    async def swallowing() -> AsyncIterator[object]:
        try:
            yield "a"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    async with working(stores(), quick(drain_seconds=0.3, keep_alive_seconds=0.1)) as worker:

        def request(name: str) -> StreamRequest:
            return worker.request(SessionKey("ana", name))

        speaking = await worker.start(Model("a"), request("speaking"))
        silent = await worker.start(Model(), request("silent"))
        unlaunched = await worker.open(request("unlaunched"))
        swallows = await worker.start(swallowing, request("swallowing"))
        for stream in (speaking, swallows):
            await stream.first(5)
        readings = [asyncio.create_task(worker.watch(s)) for s in (speaking, silent, unlaunched, swallows)]
        draining = [asyncio.create_task(worker.runtime.drain()) for _ in range(3)]
        draining[0].cancel()
        await asyncio.gather(*draining[1:])
        await worker.runtime.drain()
        for reading in await asyncio.gather(*readings):
            assert (reading.outcome, reading.over) == ("interrupted", True)
            assert ("shutting_down", "None") in reading.notices
        for stream in (speaking, silent, unlaunched, swallows):
            meta = await closed(look, stream.ref)
            assert meta.seal is not None
            assert meta.seal.outcome is Outcome.INTERRUPTED
    for signal in (Signal.DRAIN_STARTED, Signal.DRAIN_ENDED):
        assert len(worker.signals(signal)) == 1


async def test_remote_viewers_are_cut(memory: MemoryStore) -> None:
    """Their stream goes on elsewhere: no clean end, so that they come back to another worker."""
    async with working(memory) as one:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        async with working(memory) as two:
            dropped = asyncio.Event()
            viewer = await two.resume()
            viewer.on_drop = dropped.set
            reading = asyncio.create_task(read(viewer))
            await wait_until_async(lambda: viewer.listening, description="it waits")
            await two.runtime.drain()
            seen = await reading
            assert (seen.cut, seen.over, seen.ids) == ("drained", False, [1])
            assert dropped.is_set()
        model.end()
        assert (await one.watch(stream)).outcome == "completed"


async def test_a_viewer_that_has_its_end_is_not_cut(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying("a"))
        viewer = worker.view(stream)
        await stream.ended()
        await worker.runtime.drain()
        assert (await read(viewer)).over


@pytest.mark.parametrize(
    ("broken", "state", "written"),
    [
        ({"append"}, StreamState.CLOSED, [(Outcome.COMPLETED, "log_lost")]),
        ({"seal"}, StreamState.OPEN, []),
        ({"close"}, StreamState.SEALED, []),
        ({"declare_lost", "append"}, StreamState.OPEN, []),
    ],
    ids=["append", "seal", "close", "declare_lost"],
)
async def test_a_store_that_is_gone_does_not_hold_up_the_exit(
    memory: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    broken: set[str],
    state: StreamState,
    written: list[tuple[Outcome, str | None]],
) -> None:
    """Retries end with the drain; viewers have their end long before. What cannot be written is left to a sweep."""
    monkeypatch.setattr(drain, "FINISH_SECONDS", 0.3)
    line = Line(memory)
    started = time.monotonic()
    patience = 30.0 if broken == {"append"} else 0.2
    async with working(line, quick(append_deadline_seconds=patience), clean=False) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        reading = asyncio.create_task(worker.watch(stream))
        line.broken = {*broken, "ping"}
        model.say("b")
        model.end()
        await wait_until_async(lambda: stream.finalising, description="the model is through")
        await worker.runtime.drain()
        seen = await reading
        assert (seen.text, seen.over, seen.outcome) == ("ab", True, "completed")
    assert time.monotonic() - started < 4
    assert [(terminal.outcome, terminal.reason) for terminal in terminals(await log_of(memory, stream.ref))] == written
    meta = await memory.meta(stream.ref)
    assert meta is not None
    assert meta.state is state


@pytest.mark.long
async def test_an_end_that_hangs_is_given_up(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the store does: the process can leave, and the stream is found by its expired lease."""
    monkeypatch.setattr(drain, "FINISH_SECONDS", 0.1)
    line = Line(memory)
    async with working(line, quick(drain_seconds=0.1, command_seconds=0.1)) as worker:
        line.hold("seal")
        line.hold("release_slot")
        stream = await worker.start(saying("a"))
        reading = asyncio.create_task(worker.watch(stream))
        await wait_until_async(lambda: line.waiting["seal"], description="it is being sealed")
        await worker.runtime.drain()
        assert (await reading).cut == "drained"
        line.let_go("release_slot")
    assert stream.finished
    line.let_go("seal")


async def test_a_stubborn_endpoint_does_not_keep_its_stream(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "CANCEL_GRACE_SECONDS", 0.1)
    release = asyncio.Event()

    async def stubborn() -> AsyncIterator[object]:
        yield "a"
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with working(memory, quick(drain_seconds=0.2, keep_alive_seconds=0.1)) as worker:
        stream = await worker.start(stubborn)
        await worker.runtime.drain()
        assert (await closed(memory, stream.ref)).last_seq == 3
        release.set()


@pytest.mark.parametrize("degraded", [False, True])
async def test_a_stream_that_is_admitted_while_the_drain_begins(memory: MemoryStore, degraded: bool) -> None:
    """It is registered already: so it gets its terminal, and the drain waits for that."""
    line = Line(memory)
    async with working(line, quick(registration_seconds=0.5)) as worker:
        line.hold("register")
        opening = asyncio.create_task(worker.open())
        await wait_until_async(lambda: line.waiting["register"], description="it registers")
        draining = asyncio.create_task(worker.runtime.drain())
        await wait_until_async(lambda: worker.runtime.draining, description="the drain began")
        if degraded:
            line.broken = {"register"}
        line.let_go("register")
        with pytest.raises(FaultError) as refused:
            await opening
        assert refused.value.fault.code is FaultCode.SHUTTING_DOWN
        await draining
        assert worker.runtime.health().streams == 0
    record = await memory.session(KEY)
    assert record.active is None
    assert record.last is not None
    meta = await closed(memory, record.last.ref)
    assert meta.seal is not None
    assert meta.seal.outcome is Outcome.INTERRUPTED


async def test_a_runtime_is_used_while_it_runs_only(memory: MemoryStore) -> None:
    never = Runtime(memory, quick())
    assert not never.health().ready
    assert never.health().reasons == ("not_started",)
    with pytest.raises(NotStartedError, match="lifespan"):
        await never.drain()
    async with working(memory) as worker:
        stream = await worker.start(saying("a"))
        await stream.ended()
        with pytest.raises(NotStartedError, match="once"):
            await worker.runtime.__aenter__()
    with pytest.raises(NotStartedError):
        await worker.open()
    with pytest.raises(NotStartedError):
        worker.runtime.launch(stream, saying("b"))
    assert worker.runtime.health().reasons == ("not_started", "draining")


async def test_leaving_drains_even_when_the_lifespan_is_cancelled(memory: MemoryStore) -> None:
    entered = asyncio.Event()
    streams = []

    async def lifespan() -> None:
        async with working(memory, quick(drain_seconds=0.2)) as worker:
            streams.append(await worker.start(Model("a")))
            await streams[0].first(5)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(lifespan())
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    (terminal,) = terminals(await log_of(memory, streams[0].ref))
    assert terminal.outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize("begun", [False, True], ids=["at once", "while it waits"])
async def test_a_hurried_drain_does_not_wait_for_streams(memory: MemoryStore, begun: bool) -> None:
    async with working(memory, quick(drain_seconds=600, development_drain_seconds=0.1)) as worker:
        stream = await worker.start(Model("a"))
        reading = asyncio.create_task(worker.watch(stream))
        if begun:
            worker.runtime.begin_drain()
            await wait_until_async(lambda: worker.runtime.draining, description="the drain began")
            assert not stream.finished
        worker.runtime.begin_drain(hurried=True)
        await asyncio.wait_for(worker.runtime.drain(), 30)
        assert (await reading).outcome == "interrupted"


async def test_a_hurried_drain_is_never_longer(memory: MemoryStore) -> None:
    async with working(memory, quick(drain_seconds=0.1, development_drain_seconds=600)) as worker:
        stream = await worker.start(Model("a"))
        worker.runtime.begin_drain(hurried=True)
        await asyncio.wait_for(worker.runtime.drain(), 30)
        assert stream.finished
