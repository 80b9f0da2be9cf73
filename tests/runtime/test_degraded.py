"""Without the store: the answer goes on unlogged or fails as asked, the breaker, the tombstone, the store's return."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import FaultError, StoreCorruptError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import FirstItem, LiveStream
from streamguard.runtime.request import Ending
from streamguard.stores.appends import AppendReply
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.values import EventKind, Outcome, SessionKey, StreamState

from ..harness.waiting import wait_until_async
from .lines import Line
from .stage import KEY, Model, Reading, Worker, closed, log_of, payloads, quick, read, saying, terminals, working

pytestmark = pytest.mark.anyio


async def spoken(worker: Worker, *items: str, on_store_failure: str = "continue") -> tuple[Model, LiveStream]:
    """A stream whose items so far are logged."""
    model = Model(*items)
    stream = await worker.start(model, worker.request(on_store_failure=on_store_failure))  # type: ignore[arg-type]
    await wait_until_async(lambda: stream.acked == len(items), description="it is logged")
    return model, stream


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


async def test_one_lost_append_reply(memory: MemoryStore) -> None:
    """Promise I1. The append is asked again; the log holds each event once."""
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a")
        line.lost["append"] = 1
        model.say("b")
        await wait_until_async(lambda: stream.acked == 2, description="acknowledged the second time")
        model.end()
        reading = await worker.watch(stream)
    assert (reading.text, reading.ids) == ("ab", [1, 2, 3])
    assert payloads(await log_of(memory, stream.ref)) == [b"a", b"b"]
    await closed(memory, stream.ref)


@pytest.mark.parametrize("returns", [False, True])
async def test_store_lost_in_mid_stream(memory: MemoryStore, returns: bool) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a", "b")
        viewer = worker.view(stream)
        into = Reading()
        await read(viewer, into, until=lambda r: len(r.events) == 2)
        line.down = True
        model.say("c")
        await read(viewer, into, until=lambda r: "c" in r.text)
        assert stream.degraded
        assert worker.runtime.breaker.open
        if returns:
            line.down = False
            await wait_until_async(lambda: not worker.runtime.breaker.open, description="the breaker closed")
            await wait_until_async(lambda: line.calls["declare_lost"], description="the lost log was declared")
            with pytest.raises(FaultError) as refused:
                await worker.runtime.sessions.resume(KEY, None)
            assert refused.value.fault.reason == "not_registered"
        model.say("d")
        model.end()
        reading = await read(viewer, into)
        line.down = False
        await worker.idle()
        meta = await closed(memory, stream.ref)
    assert reading.text == "abcd"
    assert reading.ids == [1, 2], "what is not in the log has no id"
    assert reading.notices == [("not_resumable", "append_deadline")]
    assert (reading.outcome, reading.over) == ("completed", True)
    assert meta.lost
    assert [kind for _, kind, _ in await log_of(memory, stream.ref)] == [EventKind.DATA] * 2 + [EventKind.TERMINAL]
    assert worker.faults() == [FaultCode.NOT_RESUMABLE]


@pytest.mark.parametrize("when", ["while it speaks", "at its last event"])
async def test_store_lost_in_mid_stream_and_asked_to_fail(memory: MemoryStore, when: str) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a", on_store_failure="fail")
        line.down = True
        model.say("b")
        if when == "at its last event":
            model.end()
            await wait_until_async(lambda: stream.finalising, description="the model is through")
        reading = await worker.watch(stream)
        assert reading.outcome == "failed"
        assert reading.notices == [("store_unavailable", "append_deadline")]
        assert reading.ids == [1]
        assert stream.fault is not None
        line.down = False
        await worker.idle()
        (terminal,) = terminals(await log_of(memory, stream.ref))
        assert terminal.outcome is Outcome.FAILED
    assert worker.faults() == [FaultCode.STORE_UNAVAILABLE]


async def test_a_stop_stays_a_stop_when_the_log_fails_under_it(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a", on_store_failure="fail")
        line.down = True
        model.say("b")
        await wait_until_async(lambda: stream.activity.items == 2, description="it was said")
        stream.stop()
        assert (await worker.watch(stream)).outcome == "stopped"
        line.down = False


@pytest.mark.long
async def test_a_degraded_streams_heartbeat_does_not_wake_itself(memory: MemoryStore) -> None:
    """Declaring a log lost causes a hint, and the writer listens: it must not answer with the next declaration."""
    line = Line(memory)
    async with working(line, quick(heartbeat_seconds=0.2)) as worker:
        model, stream = await spoken(worker, "a")
        line.broken = {"append"}
        model.say("b")
        await wait_until_async(lambda: stream.degraded, description="it is degraded")
        line.broken = set()
        await wait_until_async(lambda: line.calls["declare_lost"] >= 2, description="declared twice")
        beats = line.calls["declare_lost"]
        await wait_until_async(lambda: line.calls["declare_lost"] > beats, description="and again")
        assert line.calls["declare_lost"] <= beats + 2
        model.end()
        await worker.idle()


async def test_stop_of_a_degraded_stream(memory: MemoryStore) -> None:
    """Here at once; from another worker by the flag that the next heartbeat brings back."""
    line = Line(memory)
    async with working(line) as worker, working(memory) as other:
        _, stream = await spoken(worker, "a")
        stream.degrade("test")
        await wait_until_async(lambda: line.calls["declare_lost"], description="the store knows")
        assert await other.runtime.sessions.stop(KEY) is not None
        assert (await worker.watch(stream)).outcome == "stopped"
        await worker.idle()
        _, here = await spoken(worker, "a")
        here.degrade("test")
        assert await worker.runtime.sessions.stop(KEY) is here
        assert (await worker.watch(here)).outcome == "stopped"


async def test_stop_of_an_unheard_degraded_stream_by_its_heartbeat(memory: MemoryStore) -> None:
    line = Line(memory)
    line.broken = {"listen"}
    async with working(line) as worker:
        _, stream = await spoken(worker, "a")
        stream.degrade("test")
        await memory.request_stop(stream.ref)
        assert (await worker.watch(stream)).outcome == "stopped"


async def test_stop_of_a_logged_stream_while_the_store_is_down(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        _, stream = await spoken(worker, "a")
        line.down = True
        assert await worker.runtime.sessions.stop(KEY) is stream
        assert (await worker.watch(stream)).outcome == "stopped"
        line.down = False
        await worker.idle()
        (terminal,) = terminals(await log_of(memory, stream.ref))
        assert terminal.outcome is Outcome.STOPPED
        line.down = True
        with pytest.raises(FaultError):
            await worker.runtime.sessions.stop(SessionKey("ana", "elsewhere"))
        line.down = False


# -- the end without the store -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["seal", "close"])
async def test_one_lost_reply_at_the_end(memory: MemoryStore, step: str) -> None:
    line = Line(memory)
    line.lost[step] = 1
    async with working(line) as worker:
        reading = await worker.tell(saying("a"))
        assert (reading.ids, reading.outcome) == ([1, 2], "completed")
        await closed(memory, next(iter(worker.signals(Signal.STREAM_ENDED))).ref)  # type: ignore[arg-type]


@pytest.mark.promise("I4")
@pytest.mark.parametrize("step", ["seal", "close"])
async def test_a_store_that_is_gone_at_the_end(memory: MemoryStore, step: str) -> None:
    """Viewers get the end without ids; the process goes on trying, and the log, which is whole, gets it too."""
    line = Line(memory)
    line.broken = {step, "ping"}
    async with working(line) as worker:
        stream = await worker.start(saying("a"), worker.request(protocol="ui-message"))
        reading = await worker.watch(stream)
        assert [event.data for event in reading.events][-2:] == ['{"type":"finish"}', "[DONE]"]
        assert reading.ids == [1, 2, 3, 4]
        assert worker.runtime.breaker.open
        line.broken = set()
        await worker.idle()
        meta = await closed(memory, stream.ref)
        assert not meta.lost
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.COMPLETED
        assert len(worker.signals(Signal.STREAM_ENDED)) == 1
        replay = await read(await worker.resume())
        assert [event.data for event in replay.events] == [event.data for event in reading.events]


@pytest.mark.long
async def test_while_the_breaker_is_open_nobody_retries(memory: MemoryStore) -> None:
    line = Line(memory)
    line.down = True
    async with working(line, quick(max_streams_per_owner=50)) as worker:
        for n in range(20):
            await worker.tell(saying("a"), worker.request(SessionKey("ana", f"s{n}")))
        pings = line.calls["ping"]
        await wait_until_async(lambda: line.calls["ping"] >= pings + 10, description="the breaker probes")
        assert line.calls["declare_lost"] == 20, "each tombstone was tried once"
        line.down = False
        await worker.idle()
    for seen in worker.signals(Signal.STREAM_OPENED):
        assert seen.ref is not None
        assert len(terminals(await log_of(memory, seen.ref))) == 1


@pytest.mark.parametrize(
    ("before", "outcome_in_log"),
    [("seal", "log_lost"), ("close", None)],
)
async def test_a_store_that_comes_back_empty_at_the_end(
    memory: MemoryStore, before: str, outcome_in_log: str | None
) -> None:
    """Gone before the seal: a tombstone says so. Gone between seal and close: nothing is written any more."""
    line = Line(memory)

    async def vanish() -> None:
        entry = memory._tables.sessions.pop(KEY)
        for stream in list(entry.streams.values()):
            memory._tables.forget(entry, stream)

    line.before[before] = vanish
    async with working(line) as worker:
        stream = await worker.start(saying("a"), worker.request(protocol="ui-message"))
        reading = await worker.watch(stream)
        await worker.idle()
    assert [event.data for event in reading.events][-2:] == ['{"type":"finish"}', "[DONE]"], "and the answer is whole"
    assert [terminal.reason for terminal in terminals(await log_of(memory, stream.ref))] == (
        [outcome_in_log] if outcome_in_log else []
    )


@pytest.mark.parametrize("heard_by", ["append", "heartbeat"])
async def test_a_log_that_vanishes_in_mid_stream(memory: MemoryStore, heard_by: str) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a")
        entry = memory._tables.sessions.pop(KEY)
        for record in list(entry.streams.values()):
            memory._tables.forget(entry, record)
        if heard_by == "append":
            model.say("b")
        await wait_until_async(lambda: stream.degraded, description="it is degraded")
        model.end()
        reading = await worker.watch(stream)
        assert reading.notices == [("not_resumable", "log_gone")]


async def test_an_erased_session_is_not_made_again_by_its_tombstone(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model, stream = await spoken(worker, "a")
        await memory.erase(KEY, mark_seconds=60)
        model.say("b")
        await wait_until_async(lambda: stream.log.disowned, description="it is told")
        model.end()
        assert (await worker.watch(stream)).over
        await worker.idle()
        assert (await memory.session(KEY)).last_id is None


# -- an older snapshot -------------------------------------------------------------------------------------------------


def forget_after(memory: MemoryStore, stream: LiveStream, seq: int) -> None:
    """What a restart from an older snapshot does to a log."""
    entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
    del entry.events[seq:]


@pytest.mark.promise("I1")
async def test_a_gap_is_filled_from_the_writers_window(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model, stream = await spoken(worker, "a", "b", "c")
        forget_after(memory, stream, 1)
        model.say("d")
        model.end()
        reading = await worker.watch(stream)
        await closed(memory, stream.ref)
    assert (reading.text, reading.ids) == ("abcd", [1, 2, 3, 4, 5])
    assert payloads(await log_of(memory, stream.ref)) == [b"a", b"b", b"c", b"d"]


async def test_a_gap_found_by_the_seal_is_filled_too(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model, stream = await spoken(worker, "a", "b", "c")
        forget_after(memory, stream, 1)
        model.end()
        reading = await worker.watch(stream)
        await closed(memory, stream.ref)
    assert (reading.text, reading.ids, reading.outcome) == ("abc", [1, 2, 3, 4], "completed")


@pytest.mark.parametrize("found_by", ["append", "seal"])
async def test_a_gap_beyond_the_window_loses_the_log(memory: MemoryStore, found_by: str) -> None:
    async with working(memory, quick(viewer_backlog_bytes=1_000)) as worker:
        model, stream = await spoken(worker, *["x" * 100_000] * 40)
        assert stream.feed.base > 0
        forget_after(memory, stream, 0)
        viewer = worker.view(stream)
        viewer.position = 40
        if found_by == "append":
            model.say("y")
        model.end()
        reading = await read(viewer)
        await worker.idle()
        assert (reading.over, reading.ids) == (True, [])
        assert (await closed(memory, stream.ref)).lost


async def test_a_gap_that_cannot_be_filled_in_time(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a", "b", "c")
        forget_after(memory, stream, 1)
        line.broken = {"append"}
        model.end()
        reading = await worker.watch(stream)
        line.broken = set()
        await worker.idle()
        assert (reading.text, reading.outcome) == ("abc", "completed")
        assert (await closed(memory, stream.ref)).lost


async def test_a_refused_append_is_tried_again(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a")
        line.answers["append"] = [[AppendReply(Status.REFUSED, 0, False)]]
        model.say("b")
        model.end()
        assert (await worker.watch(stream)).ids == [1, 2, 3]
        line.answers["append"] = [[AppendReply(Status.REFUSED, 0, False)]] * 100
        reading = await worker.tell(saying("c"))
        line.answers.clear()
        assert (reading.ids, reading.over) == ([], True)


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
