"""A store lost in mid-stream: the answer goes on unlogged or fails as asked, the tombstone, the store's return."""

from __future__ import annotations

import pytest

from streamguard.errors import FaultError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import LiveStream
from streamguard.stores.appends import AppendReply
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.values import EventKind, Outcome, SessionKey

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


async def test_the_notice_comes_before_the_events_without_ids(memory: MemoryStore) -> None:
    """A client that leaves right after one of those was told why it has no id."""
    line = Line(memory)
    async with working(line) as worker:
        model, stream = await spoken(worker, "a")
        line.down = True
        for item in "bcd":
            model.say(item)
        model.end()
        reading = await worker.watch(stream)
        line.down = False
        await worker.idle()
        meta = await closed(memory, stream.ref)
    assert [event.event for event in reading.events] == [
        "message",
        "streamguard.notice",
        *["message"] * 3,
        "streamguard.end",
    ]
    assert (reading.text, reading.ids) == ("abcd", [1])
    assert meta.lost


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


async def test_a_refused_heartbeat_says_nothing_of_the_log(memory: MemoryStore) -> None:
    """As one server of a cluster that is away for a moment answers, or one that is full."""
    line = Line(memory)
    async with working(line, quick(heartbeat_seconds=0.1)) as worker:
        model, stream = await spoken(worker, "a", "b")
        appended = len(line.batches)
        line.answers["heartbeat"] = [[AppendReply(Status.REFUSED, 0, False)]] * 3
        await wait_until_async(lambda: not line.answers["heartbeat"], description="three were refused")
        beats = line.calls["heartbeat"]
        await wait_until_async(lambda: line.calls["heartbeat"] > beats, description="one was carried out")
        assert len(line.batches) == appended
        assert not stream.degraded
        model.end()
        assert (await worker.watch(stream)).ids == [1, 2, 3]
        await worker.idle()


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
