"""From an endpoint's items to the log and the first response: order, numbers, commits, the one terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest

from streamguard.errors import FaultError
from streamguard.faults import Fault, FaultCode
from streamguard.observations import Signal
from streamguard.runtime import FirstItem
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome, Persisted, SessionKey, StreamState, Usage

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import Model, closed, log_of, payloads, quick, read, saying, working

pytestmark = pytest.mark.anyio


@pytest.mark.promise("I1")
async def test_stream_is_logged_and_seen_whole(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying("Hel", "lo", "!"))
        assert await stream.first(5) is FirstItem.READY
        reading = await worker.watch(stream)
        meta = await closed(look, stream.ref)
    assert reading.over
    assert reading.text == "Hello!"
    assert reading.ids == [1, 2, 3, 4]
    assert reading.outcome == "completed"
    assert payloads(await log_of(look, stream.ref)) == [b"Hel", b"lo", b"!"]
    assert (meta.state, meta.persisted, meta.ordinal) == (StreamState.CLOSED, Persisted.NOT_ASKED, 1)
    assert stream.finished
    assert stream.fault is None
    (opened,) = worker.signals(Signal.STREAM_OPENED)
    (ended,) = worker.signals(Signal.STREAM_ENDED)
    assert opened.fields["protocol"] == "plain"
    assert (ended.fields["outcome"], ended.fields["events"], ended.fields["degraded"]) == ("completed", 4, False)


async def test_closing_parts_follow_the_seal_and_are_logged(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying("Hi"), worker.request(protocol="ui-message"))
        reading = await worker.watch(stream)
        await closed(look, stream.ref)
    kinds = [kind for _, kind, _ in await log_of(look, stream.ref)]
    assert kinds == [EventKind.DATA] * 4 + [EventKind.CLOSING, EventKind.TERMINAL]
    assert [event.data for event in reading.events][-2:] == ['{"type":"finish"}', "[DONE]"]


@pytest.mark.promise("I2")
async def test_nothing_is_seen_before_it_is_logged(memory: MemoryStore) -> None:
    """Promise I2. While its append is under way, an event waits; lost on the way, it was never seen."""
    line = Line(memory)
    async with working(line) as worker:
        line.hold("append")
        stream = await worker.start(saying("seen"))
        viewer = worker.view(stream)
        reading = asyncio.create_task(read(viewer))
        await wait_until_async(lambda: line.waiting["append"], description="the append is under way")
        assert stream.feed.visible == 0
        assert await stream.first(0.01) is FirstItem.LATE
        line.let_go("append")
        assert (await reading).text == "seen"


async def test_events_of_dirty_streams_share_a_commit(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, quick(max_streams_per_owner=100)) as worker:
        line.hold("append")
        models = [Model() for _ in range(20)]
        streams = [
            await worker.start(model, worker.request(SessionKey("ana", f"s{n}"))) for n, model in enumerate(models)
        ]
        models[0].say("first")
        await wait_until_async(lambda: line.waiting["append"], description="a commit is under way")
        for model in models:
            model.say("a", "b")
            model.end()
        await wait_until_async(lambda: all(s.activity.items >= 2 for s in streams), description="all have spoken")
        line.let_go("append")
        for stream in streams:
            await stream.ended()
    assert len(line.batches[0]) == 1
    assert len(line.batches[1]) == 20, "what gathered during a commit goes out in one"
    assert line.calls["append"] <= 4
    for stream in streams:
        await closed(memory, stream.ref)


async def test_a_busy_process_gathers_events_for_a_moment(memory: MemoryStore) -> None:
    """Past the busy mark commits are at most one per pause, but a stream's first event and its end do not wait."""
    line = Line(memory)
    settings = quick(max_streams_per_owner=1000)
    async with working(line, settings) as worker:
        models = [Model("first") for _ in range(60)]
        streams = [
            await worker.start(model, worker.request(SessionKey("ana", f"s{n}"))) for n, model in enumerate(models)
        ]
        for stream in streams:
            await stream.first(5)
        before = line.calls["append"]
        for _ in range(20):
            for model in models:
                model.say("x")
            await asyncio.sleep(0.001)  # the model's own pace, not a wait for anything
        for model in models:
            model.end()
        for stream in streams:
            await stream.ended()
        for stream in streams:
            assert payloads(await log_of(memory, stream.ref)) == [b"first"] + [b"x"] * 20
    assert line.calls["append"] - before < 20 * 60 / 4


async def test_a_commit_carries_at_most_500_streams(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, quick(max_streams_per_owner=1000)) as worker:
        line.hold("append")
        streams = [await worker.start(saying("x"), worker.request(SessionKey("ana", f"s{n}"))) for n in range(520)]
        await wait_until_async(lambda: all(stream.finalising for stream in streams), description="all have spoken")
        line.let_go("append")
        for stream in streams:
            await stream.ended()
    assert max(len(batch) for batch in line.batches) == 500


async def test_large_bursts_are_cut_into_commits_and_hold_the_model_back(memory: MemoryStore) -> None:
    """A model faster than the log waits once 1 MiB is unacknowledged, and one commit carries about 256 KiB of it."""
    line = Line(memory)
    piece = "x" * 100_000
    async with working(line) as worker:
        line.hold("append")
        model = Model(*[piece] * 60)
        model.end()
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.backlog.over_capacity, description="the model is held back")
        items = stream.activity.items
        assert items <= 12
        viewer = worker.view(stream)
        reading = asyncio.create_task(read(viewer))
        line.let_go("append")
        assert (await reading).text == piece * 60
    assert max(sum(len(data) for _, data in batch[0].events) for batch in line.batches) <= 400_000


async def test_appends_renew_ttls_once_a_minute(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        stream.backlog.refresh_at -= 61
        model.say("b")
        model.end()
        await stream.ended()
    assert [append.refresh for (append,) in line.batches] == [False, True]


async def test_notices_keep_their_place_among_the_items(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as worker:
        model = Model()
        stream = await worker.start(model)
        stream.notices.tell(Fault.of(FaultCode.PERSISTENCE_PENDING, reason="one"))
        model.say("a")
        await wait_until_async(lambda: stream.activity.items == 1, description="the first item came")
        stream.notices.tell(Fault.of(FaultCode.PERSISTENCE_PENDING, reason="two"))
        model.say("b")
        model.end()
        reading = await worker.watch(stream)
        stream.notices.tell(Fault.of(FaultCode.PERSISTENCE_PENDING, reason="late"))
        await closed(look, stream.ref)
    assert [(event.event, event.data if event.event == "message" else "") for event in reading.events] == [
        ("streamguard.notice", ""),
        ("message", "a"),
        ("streamguard.notice", ""),
        ("message", "b"),
        ("streamguard.end", ""),
    ]
    assert [reason for _, reason in reading.notices] == ["one", "two"]
    assert reading.ids == [1, 2, 3, 4, 5]


async def test_usage_is_sealed(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        stream.usage(input_tokens=3)
        stream.usage(input_tokens=4, output_tokens=1)
        for wrong in (-1, 2**53, True, 1.5):
            with pytest.raises(ValueError, match="usage output_tokens"):
                stream.usage(output_tokens=wrong)  # type: ignore[arg-type] # what a host may do wrong
        model.end()
        await stream.ended()
    meta = await closed(memory, stream.ref)
    assert meta.seal is not None
    assert meta.seal.usage == Usage({"input_tokens": 7, "output_tokens": 1})


async def test_first_item_late_then_ready(memory: MemoryStore) -> None:
    """The headers go out with what precedes the first item; the rest comes in-band."""
    async with working(memory) as worker:
        model = Model()
        stream = await worker.start(model, worker.request(protocol="ui-message"))
        assert await stream.first(0.01) is FirstItem.LATE
        assert await stream.first(5) is FirstItem.READY  # `start` is in the log now
        model.fail(RuntimeError("too late for a status"))
        reading = await worker.watch(stream)
    assert '"errorText"' in reading.events[-2].data


async def test_first_item_failed(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model()
        stream = await worker.start(model)
        waiting = asyncio.create_task(stream.first(5))
        error = ConnectionResetError("secret")
        model.fail(error)
        assert await waiting is FirstItem.FAILED
        assert stream.first_answer.error is error
        assert stream.fault is not None
        assert stream.fault.code is FaultCode.PROVIDER_ABORTED
        await stream.ended()
    meta = await closed(memory, stream.ref)
    assert meta.seal is not None
    assert (meta.seal.outcome, meta.seal.last_seq) == (Outcome.FAILED, 0)
    assert await stream.first(0) is FirstItem.FAILED, "also when its end is visible by now"


async def test_waiting_for_the_first_item_can_be_cancelled(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model()
        stream = await worker.start(model)
        waiting = asyncio.create_task(stream.first(5))
        await wait_until_async(lambda: stream.backlog._shown.waited is not None, description="it waits")
        waiting.cancel()
        model.say("still")
        model.end()
        assert (await worker.watch(stream)).text == "still"


async def test_a_model_without_items_completes(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying())
        reading = await worker.watch(stream)
        meta = await closed(look, stream.ref)
    assert reading.outcome == "completed"
    assert meta.last_seq == 1


async def test_producers_keep_the_callers_context(memory: MemoryStore) -> None:
    user = ContextVar("user", default="nobody")

    async def model() -> AsyncIterator[object]:
        yield user.get()

    async with working(memory) as worker:
        user.set("ana")
        stream = await worker.open()
        worker.runtime.launch(stream, model)
        user.set("bob")
        assert (await worker.watch(stream)).text == "ana"


async def test_owner_limit(stores: Stores) -> None:
    async with working(stores(), quick(max_streams_per_owner=2)) as worker:
        models = [Model("x"), Model("x")]
        for n, model in enumerate(models):
            await worker.start(model, worker.request(SessionKey("ana", f"s{n}")))
        with pytest.raises(FaultError) as refused:
            await worker.open(worker.request(SessionKey("ana", "s3")))
        assert refused.value.fault.code is FaultCode.LIMIT_STREAMS
        assert refused.value.fault.retry_after_seconds
        other = await worker.start(saying("y"), worker.request(SessionKey("bob", "s3")))
        assert (await worker.watch(other)).over
        models[0].end()
        await wait_until_async(lambda: worker.runtime.health().streams == 1, description="the first one ended")
        again = await worker.start(saying("z"), worker.request(SessionKey("ana", "s3")))
        assert (await worker.watch(again)).text == "z"
        models[1].end()
    assert worker.faults() == [FaultCode.LIMIT_STREAMS]
