"""Without the store from the start: the answer comes unlogged and says so, or is refused as asked."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import FaultError, StoreCorruptError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import FirstItem
from streamguard.runtime.request import Ending
from streamguard.stores.memory import MemoryStore
from streamguard.values import Outcome, SessionKey, StreamState

from ..harness.waiting import wait_until_async
from .lines import Line
from .stage import KEY, Model, closed, log_of, quick, saying, terminals, working

pytestmark = pytest.mark.anyio


async def test_store_down_at_start(memory: MemoryStore) -> None:
    """The answer comes, says once that it is not resumable, and the next request does not wait for the store."""
    line = Line(memory)
    line.down = True
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert stream.degraded
        assert await stream.first(5) is FirstItem.READY
        assert worker.runtime.breaker.open
        assert "store_unreachable" in worker.runtime.health().reasons
        before = line.calls["register"]
        other = await worker.tell(saying("b"), worker.request(SessionKey("ana", "chat-2")))
        assert line.calls["register"] == before
        assert (other.text, other.ids, other.notices, other.over) == (
            "b",
            [],
            [("not_resumable", "registration")],
            True,
        )
        model.end()
        reading = await worker.watch(stream)
        assert (reading.text, reading.ids, reading.outcome) == ("a", [], "completed")
        with pytest.raises(FaultError) as refused:
            await worker.runtime.sessions.resume(KEY, None)
        assert refused.value.fault.status == 503
        line.down = False
        await worker.idle()
        meta = await closed(memory, stream.ref)
        assert (meta.lost, meta.state, meta.ordinal) == (True, StreamState.CLOSED, 0)
        with pytest.raises(FaultError) as refused:
            await worker.runtime.sessions.resume(KEY, None)
        assert (refused.value.fault.status, refused.value.fault.reason) == (409, "not_registered")
    (terminal,) = terminals(await log_of(memory, stream.ref))
    assert (terminal.outcome, terminal.reason) == (Outcome.COMPLETED, "log_lost")
    assert len(worker.signals(Signal.BREAKER_OPENED)) == len(worker.signals(Signal.BREAKER_CLOSED)) == 1


@pytest.mark.long
async def test_store_down_at_start_and_asked_to_fail(memory: MemoryStore) -> None:
    line = Line(memory)
    line.down = True
    async with working(line) as worker:
        for _ in range(2):  # with the breaker closed, then open
            with pytest.raises(FaultError) as refused:
                await worker.open(worker.request(on_store_failure="fail"))
            fault = refused.value.fault
            assert (fault.status, fault.code) == (503, FaultCode.STORE_UNAVAILABLE)
            assert fault.retry_after_seconds
    assert worker.runtime.health().streams == 0


@pytest.mark.parametrize("ended", [False, True], ids=["it speaks on", "it is through"])
async def test_a_first_append_that_hangs(memory: MemoryStore, ended: bool) -> None:
    """The stream goes on unlogged, although the append itself never comes back."""
    line = Line(memory)
    async with working(line) as worker:
        line.hold("append")
        model = saying("a") if ended else Model("a")
        stream = await worker.start(model)
        assert await stream.first(5) is FirstItem.READY
        assert (stream.log.degraded_reason, worker.runtime.breaker.open) == ("append_deadline", True)
        line.let_go("append")
        model.end()
        reading = await worker.watch(stream)
        assert (reading.text, reading.ids, reading.outcome) == ("a", [], "completed")
        assert reading.notices == [("not_resumable", "append_deadline")]
        await worker.idle()
    assert (await closed(memory, stream.ref)).lost


@pytest.mark.parametrize("ended", [False, True], ids=["it speaks on", "it is through"])
async def test_a_first_append_that_hangs_and_asked_to_fail(memory: MemoryStore, ended: bool) -> None:
    """Nobody has seen anything of it: it is refused as if it had said nothing."""
    line = Line(memory)
    async with working(line) as worker:
        line.hold("append")
        stream = await worker.start(saying("a") if ended else Model("a"), worker.request(on_store_failure="fail"))
        assert await stream.first(5) is FirstItem.FAILED
        assert stream.fault is not None
        assert (stream.fault.code, stream.fault.status) == (FaultCode.STORE_UNAVAILABLE, 503)
        assert list(stream.feed.all_data()) == []
        line.let_go("append")
        await worker.idle()
    (terminal,) = terminals(await log_of(memory, stream.ref))
    assert (terminal.outcome, terminal.fault and terminal.fault.code) == (
        Outcome.FAILED,
        FaultCode.STORE_UNAVAILABLE,
    )


async def test_a_first_append_that_hangs_once_the_answer_has_begun(memory: MemoryStore) -> None:
    """Its viewers, who were told that it begins, see what was said and how it failed."""
    line = Line(memory)
    async with working(line) as worker:
        model = Model()
        stream = await worker.start(model, worker.request(on_store_failure="fail"))
        assert await stream.first(0.0) is FirstItem.LATE
        line.hold("append")
        model.say("a")
        reading = await worker.watch(stream)
        line.let_go("append")
        assert (reading.text, reading.outcome, reading.notices) == (
            "a",
            "failed",
            [("store_unavailable", "append_deadline")],
        )
        await worker.idle()


async def test_a_store_that_answers_others_is_given_time_for_the_first_append(memory: MemoryStore) -> None:
    """This process is late itself then, or the events before it are many."""
    line = Line(memory)
    async with working(line, quick(append_deadline_seconds=30.0, registration_seconds=0.2)) as worker:
        line.hold("append")
        stream = await worker.start(Model("a"))
        begun = worker.runtime.clock.time()
        while worker.runtime.clock.time() - begun < 0.5:
            worker.runtime.breaker.answered()
            await asyncio.sleep(0.02)
        assert not stream.degraded
        line.let_go("append")
        assert await stream.first(5) is FirstItem.READY
        assert (stream.degraded, stream.backlog.first_commit) == (False, None)
        stream.cancel(Ending(Outcome.STOPPED, None))
        await worker.idle()


@pytest.mark.promise("I2")
async def test_a_first_append_that_is_repeated_has_no_more_time(memory: MemoryStore) -> None:
    """What is shown without an id when that time is up would be logged later."""
    line = Line(memory)
    line.errors["append"] = [StoreUnavailableError("lost", operation="append")]
    async with working(line, quick(append_deadline_seconds=60.0, registration_seconds=10.0)) as worker:
        stream = await worker.start(Model("a"))
        assert await stream.first(5) is FirstItem.READY
        _, (repeated,) = line.batches
        assert repeated.within_seconds < 10.0
        stream.cancel(Ending(Outcome.STOPPED, None))
        await worker.idle()


@pytest.mark.promise("I2")
async def test_a_first_append_that_waited_for_others_has_no_more_time_either(memory: MemoryStore) -> None:
    """The writer came to it shortly before all of its time was up, right after an answer to another stream."""
    line = Line(memory)
    async with working(line, quick(append_deadline_seconds=2.0, registration_seconds=1.5)) as worker:
        clock = worker.runtime.clock
        line.hold("append")
        other = await worker.start(Model("a"))
        await wait_until_async(lambda: line.waiting["append"], description="the writer waits for another stream")
        stream = await worker.start(Model("b"), worker.request(SessionKey("ana", "chat-2")))
        await wait_until_async(lambda: stream.backlog.first_commit, description="its first event waits")
        until = clock.time() + 2.0
        asked: list[float] = []

        async def ask() -> None:
            asked.append(clock.time())

        def soon_over() -> bool:
            worker.runtime.breaker.answered()
            return clock.time() >= until - 1.0

        await wait_until_async(soon_over, description="others were answered until shortly before its time is up")
        line.before["append"] = ask
        line.let_go("append")
        assert await stream.first(5) is FirstItem.READY
        (append,) = line.batches[-1]
        assert asked[-1] + append.within_seconds < until
        for one in (other, stream):
            one.cancel(Ending(Outcome.STOPPED, None))
        await worker.idle()


async def test_a_store_that_answers_others_is_given_time_for_a_registration(memory: MemoryStore) -> None:
    """It is not down; but the request does not wait for ever either (`EXTENSIONS`)."""
    line = Line(memory)
    async with working(line, quick(registration_seconds=0.3)) as worker:
        line.hold("register")
        opening = asyncio.create_task(worker.open())
        begun = worker.runtime.clock.time()
        while worker.runtime.clock.time() - begun < 0.6:
            worker.runtime.breaker.answered()
            await asyncio.sleep(0.02)
        line.let_go("register")
        stream = await opening
        assert (stream.degraded, worker.runtime.breaker.open) == (False, False)
        worker.runtime.launch(stream, saying("a"))
        await worker.idle()


async def test_a_registration_that_is_applied_though_its_reply_is_lost(memory: MemoryStore) -> None:
    line = Line(memory)
    line.lost["register"] = 1
    async with working(line) as worker:
        stream = await worker.start(saying("a"))
        assert not stream.degraded
        assert (await worker.watch(stream)).ids == [1, 2]
        assert (await closed(memory, stream.ref)).ordinal == 1


async def test_a_registration_that_hangs_after_it_was_applied(memory: MemoryStore) -> None:
    """The stream runs unlogged; its tombstone adopts the registration, so no session stays blocked."""
    line = Line(memory)
    line.hold("register", after=True)
    async with working(line) as worker:
        stream = await worker.open()
        line.let_go("register")
        assert stream.degraded
        record = await memory.session(KEY)
        assert record.active is not None
        worker.runtime.launch(stream, saying("a"))
        assert (await worker.watch(stream)).ids == []
        await worker.idle()
        meta = await closed(memory, stream.ref)
    assert (meta.lost, meta.ordinal) == (True, 1)
    assert (await memory.session(KEY)).active_id is None


async def test_a_session_that_cannot_be_read_degrades_its_stream_only(memory: MemoryStore) -> None:
    line = Line(memory)
    line.errors["register"] = [StoreCorruptError("newer format", operation="register")]
    async with working(line) as worker:
        reading = await worker.tell(saying("a"))
        assert (reading.text, reading.ids) == ("a", [])
        assert not worker.runtime.breaker.open
        await worker.idle()


async def test_unlogged_streams_count_against_their_owner_while_they_run(memory: MemoryStore) -> None:
    line = Line(memory)
    line.down = True
    async with working(line, quick(max_streams_per_owner=2)) as worker:
        models = [Model("x"), Model("x")]
        streams = [await worker.start(m, worker.request(SessionKey("ana", f"s{n}"))) for n, m in enumerate(models)]
        with pytest.raises(FaultError) as refused:
            await worker.open(worker.request(SessionKey("ana", "s3")))
        assert refused.value.fault.code is FaultCode.LIMIT_STREAMS
        for model, stream in zip(models, streams, strict=True):
            model.end()
            await stream.ended()
        assert worker.runtime.health().streams == 2, "their tombstones are owed still"
        assert (await worker.tell(saying("y"), worker.request(SessionKey("ana", "s3")))).over
        line.down = False


async def test_the_notice_comes_once_before_the_first_item(memory: MemoryStore) -> None:
    line = Line(memory)
    line.down = True
    async with working(line, quick(max_event_bytes=200)) as worker:
        stream = await worker.start(saying("Hi"), worker.request(protocol="ui-message"))
        events = (await worker.watch(stream)).events
        types = [event.data.split('"')[3] for event in events[:-1]]
        assert types == ["start", "data-streamguard-error", "text-start", "text-delta", "text-end", "finish"]
        line.down = False


async def test_waiting_viewers_wake_when_their_stream_degrades(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.broken = {"append"}
        model = Model("a")
        stream = await worker.start(model)
        assert await asyncio.wait_for(stream.first(5), 3) is FirstItem.READY
        assert stream.degraded
        model.end()
        assert (await worker.watch(stream)).text == "a"
        line.broken = set()
