"""Scenes of what is saved, charged and repaired."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from streamguard import Observation, Run, Signal
from streamguard.errors import MessageConflictError, MessageInvalidError, QuotaUnavailableError
from streamguard.messages import MemoryMessageStore
from streamguard.quota import RedisQuotaStore, Settlement
from streamguard.stores import NewStream, RedisClient
from streamguard.testing import FaultyMessageStore, FaultyStore
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id

from ..faults.application import SESSION, Application
from .scenes import OWNER, Stage, moves
from .scenes_of_streams import LIMIT, UNHURRIED, talk

__all__ = ["fails"]


@moves(
    "outbox_entries",
    "persist_pending_oldest_seconds",
    "persist_failures_total",
    "message_breaker_state",
)
async def the_database_is_away(stage: Stage) -> None:
    """For a while: what is owed is saved when it is back."""
    meter, messages = stage.meter, stage.messages
    app = stage.application(script=talk, messages=messages, lease_seconds=0.3, save_total_seconds=5.0)
    async with app.running() as chat:
        messages.faults.fail()
        await stage.whole(app, chat)
        await chat.seen(Signal.SAVE_OWED)
        assert await meter.until("outbox_entries", lambda count: count > 0) == 1
        assert await meter.until("persist_pending_oldest_seconds", lambda seconds: seconds > 0.1) < 20
        await meter.until("message_breaker_state", lambda state: state == 1)
        messages.faults.heal()
        await chat.seen(Signal.SAVE_RECOVERED)
        await meter.until("message_breaker_state", lambda state: state == 0)
        await meter.until("outbox_entries", lambda count: count == 0)
        await meter.until("persist_pending_oldest_seconds", lambda seconds: seconds == 0)
    saves = meter.counts("persist_total")
    assert (saves["saved", "chat"], saves["owed", "chat"], saves["recovered", ""]) == (1, 1, 1)
    assert ("buried", "") not in saves
    assert meter.counts("breaker_opened_total") == {("messages", "other"): 1}
    assert sum(meter.counts("persist_failures_total").values()) == saves.get(("failed", "chat"), 0)
    assert meter.counts("accepted_not_durable_total") == {}


@moves("saves_under_way")
async def a_save_takes_long(stage: Stage) -> None:
    meter, messages = stage.meter, stage.messages
    app = stage.application(script=talk, messages=messages, save_total_seconds=5.0)
    async with app.running() as chat:
        messages.faults.hold("append")
        app.go.set()
        answer = await app.ask(chat)
        await messages.faults.held("append")
        assert await meter.until("saves_under_way", lambda count: count > 0) == 1
        messages.faults.heal()
        await answer.whole()
        await chat.ended(answer)
        await meter.until("saves_under_way", lambda count: count == 0)


class Refusing(MemoryMessageStore):
    """Takes no replies."""

    async def append(self, *args: Any, **options: Any) -> Any:
        raise MessageInvalidError("too long", operation="append")


class Conflicting(MemoryMessageStore):
    """Has other replies than these."""

    async def append(self, *args: Any, **options: Any) -> Any:
        raise MessageConflictError("another content", operation="append")


@moves("dead_letters")
async def a_reply_is_refused(stage: Stage) -> None:
    """For good: one answer is lost, once, until an operator has it tried again."""
    meter = stage.meter
    app = stage.application(script=talk, messages=Refusing(), lease_seconds=0.3)
    async with app.running() as chat:
        answer = await stage.whole(app, chat)
        await chat.seen(Signal.SAVE_BURIED)
        assert await meter.until("dead_letters", lambda count: count > 0) == 1
        assert meter.counts("accepted_not_durable_total") == {("message",): 1}
        assert (await chat.delete(SESSION)).status == 204
        assert answer.stream_id
        await meter.until("dead_letters", lambda count: count == 0)
    assert meter.counts("accepted_not_durable_total") == {("message",): 1}


@moves()
async def the_database_and_redis_are_away(stage: Stage) -> None:
    """An answer without a log, of which no save can be owed: it is lost in both ways, once in each."""
    meter, messages = stage.meter, stage.messages
    app = stage.application(script=talk, messages=messages, save_total_seconds=0.3, append_deadline_seconds=1.0)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.read(3)
        messages.faults.fail()
        chat.store.fail()
        app.go.set()
        await chat.seen(Signal.STREAM_DEGRADED)
        await answer.whole()
        chat.store.heal()
        await chat.ended(answer)
        await chat.idle()
    assert meter.counts("accepted_not_durable_total") == {("log",): 1, ("message",): 1}
    assert meter.counts("stream_terminal_total") == {("chat", "completed", "no"): 1}


@moves()
async def another_reply_is_stored_already(stage: Stage) -> None:
    """Under the same id, as is the question: those stand, and this answer is lost, once."""
    meter = stage.meter
    app = stage.application(script=talk, messages=Conflicting(), lease_seconds=0.3, **UNHURRIED)
    async with app.running() as chat:
        await stage.whole(app, chat)
        await chat.idle()
    assert meter.counts("accepted_not_durable_total") == {("message",): 1}
    faults = {labels[1]: count for labels, count in meter.counts("faults_total").items()}
    assert faults == {"save_conflict": 2}, "the user's message too"


@moves()
async def another_reply_is_stored_meanwhile(stage: Stage) -> None:
    """While this one is owed: it is lost once, and a fault that nobody was told of."""
    meter, messages = stage.meter, FaultyMessageStore(Conflicting())
    app = stage.application(script=talk, messages=messages, lease_seconds=0.3, save_total_seconds=0.2)
    async with app.running() as chat:
        messages.faults.fail()
        await stage.whole(app, chat)
        await chat.seen(Signal.SAVE_OWED)
        await meter.until("outbox_entries", lambda count: count == 1)
        assert meter.counts("accepted_not_durable_total") == {}
        messages.faults.heal()
        await meter.until("outbox_entries", lambda count: count == 0)
    assert meter.counts("accepted_not_durable_total") == {("message",): 1}
    assert "save_conflict" in {labels[1] for labels in meter.counts("faults_total")}


class Charging(RedisQuotaStore):
    """Cannot be reached when it is to charge, for a while."""

    away = True

    async def commit(self, ref: StreamRef, amounts: Mapping[str, int] | None = None) -> Settlement:
        if self.away:
            raise QuotaUnavailableError("commit: away", operation="commit")
        return await super().commit(ref, amounts)


@moves("settlements_recovered_total")
async def the_quota_service_is_away(stage: Stage) -> None:
    """When it is to be charged: it is charged later, once."""
    meter = stage.meter
    async with RedisClient(stage.url, command_seconds=5) as client:
        quotas = Charging(client)
        app = stage.application(script=talk, messages=stage.messages, quota=LIMIT, quotas=quotas, lease_seconds=0.3)
        async with app.running() as chat:
            await stage.whole(app, chat)
            assert meter.counts("quota_settled_total") == {("pending",): 1}
            assert meter.total("quota_spent_units_total") == 0
            quotas.away = False
            await chat.seen(Signal.SETTLEMENT_RECOVERED)
            await chat.idle()
    assert meter.total("settlements_recovered_total") == 1
    assert meter.counts("quota_settled_total") == {("pending",): 1, ("charged",): 1}
    assert meter.counts("quota_spent_units_total") == {("requests",): 1}
    assert meter.counts("accepted_not_durable_total") == {}


@moves(
    "quota_reservations",
    "quota_reservations_stale",
    "quota_reservations_oldest_seconds",
    "quota_reservations_expired_total",
)
async def a_worker_dies_between_reserving_and_beginning(stage: Stage) -> None:
    meter = stage.meter
    async with RedisClient(stage.url, command_seconds=5) as client:
        quotas = RedisQuotaStore(client, hold_seconds=0.2, stale_seconds=0.1)
        app = stage.application(script=talk, quota=LIMIT, quotas=quotas, lease_seconds=0.3)
        async with app.running() as chat:
            await meter.until("reconciler_rounds_total", lambda count: count > 0)
            assert meter.gauge("quota_reservations") == 0
            ref = StreamRef(SessionKey(OWNER, "dead"), new_stream_id())
            await quotas.reserve(ref, {"requests": 1}, [LIMIT])
            assert await meter.until("quota_reservations", lambda count: count > 0) == 1
            assert await meter.until("quota_reservations_stale", lambda count: count > 0) == 1
            assert await meter.until("quota_reservations_oldest_seconds", lambda seconds: seconds > 0.1) < 20
            await app.guard.reconcile(patience=False)
            await chat.seen(Signal.RESERVATION_EXPIRED)
            for name in ("quota_reservations", "quota_reservations_stale", "quota_reservations_oldest_seconds"):
                await meter.until(name, lambda value: value == 0)
    assert meter.total("quota_reservations_expired_total") == 1


@moves("quota_drift_units")
async def counters_are_wrong(stage: Stage) -> None:
    """As after a restore of an old snapshot; until they are repaired."""
    meter = stage.meter
    async with RedisClient(stage.url, command_seconds=5) as client:
        quotas = RedisQuotaStore(client)
        app = stage.application(script=talk, quota=LIMIT, quotas=quotas, lease_seconds=0.3)
        async with app.running() as chat:
            answer = await app.ask(chat)
            await answer.read(3)
            (ledger,) = stage.redis.scan_iter(match="streamguard:{q.*}:l")
            name = f"w:{LIMIT.unit}:{LIMIT.period_ms}"
            right = stage.redis.hget(ledger, name)
            assert isinstance(right, bytes)
            stage.redis.hset(ledger, name, right.replace(b'"0","1"', b'"0","6"'))
            assert await meter.until("quota_drift_units", lambda units: units != 0) == 5
            assert (await quotas.audit(OWNER, [LIMIT], repair=True)).drift == 5
            await meter.until("quota_drift_units", lambda units: units == 0)


async def fails(_: Application, __: Run) -> AsyncIterator[object]:
    """The model gives something, and then fails."""
    yield {"type": "text-start", "id": "t"}
    raise ConnectionResetError("the model's connection broke")


@moves("provider_aborts_total")
async def the_model_fails(stage: Stage) -> None:
    app = stage.application(script=fails)
    async with app.running() as chat:
        answer = await app.ask(chat)
        await answer.whole()
        await chat.ended(answer)
    ((labels, count),) = stage.meter.counts("provider_aborts_total").items()
    assert (count, labels[0], labels[3]) == (1, "chat", "yes")
    fault = ("provider", "provider_aborted", "chat", "ConnectionResetError")
    assert stage.meter.counts("faults_total") == {fault: 1}
    assert stage.meter.counts("stream_terminal_total") == {("chat", "failed", "not_asked"): 1}


class Torn(FaultyStore):
    """A driver of the host's that raises what it should not, once."""

    def __init__(self, inner: Any, step: str, error: Exception) -> None:
        super().__init__(inner)
        self._torn: dict[str, Exception] = {step: error}

    async def _pass(self, step: str, call: Any) -> Any:
        if (error := self._torn.pop(step, None)) is not None:
            raise error
        return await super()._pass(step, call)


@moves("task_restarts_total")
async def a_driver_is_broken(stage: Stage) -> None:
    app = stage.application(script=talk, store=Torn(stage.store(), "heartbeat", RuntimeError("not installed")))
    async with app.running() as chat:
        await (await app.ask(chat)).read(3)
        await chat.seen(Signal.TASK_RESTARTED)
        await stage.meter.until("task_restarts_total", lambda count: count > 0)
    assert stage.meter.total("task_restarts_total") == 1


@moves("records_unreadable_total", "orphans_ended_total", "expired_leases")
async def workers_died(stage: Stage) -> None:
    """Of three streams, one has a damaged record, and one speaks what only a later version knows."""
    meter, store = stage.meter, stage.store()
    refs = [StreamRef(SessionKey(OWNER, session), new_stream_id()) for session in ("whole", "damaged", "later")]
    for ref in refs:
        protocol = "tomorrow" if ref is refs[2] else "ui-message"
        new = NewStream(ref, new_message_id(), protocol, "chat", "")
        await store.register(new, lease_seconds=0.001, ttl_seconds=60.0, limit=None)
    for key in stage.redis.scan_iter(match="*"):
        if refs[1].stream_id.encode() in key and stage.redis.type(key) == b"hash":
            stage.redis.delete(key)
            stage.redis.set(key, "damaged", ex=60)
    app = stage.application(script=talk, lease_seconds=0.3)
    async with app.running() as chat:
        await chat.seen(Signal.ORPHAN_SETTLED)
        await chat.seen(Signal.RECORD_UNREADABLE)
        assert await meter.until("expired_leases", lambda count: count > 0) == 1
        await store.erase(refs[2].key, mark_seconds=1.0)
        await meter.until("expired_leases", lambda count: count == 0)
    await store.aclose()
    assert meter.counts("orphans_ended_total") == {("interrupted",): 1}
    assert meter.total("records_unreadable_total") == 1


@moves("reconciler_last_success_timestamp_seconds", "reconciler_rounds_total", "reconciler_round_seconds")
async def nothing_is_left_behind(stage: Stage) -> None:
    meter = stage.meter
    began = time.time()
    app = stage.application(script=talk, lease_seconds=0.3)
    async with app.running() as chat:
        assert meter.gauge("reconciler_last_success_timestamp_seconds") == 0
        await chat.seen(Signal.RECONCILED, count=2)
        first = meter.gauge("reconciler_last_success_timestamp_seconds")
        assert began < first <= time.time()
        assert meter.counts("reconciler_rounds_total").keys() == {("ok",)}
        assert meter.times("reconciler_round_seconds") == meter.total("reconciler_rounds_total") >= 2
        meter.observed("reconciler_round_seconds", most=2.0)


@moves("warnings_total")
async def too_much_would_be_told(stage: Stage) -> None:
    app = stage.application(script=talk, debug=True)
    async with app.running() as chat:
        warned = await chat.seen(Signal.STORE_WARNING)
    assert stage.meter.total("warnings_total") == len(warned)


@moves("observer_errors_total")
async def a_sink_fails(stage: Stage) -> None:
    told: list[Observation] = []

    def broken(observation: Observation) -> None:
        told.append(observation)
        raise ValueError("this sink is broken")

    app = stage.application(script=talk, observers=(broken,))
    async with app.running() as chat:
        await stage.whole(app, chat)
        await stage.meter.until("observer_errors_total", lambda count: count == len(told) > 0)
        assert chat.observations
    # What came after the last measurement is not counted.
    assert 0 < stage.meter.total("observer_errors_total") <= len(told)


@moves("event_loop_lag_seconds")
async def the_application_blocks(stage: Stage) -> None:
    meter = stage.meter
    app = stage.application(script=talk)
    async with app.running():
        asyncio.get_running_loop().call_soon(time.sleep, 0.15)
        assert await meter.until("event_loop_lag_seconds", lambda seconds: seconds > 0.1) < 5
        await meter.until("event_loop_lag_seconds", lambda seconds: seconds < 0.1)
