"""Scenes of streams, their log, and who views them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from starlette.exceptions import HTTPException

from streamguard import Run, Signal
from streamguard.quota import Quota

from ..faults.application import SESSION, Application
from .meter import Meter
from .scenes import Stage, moves

__all__ = ["LIMIT", "UNHURRIED", "talk"]

LIMIT = Quota(100, "day", "requests")
UNHURRIED: Final[dict[str, Any]] = {"save_visible_seconds": 5.0, "settle_visible_seconds": 5.0}
"""Where the end of a stream is to wait for its save."""


async def talk(app: Application, _: Run) -> AsyncIterator[object]:
    """Four commits: a tool call, and its result, text, and more text once the application may go on."""
    yield {"type": "tool-input-available", "toolCallId": "c", "toolName": "search", "input": {}}
    await asyncio.sleep(0.02)  # the gap that is measured
    yield {"type": "tool-output-available", "toolCallId": "c", "output": {}}
    yield {"type": "text-start", "id": "t"}
    yield {"type": "text-delta", "id": "t", "delta": "Hello"}
    await app.go.wait()
    yield {"type": "text-delta", "id": "t", "delta": "."}
    yield {"type": "text-end", "id": "t"}


@moves(
    "streams_opened_total",
    "admission_seconds",
    "time_to_first_event_seconds",
    "first_event_added_seconds",
    "provider_first_item_seconds",
    "stream_terminal_total",
    "stream_seconds",
    "finish_seconds",
    "stream_bytes",
    "tool_calls_total",
    "log_commits_total",
    "log_appends_total",
    "log_events_total",
    "log_bytes_total",
    "append_seconds",
    "queued_seconds",
    "inter_event_seconds",
    "event_bytes",
    "batch_bytes",
    "viewers_joined_total",
    "viewers_left_total",
    "persist_total",
    "persist_seconds",
    "quota_reserved_units_total",
    "quota_spent_units_total",
    "quota_settled_total",
    "quota_reserve_seconds",
)
async def answers(stage: Stage) -> None:
    """Three answers that lack nothing."""
    meter = stage.meter
    app = stage.application(script=talk, messages=stage.messages, quota=LIMIT, samples_per_second=1_000, **UNHURRIED)
    async with app.running() as chat:
        for _ in range(3):
            answer = await stage.whole(app, chat)
        await chat.seen(Signal.VIEWER_LEFT, count=3)
    ended = [seen.fields for seen in chat.observations if seen.name is Signal.STREAM_ENDED]
    assert answer.status == 200
    assert meter.counts("streams_opened_total") == {("chat", "ui-message", "no"): 3}
    assert meter.counts("stream_terminal_total") == {("chat", "completed", "yes"): 3}
    assert meter.counts("viewers_joined_total") == {("no",): 3}
    assert meter.counts("viewers_left_total") == {("ended",): 3}
    assert meter.counts("tool_calls_total") == {("called",): 3, ("finished",): 3}
    assert meter.counts("persist_total") == {("saved", "chat"): 3}
    assert meter.counts("quota_settled_total") == {("charged",): 3}
    for name in (
        "admission_seconds",
        "time_to_first_event_seconds",
        "first_event_added_seconds",
        "provider_first_item_seconds",
        "stream_seconds",
        "finish_seconds",
        "persist_seconds",
        "quota_reserve_seconds",
    ):
        assert (name, meter.times(name)) == (name, 3)
        meter.observed(name, most=5.0)
    assert meter.observed("stream_seconds") > 3 * 0.02
    assert meter.observed("stream_seconds") >= meter.observed("finish_seconds") > 0
    assert meter.observed("stream_bytes") == sum(int(str(fields["bytes"])) for fields in ended)
    assert meter.observed("append_seconds", most=1.0) > 0
    assert meter.observed("queued_seconds", most=1.0) > 0
    assert meter.observed("inter_event_seconds", most=1.0) > 0.01
    assert meter.observed("event_bytes", most=500) > 20
    assert meter.observed("batch_bytes", most=5_000) > 20
    assert 3 <= meter.total("log_appends_total") == meter.total("log_commits_total")
    # Those of the streams' ends are not appended, but written with the close: they count all the same.
    assert meter.total("log_events_total") == sum(int(str(fields["events"])) for fields in ended) > 3 * 7
    assert meter.total("log_bytes_total") == meter.observed("stream_bytes")
    reserved, spent = meter.counts("quota_reserved_units_total"), meter.counts("quota_spent_units_total")
    assert reserved == spent == {("requests",): 3}
    for name in ("faults_total", "accepted_not_durable_total", "notices_dropped_total", "fenced_total"):
        assert (name, meter.total(name)) == (name, 0)


@moves("streams_withdrawn_total")
async def no_stream(stage: Stage) -> None:
    """The host's endpoint refuses a request: there is no stream, and none that failed."""

    async def refuse(app: Application, run: Run) -> AsyncIterator[object]:
        if not app.go.is_set():
            raise HTTPException(404)
        yield "one"

    app = stage.application(script=refuse)
    async with app.running() as chat:
        assert (await app.ask(chat)).status == 404
        await chat.seen(Signal.STREAM_WITHDRAWN)
    assert stage.meter.counts("streams_withdrawn_total") == {("chat",): 1}
    assert stage.meter.total("streams_opened_total") == 1
    for name in ("stream_terminal_total", "faults_total", "time_to_first_event_seconds"):
        assert (name, stage.meter.total(name)) == (name, 0)


@moves("append_retries_total", "append_failures_total")
async def an_append_is_tried_again(stage: Stage) -> None:
    """Its reply is lost once: what it carried is counted once."""
    app = stage.application(script=talk)
    async with app.running() as chat:
        chat.store.lose_reply("append")
        app.go.set()
        answer = await app.ask(chat)
        await answer.whole()
        await chat.ended(answer)
    assert (stage.meter.total("append_failures_total"), stage.meter.total("append_retries_total")) == (1, 1)
    assert stage.meter.total("degraded_total") == 0
    fields = next(seen.fields for seen in chat.observations if seen.name is Signal.STREAM_ENDED)
    assert stage.meter.total("log_events_total") == fields["events"]
    assert stage.meter.total("log_bytes_total") == fields["bytes"]


@moves(
    "breaker_opened_total",
    "breaker_state",
    "degraded_total",
    "accepted_not_durable_total",
    "faults_total",
    "queued_events",
    "queued_bytes",
)
async def redis_is_away(stage: Stage) -> None:
    """Its connections are cut, and it takes no others for a while."""
    meter = stage.meter
    app = stage.application(script=talk, append_deadline_seconds=1.0)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.read(3)
        assert meter.gauge("breaker_state") == 0
        stage.proxy.refuse()
        app.go.set()
        await meter.until("queued_events", lambda count: count > 0)
        await meter.until("queued_bytes", lambda count: count > 0)
        await chat.seen(Signal.BREAKER_OPENED)
        assert meter.gauge("breaker_state") == 1
        await answer.whole()
        stage.proxy.forward()
        await chat.seen(Signal.BREAKER_CLOSED)
        assert meter.gauge("breaker_state") == 0
        await chat.ended(answer)
        await meter.until("queued_events", lambda count: count == 0)
        await meter.until("queued_bytes", lambda count: count == 0)
    (((store, why), count),) = meter.counts("breaker_opened_total").items()
    assert (store, count) == ("streams", 1)
    assert why in ("connection_refused", "connection_lost")
    assert sum(meter.counts("degraded_total").values()) == 1
    assert meter.counts("accepted_not_durable_total") == {("log",): 1}
    assert {code: count for (_, code, *_), count in meter.counts("faults_total").items()} == {"not_resumable": 1}


@moves("fenced_total")
async def another_worker_takes_over(stage: Stage) -> None:
    app = stage.application(script=talk)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.read(3)
        store = stage.store()
        await store.take_over(stage.ref(answer), lease_seconds=60.0, force=True)
        app.go.set()
        await chat.seen(Signal.STREAM_SUPERSEDED)
        await store.aclose()
    assert stage.meter.total("fenced_total") == 1
    assert stage.meter.total("stream_terminal_total") == 0


@moves("resume_total")
async def clients_come_back(stage: Stage) -> None:
    """On the worker that writes, and on another; to what is nothing, and to what cannot be."""
    viewing = Meter()
    app = stage.application(script=talk, replay_after_finish_seconds=0)
    other = stage.application(script=talk, meter=viewing)
    async with app.running() as chat, other.running() as elsewhere:
        assert (await chat.resume(SESSION)).status == 204
        answer = await app.ask(chat)
        await answer.read(3)
        for visited in (chat, elsewhere):
            assert (await visited.resume(SESSION)).status == 200
        refused = await chat.resume(SESSION, after=f"1.{answer.stream_id}.1.70000")
        assert refused.status == 410
        app.go.set()
        await answer.whole()
        await chat.ended(answer)
        assert (await chat.resume(SESSION)).status == 204
        await elsewhere.seen(Signal.VIEWER_LEFT)
    assert stage.meter.counts("resume_total") == {
        ("empty", "none"): 1,
        ("empty", "finished"): 1,
        ("resumed", "open"): 1,
        ("failed", "cursor_ahead"): 1,
    }
    assert viewing.counts("resume_total") == {("resumed", "open"): 1}
    assert viewing.counts("viewers_joined_total") == {("yes",): 1}


@moves("viewers_cut_total", "draining")
async def a_worker_drains(stage: Stage) -> None:
    """One that views the stream of another."""
    viewing = stage.meter
    app, other = stage.application(script=talk, meter=Meter()), stage.application(script=talk)
    async with app.running() as chat:
        await (await app.ask(chat)).read(3)
        async with other.running() as elsewhere:
            again = await elsewhere.resume(SESSION)
            await again.read(1)
            assert viewing.gauge("draining") == 0
            stopping = asyncio.ensure_future(other.guard.drain())
            await elsewhere.seen(Signal.DRAIN_STARTED)
            assert viewing.gauge("draining") == 1
            await stopping
            await elsewhere.seen(Signal.VIEWER_LEFT)
    assert viewing.counts("viewers_cut_total") == {("drained",): 1}
    assert viewing.counts("viewers_left_total") == {("drained",): 1}


@moves("stops_requested_total")
async def a_user_stops(stage: Stage) -> None:
    app = stage.application(script=talk)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.read(3)
        assert (await chat.stop(SESSION)).status == 202
        await answer.whole()
        await chat.ended(answer)
    assert stage.meter.total("stops_requested_total") == 1
    assert stage.meter.counts("stream_terminal_total") == {("chat", "stopped", "not_asked"): 1}


@moves("sessions_erased_total")
async def a_user_erases(stage: Stage) -> None:
    """While the answer goes on: that it is saved nowhere is what its user wanted."""
    app = stage.application(script=talk, messages=stage.messages)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.read(3)
        assert (await chat.delete(SESSION)).status == 204
        app.go.set()
        await chat.ended(answer)
        await chat.idle()
    assert stage.meter.total("sessions_erased_total") == 1
    assert stage.meter.counts("accepted_not_durable_total") == {}


@moves("notices_dropped_total")
async def too_much_is_told(stage: Stage) -> None:
    async def script(_: Application, run: Run) -> AsyncIterator[object]:
        yield {"type": "text-start", "id": "t"}
        for _number in range(20):
            run.notice("quota_pending")
        yield {"type": "text-end", "id": "t"}

    app = stage.application(script=script, max_stream_events=100)
    async with app.running() as chat:
        ended = await chat.ended(await stage.whole(app, chat))
    assert 0 < stage.meter.total("notices_dropped_total") == ended.fields["notices_dropped"]


@moves("endpoints_abandoned_total", long=True)
async def an_endpoint_does_not_hear(stage: Stage) -> None:
    async def script(app: Application, _: Run) -> AsyncIterator[object]:
        yield {"type": "text-start", "id": "t"}
        while not app.go.is_set():
            with suppress(asyncio.CancelledError):
                await app.go.wait()

    app = stage.application(script=script)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.read(2)
        await chat.stop(SESSION)
        await chat.seen(Signal.ENDPOINT_ABANDONED)
    assert stage.meter.total("endpoints_abandoned_total") == 1


@moves("streams_active", "viewers")
async def streams_come_and_go(stage: Stage) -> None:
    meter = stage.meter
    app = stage.application(script=talk)
    async with app.running() as chat:
        first = await app.ask(chat)
        second = await app.ask(chat, session="another")
        await first.read(3)
        again = await chat.resume(SESSION)
        await again.read(1)
        await meter.until("streams_active", lambda count: count == 2)
        await meter.until("viewers", lambda count: count == 3)
        again.drop()
        await meter.until("viewers", lambda count: count == 2)
        app.go.set()
        for answer in (first, second):
            await answer.whole()
            await chat.ended(answer)
        await meter.until("streams_active", lambda count: count == 0)
        await meter.until("viewers", lambda count: count == 0)
    assert meter.total("viewers_joined_total") == meter.total("viewers_left_total") == 3
