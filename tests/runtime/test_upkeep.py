"""What keeps a process whole: observers that raise, tasks that crash, memory that must not grow."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Final

import pytest

from streamguard.errors import StoreCorruptError, StoreUnavailableError
from streamguard.observations import Observation, Signal
from streamguard.retrying import Backoff
from streamguard.runtime import LiveStream, Runtime, StreamRequest
from streamguard.runtime.upkeep import tasks as tasks_module
from streamguard.runtime.upkeep import worker_channel
from streamguard.runtime.upkeep.tasks import Tasks
from streamguard.stores.memory import MemoryStore
from streamguard.values import SessionKey, StreamRef
from streamguard.wire import protocol_named

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Worker, closed, leftovers, quick, read, saying, working

pytestmark = pytest.mark.anyio

TROUBLES: Final = Path(__file__).parents[2] / "docs/how-to/troubleshoot.md"


async def test_observers_that_raise_hurt_nobody(memory: MemoryStore) -> None:
    """A sink that always raises: the stream goes on, other sinks hear, it is counted."""
    heard: list[Observation] = []

    def broken(_: Observation) -> None:
        raise RuntimeError("this sink is broken")

    runtime = Runtime(memory, quick(), [broken, heard.append, broken])
    async with runtime:
        worker = Worker(runtime, heard)
        reading = await worker.tell(saying("a", RuntimeError("and so is the model")))
        assert (reading.text, reading.outcome) == ("a", "failed")
        await worker.idle()
    assert {seen.name for seen in heard} >= {Signal.STREAM_OPENED, Signal.FAULT, Signal.STREAM_ENDED}
    assert runtime.observe.errors == 2 * len(heard)


async def test_the_stores_warnings_are_told(memory: MemoryStore) -> None:
    line = Line(memory)
    line.warnings = ["evicts live streams"]
    async with working(line) as worker:
        (warning,) = worker.signals(Signal.STORE_WARNING)
        assert warning.fields == {"warning": "evicts live streams"}


@pytest.mark.parametrize(("name", "operation"), [("writer", "append"), ("leases", "heartbeat"), ("breaker", "ping")])
@pytest.mark.long
async def test_crashed_background_tasks_start_again(memory: MemoryStore, name: str, operation: str) -> None:
    """Observed and in the health, and what they had in hand is not forgotten."""
    line = Line(memory)
    async with working(line) as worker:
        line.errors[operation] = [ZeroDivisionError("a bug"), ZeroDivisionError("again")]
        if name == "breaker":
            worker.runtime.breaker.exhausted(StoreUnavailableError("gone", operation="append"))
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: len(worker.signals(Signal.TASK_RESTARTED)) == 2, description="two crashes")
        assert f"task_restarted:{name}" in worker.runtime.health().reasons
        crashes = [(seen.fields["task"], seen.fields["crashes"]) for seen in worker.signals(Signal.TASK_RESTARTED)]
        assert crashes == [(name, 1), (name, 2)]
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the store is used")
        model.end()
        assert (await worker.watch(stream)).text == "a"


async def test_a_writer_that_crashes_for_ever_degrades_its_streams(memory: MemoryStore) -> None:
    line = Line(memory)
    line.errors["append"] = [ZeroDivisionError("a bug")] * 50
    async with working(line, quick(append_deadline_seconds=0.3)) as worker:
        reading = await worker.tell(saying("a"))
        assert (reading.text, reading.ids, reading.over) == ("a", [], True)


@pytest.mark.parametrize("accident", ["a stray cancellation", "too few replies", "one by one"])
async def test_what_a_crashed_commit_carried_is_committed_again(memory: MemoryStore, accident: str) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    line = Line(memory)
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.acked == 1, description="its first event is in the log")
        if accident == "too few replies":
            line.answers["append"] = [[]]
        elif accident == "one by one":
            line.errors["append"] = [StoreCorruptError("damaged", operation="append"), ZeroDivisionError("a bug")]
        else:
            line.before["append"] = cancelled
        model.say("b")
        await wait_until_async(lambda: stream.acked == 2, description="the second one is, too")
        assert [seen.fields["task"] for seen in worker.signals(Signal.TASK_RESTARTED)] == ["writer"]
        model.end()
        assert (await worker.watch(stream)).text == "ab"
        assert not stream.degraded


async def test_one_streams_accident_in_the_writer_is_no_others(memory: MemoryStore) -> None:
    """Whatever an acknowledgement makes somebody raise: the others of that commit are acknowledged all the same."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    async with working(memory) as worker:
        models = [Model("a"), Model("b"), Model("c")]
        streams = [
            await worker.start(model, worker.request(SessionKey("ana", str(n)))) for n, model in enumerate(models)
        ]
        for stream in streams:
            await stream.first(5)
        streams[0].feed.listen(broken)
        for model in models:  # in one commit
            model.say("more")
        await wait_until_async(lambda: streams[0].degraded, description="the broken one goes on without its log")
        streams[0].feed.leave(broken)
        for model in models:
            model.end()
        readings = await asyncio.gather(*(worker.watch(stream) for stream in streams[1:]))
        assert [reading.text for reading in readings] == ["bmore", "cmore"]
        assert [reading.outcome for reading in readings] == ["completed", "completed"]
        assert not any(stream.degraded for stream in streams[1:])


async def test_a_crash_while_one_stream_ends_leaves_the_others_alone(memory: MemoryStore) -> None:
    """Its viewers are cut, never shown a clean end; a sweep finds it."""
    line = Line(memory)
    async with working(line) as worker:
        other_model = Model("x")
        other = await worker.start(other_model, worker.request(SessionKey("ana", "other")))
        await other.first(5)
        line.errors["seal"] = [ZeroDivisionError("a bug")]
        reading = await worker.tell(saying("a"))
        assert (reading.cut, reading.text) == ("ended", "a")
        other_model.end()
        assert (await worker.watch(other)).outcome == "completed"
        assert any(isinstance(seen.error, ZeroDivisionError) for seen in worker.signals(Signal.FAULT))


async def test_a_close_that_is_cancelled_leaves_no_task_running() -> None:
    tasks = Tasks(observe=lambda _: None)
    await tasks.open()
    ended = asyncio.Event()

    async def works() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    tasks.start(works)
    await asyncio.sleep(0)
    closing = asyncio.create_task(tasks.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.wait_for(ended.wait(), 20)


@pytest.mark.parametrize("supervised", [False, True])
async def test_a_close_leaves_behind_what_catches_every_cancellation(
    supervised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the host's own lifespan would never end, nor the process."""
    monkeypatch.setattr(tasks_module, "AGAIN_SECONDS", 0.01)
    told: list[Observation] = []
    tasks = Tasks(observe=told.append)
    await tasks.open()
    begun, may_end, ended, caught = asyncio.Event(), asyncio.Event(), asyncio.Event(), 0

    async def stubborn() -> None:
        nonlocal caught
        begun.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                caught += 1
        ended.set()

    if supervised:
        tasks.supervise("stubborn", stubborn)
    else:
        tasks.start(stubborn)
    await begun.wait()
    async with asyncio.timeout(20):
        await tasks.close()
    assert caught
    assert not ended.is_set()
    assert [seen.fields["misuse"] for seen in told] == ["cancellation_caught"]
    may_end.set()
    await asyncio.wait_for(ended.wait(), 20)


def test_the_page_on_misuse_has_what_is_said_then() -> None:
    said = tasks_module._left_behind(1).fields["warning"]
    assert str(said) in " ".join(TROUBLES.read_text().split())


async def test_stray_cancellations_are_contained(memory: MemoryStore) -> None:
    """anyio ends a whole group for one task that ends cancelled; ours must not."""
    observed: list[Observation] = []
    tasks = Tasks(observe=observed.append)
    ran = asyncio.Event()
    turns = 0

    async def cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def supervised() -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            await cancelled()
        ran.set()

    await tasks.open()
    tasks.start(cancelled)
    tasks.start(cancelled)
    tasks.supervise("once", supervised)
    await asyncio.wait_for(ran.wait(), 20)
    assert not tasks.group.cancel_scope.cancel_called
    tasks.supervise("for ever", asyncio.Event().wait)  # type: ignore[arg-type] # it never returns
    tasks.start(asyncio.Event().wait)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await tasks.close()
    assert [seen.name for seen in observed].count(Signal.FAULT) == 2
    assert tasks.crashes == {"once": 1}


async def test_listeners_try_again(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_channel, "RETRY", Backoff(0.01, 0.01))
    line = Line(memory)
    line.errors["listen"] = [StoreUnavailableError("no", operation="subscribe")] * 3
    async with working(line, quick(heartbeat_seconds=5.0, lease_seconds=10.0)) as worker:
        stream = await worker.start(Model("a"))
        await wait_until_async(lambda: line.calls["listen"] == 4, description="it listens")
        await memory.request_stop(stream.ref)
        assert (await worker.watch(stream)).outcome == "stopped"


@pytest.mark.long
async def test_the_process_forgets_ended_streams(memory: MemoryStore) -> None:
    """3,000 streams, watched and unwatched, leave nothing behind: no entry, no task, no stream object."""
    small = MemoryStore(max_bytes=2_000_000)
    async with working(small, quick(max_streams_per_owner=100_000, heartbeat_seconds=5, lease_seconds=10)) as worker:
        await worker.tell(saying("warm", "up"))
        await worker.idle()
        tasks = len(asyncio.all_tasks())
        opened: set[StreamRef] = set()
        for batch in range(15):
            streams = [
                await worker.start(saying("a"), worker.request(SessionKey(f"o{batch}", f"s{n}"))) for n in range(200)
            ]
            opened |= {stream.ref for stream in streams}
            for stream in streams[:20]:
                assert (await read(worker.view(stream))).over
            for stream in streams:
                await stream.ended()
        await worker.idle()
        await wait_until_async(lambda: len(asyncio.all_tasks()) <= tasks, description="every task ended")
        assert leftovers(worker.runtime) == {}
        assert small._tables.slots == {}
        del streams, stream
        worker.observed.clear()
        gc.collect()
        live = [thing for thing in gc.get_objects() if isinstance(thing, LiveStream) and thing.ref in opened]
        assert [gc.get_referrers(stream) for stream in live] == []


async def test_a_large_stream_with_a_viewer_that_never_reads(memory: MemoryStore) -> None:
    """The window stays bounded, another viewer gets every event, the stuck one is dropped."""
    piece = "x" * 100_000
    settings = quick(viewer_backlog_bytes=500_000, viewer_send_seconds=5.0, keep_alive_seconds=0.1)
    async with working(MemoryStore(), settings) as worker:
        model = Model()
        stream = await worker.start(model)
        stuck = worker.view(stream)
        dropped = asyncio.Event()
        stuck.on_drop = dropped.set
        stuck.sending_since = asyncio.get_running_loop().time() - 1.0
        reading = asyncio.create_task(worker.watch(stream))
        most = 0
        for _ in range(200):
            model.say(piece)
            await asyncio.sleep(0)
            most = max(most, stream.feed.held_bytes)
        model.end()
        seen = await reading
        assert (seen.over, len(seen.text)) == (True, 20_000_000)
        assert most < 4_000_000
        await asyncio.wait_for(dropped.wait(), 20)
        stuck.close()
        assert stream.feed.data == [], "nobody reads it any more"


async def test_health(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        assert worker.runtime.health().reasons == ()
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        health = worker.runtime.health()
        assert (health.ready, health.streams, health.viewers, health.degraded_streams) == (True, 1, 1, 0)
        stream.degrade("test")
        line.broken = {"ping"}
        worker.runtime.breaker.exhausted(StoreUnavailableError("gone", operation="append"))
        worker.runtime.breaker.exhausted(StoreUnavailableError("gone", operation="append"))
        health = worker.runtime.health()
        assert (health.ready, health.degraded_streams) == (False, 1)
        assert health.reasons == ("store_unreachable", "degraded_streams")
        assert worker.runtime.breaker.healthy_seconds == 0
        viewer.close()
        line.broken = set()
        model.end()
        await worker.idle()
        await wait_until_async(lambda: worker.runtime.health().ready, description="the breaker closed")


async def test_failing_heartbeats_are_tried_again(memory: MemoryStore) -> None:
    line = Line(memory)
    line.errors["heartbeat"] = [StoreUnavailableError("no", operation="heartbeat")] * 2
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: line.calls["heartbeat"] >= 3, description="the third passes")
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"


async def test_a_heartbeat_answered_after_its_stream_ended(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        line.hold("heartbeat", after=True)
        await wait_until_async(lambda: line.waiting["heartbeat"], description="a heartbeat is under way")
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"
        await memory.erase(KEY, mark_seconds=1)
        line.let_go("heartbeat")
        await worker.idle()
        assert not stream.degraded


async def test_outcomes_reach_every_store(stores: Stores) -> None:
    """The runtime asks nothing of a store but the contract: the same on each."""
    async with working(stores()) as worker:
        stream = await worker.open(
            StreamRequest(KEY, protocol_named("ui-message"), "chat", "msg_" + "0" * 24, request_id=None)
        )
        worker.runtime.launch(stream, saying("a"))
        assert (await worker.watch(stream)).over
        meta = await closed(worker.runtime.store, stream.ref)
        assert (meta.message_id, meta.binding, meta.protocol) == ("msg_" + "0" * 24, "chat", "ui-message")
