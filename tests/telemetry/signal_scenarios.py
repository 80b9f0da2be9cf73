"""A scenario for each signal, through the public surface: each gives what was told when its signal came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from streamguard import Observation, Signal, StoreCorruptError
from streamguard.messages import MemoryMessageStore
from streamguard.observations import MEASUREMENTS
from streamguard.quota import CallableQuota, MemoryQuotaStore, Quota, QuotaCall
from streamguard.stores import NewStream
from streamguard.stores.memory import MemoryStore
from streamguard.testing import FaultyMessageStore, FaultyStore
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id

from .observed import Told, Worker, asked

__all__ = ["SCENARIOS", "Metering"]

T = TypeVar("T")

LIMIT: Final = Quota(10, "day", "requests")


async def answered(signal: Signal) -> Observation:
    worker = Worker(messages=MemoryMessageStore())
    async with worker.running() as chat:
        await worker.whole(chat)
    return await worker.told.of(signal)


class Metering(Told):
    """Asks for measurements only."""

    signals: Final = MEASUREMENTS


async def measured(signal: Signal) -> Observation:
    """What was written is told at the drain's end at the latest."""
    metering = Metering()
    worker = Worker(observers=(metering,))
    async with worker.running() as chat:
        await worker.whole(chat)
    written = await metering.of(Signal.LOG_WRITTEN)
    assert (written.fields["failures"], written.fields["retries"]) == (0, 0)
    assert written.samples.keys() >= {"append_seconds", "event_bytes", "batch_bytes"}
    assert {seen.name for seen in metering.observations} <= MEASUREMENTS
    assert not {seen.name for seen in worker.told.observations} & MEASUREMENTS
    return await metering.of(signal)


async def store_measured(signal: Signal) -> Observation:
    metering = Metering()
    worker = Worker(observers=(metering,), lease_seconds=0.2)
    async with worker.running():
        return await metering.of(signal)


async def tool_called(signal: Signal) -> Observation:
    worker = Worker(messages=MemoryMessageStore())
    call = {"toolCallId": "call_1"}
    worker.parts = [
        {"type": "tool-input-available", **call, "toolName": "weather", "input": {"city": "Paris"}},
        {"type": "tool-output-available", **call, "output": {"degrees": 21}},
    ]
    async with worker.running() as chat:
        await worker.whole(chat)
    told = [seen.fields for seen in worker.told.observations if seen.name is signal]
    shared = {"tool": "weather", "tool_call_id": "call_1"}
    assert told == [{**shared, "outcome": "called"}, {**shared, "outcome": "finished"}]
    return await worker.told.of(signal)


async def charged(signal: Signal) -> Observation:
    worker = Worker(quota=LIMIT, quotas=MemoryQuotaStore())
    async with worker.running() as chat:
        await worker.whole(chat)
        settled = await worker.told.of(Signal.QUOTA_SETTLED)
    assert settled.fields["outcome"] == "charged"
    assert (settled.fields["reserved_requests"], settled.fields["spent_requests"]) == (1, 1)
    return await worker.told.of(signal)


async def swept(signal: Signal) -> Observation:
    worker = Worker(lease_seconds=0.2)
    async with worker.running():
        round_over = await worker.told.of(Signal.RECONCILED)
        assert round_over.fields["outcome"] == "ok"
        return await worker.told.of(signal)


async def store_away(signal: Signal) -> Observation:
    worker = Worker()
    async with worker.running() as chat:
        chat.store.fail()
        worker.go.set()
        answer = await asked(chat)
        await answer.rest()
        await worker.told.of(Signal.BREAKER_OPENED)
        chat.store.heal()
        await worker.told.of(Signal.BREAKER_CLOSED)
        await chat.ended(answer)
    return await worker.told.of(signal)


async def taken_over(signal: Signal) -> Observation:
    """By another worker that thinks this one dead."""
    store = MemoryStore()
    worker = Worker(store)
    async with worker.running() as chat:
        answer = await asked(chat)
        assert answer.stream_id is not None
        ref = StreamRef(SessionKey("ann", "s"), answer.stream_id)
        await store.take_over(ref, lease_seconds=60.0, force=True)
        return await worker.told.of(signal)


async def resumed(signal: Signal) -> Observation:
    worker = Worker()
    async with worker.running() as chat:
        await asked(chat)
        again = await chat.resume("s")
        assert again.status == 200
        return await worker.told.of(signal)


async def nothing_to_resume(signal: Signal) -> Observation:
    worker = Worker()
    async with worker.running() as chat:
        assert (await chat.resume("unknown")).status == 204
        return await worker.told.of(signal)


async def resume_of_another(signal: Signal) -> Observation:
    worker = Worker()
    async with worker.running() as chat:
        assert (await chat.resume("s", after="not a cursor")).status == 400
        return await worker.told.of(signal)


async def stopped(signal: Signal) -> Observation:
    worker = Worker()
    async with worker.running() as chat:
        await asked(chat)
        assert (await chat.stop("s")).status == 202
        return await worker.told.of(signal)


async def erased(signal: Signal) -> Observation:
    worker = Worker()
    async with worker.running() as chat:
        await worker.whole(chat)
        assert (await chat.delete("s")).status == 204
        return await worker.told.of(signal)


async def failed(signal: Signal) -> Observation:
    worker = Worker()
    worker.fails = True
    async with worker.running() as chat:
        await worker.whole(chat)
        return await worker.told.of(signal)


async def viewer_of_another_worker(signal: Signal) -> Observation:
    """Who views the stream of a worker on a worker that ends is cut, to come back elsewhere."""
    store = MemoryStore()
    writing, viewing = Worker(store), Worker(store)
    async with writing.running() as writer:
        await asked(writer)
        async with viewing.running() as viewer:
            again = await viewer.resume("s")
            assert (await again.read(1)) != []
            await viewing.guard.drain()
            return await viewing.told.of(signal)


async def left_by_a_dead_worker(signal: Signal) -> Observation:
    store = MemoryStore()
    new = NewStream(
        StreamRef(SessionKey("ann", "s"), new_stream_id()), new_message_id(), "ui-message", "chat", "", request_id="r1"
    )
    await store.register(new, lease_seconds=0.001, ttl_seconds=60.0, limit=None)
    worker = Worker(store)
    async with worker.running():
        await worker.guard.reconcile(patience=False)
        return await worker.told.of(signal)


async def database_away(signal: Signal) -> Observation:
    messages = FaultyMessageStore(MemoryMessageStore())
    worker = Worker(messages=messages)
    async with worker.running() as chat:
        messages.faults.fail()
        await worker.whole(chat)
        await worker.told.of(Signal.SAVE_OWED)
        await worker.told.of(Signal.SAVE_FAILED)  # otherwise the attempt under way could succeed
        messages.faults.heal()
        await worker.told.of(Signal.SAVE_RECOVERED)
    return await worker.told.of(signal)


async def database_gone(signal: Signal) -> Observation:
    messages = FaultyMessageStore(MemoryMessageStore())
    worker = Worker(messages=messages, max_outbox_attempts=1)
    async with worker.running() as chat:
        messages.faults.fail()
        await worker.whole(chat)
        return await worker.told.of(signal)


async def quota_service_away(signal: Signal) -> Observation:
    away = True

    async def work(_: QuotaCall) -> None:
        """Nothing is counted."""

    async def commit(_: QuotaCall) -> None:
        if away:
            raise OSError("the service is away")

    worker = Worker(quota=LIMIT, quotas=CallableQuota(work, commit, work))
    async with worker.running() as chat:
        ended = await chat.ended(await worker.whole(chat))
        assert ended.fields["quota"] == "pending"
        away = False
        return await worker.told.of(signal)


async def reservation_of_a_dead_worker(signal: Signal) -> Observation:
    now = 1_700_000_000.0
    quotas = MemoryQuotaStore(clock=lambda: now)
    ref = StreamRef(SessionKey("ann", "s"), new_stream_id())
    await quotas.reserve(ref, {"requests": 1}, [LIMIT])
    now += 2 * quotas.hold_seconds
    worker = Worker(quota=LIMIT, quotas=quotas)
    async with worker.running():
        await worker.guard.reconcile(patience=False)
        return await worker.told.of(signal)


async def answered_with_no_stream(signal: Signal) -> Observation:
    worker = Worker()
    worker.refuses = True
    async with worker.running() as chat:
        assert (await chat.post({}, path="/api/chat?id=s")).status == 402
        await worker.told.of(signal)
        assert not {Signal.FAULT, Signal.STREAM_ENDED} & {seen.name for seen in worker.told.observations}
        return await worker.told.of(signal)


async def told_too_much(signal: Signal) -> Observation:
    worker = Worker(debug=True)
    async with worker.running():
        return await worker.told.of(signal)


async def not_installed(signal: Signal) -> Observation:
    worker = Worker(installed=False)
    async with worker.running() as chat:
        await worker.whole(chat)
        return await worker.told.of(signal)


class Torn(FaultyStore):
    """A store of the host's, one step of which raises what it should not, once."""

    def __init__(self, step: str, error: Exception) -> None:
        super().__init__(MemoryStore())
        self._torn: dict[str, Exception] = {step: error}

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        if (error := self._torn.pop(step, None)) is not None:
            raise error
        return await super()._pass(step, call)


async def record_damaged(signal: Signal) -> Observation:
    worker = Worker(Torn("expired_leases", StoreCorruptError("torn", operation="expired_leases")), lease_seconds=0.2)
    async with worker.running():
        return await worker.told.of(signal)


async def store_broken(signal: Signal) -> Observation:
    worker = Worker(Torn("heartbeat", RuntimeError("a driver that is not installed")))
    async with worker.running() as chat:
        await asked(chat)
        return await worker.told.of(signal)


async def endpoint_deaf(signal: Signal) -> Observation:
    worker = Worker()
    worker.deaf = True
    async with worker.running() as chat:
        await asked(chat)
        await chat.stop("s")
        return await worker.told.of(signal)


SCENARIOS: Final[dict[Signal, Callable[[Signal], Awaitable[Observation]]]] = {
    Signal.STREAM_OPENED: answered,
    Signal.FIRST_EVENT: answered,
    Signal.STREAM_ENDED: answered,
    Signal.VIEWER_JOINED: answered,
    Signal.VIEWER_LEFT: answered,
    Signal.TOOL_CALLED: tool_called,
    Signal.QUOTA_RESERVED: charged,
    Signal.QUOTA_SETTLED: charged,
    Signal.RECONCILE_STARTED: swept,
    Signal.RECONCILED: swept,
    Signal.LOG_WRITTEN: measured,
    Signal.PROCESS_MEASURED: measured,
    Signal.STORE_MEASURED: store_measured,
    Signal.STREAM_WITHDRAWN: answered_with_no_stream,
    Signal.STREAM_DEGRADED: store_away,
    Signal.STREAM_SUPERSEDED: taken_over,
    Signal.STREAM_RESUMED: resumed,
    Signal.RESUME_EMPTY: nothing_to_resume,
    Signal.RESUME_REFUSED: resume_of_another,
    Signal.STOP_REQUESTED: stopped,
    Signal.SESSION_ERASED: erased,
    Signal.FAULT: failed,
    Signal.VIEWER_CUT: viewer_of_another_worker,
    Signal.ORPHAN_SETTLED: left_by_a_dead_worker,
    Signal.REPLY_SAVED: answered,
    Signal.SAVE_FAILED: database_away,
    Signal.SAVE_OWED: database_away,
    Signal.SAVE_BURIED: database_gone,
    Signal.SAVE_RECOVERED: database_away,
    Signal.SETTLEMENT_RECOVERED: quota_service_away,
    Signal.RESERVATION_EXPIRED: reservation_of_a_dead_worker,
    Signal.BREAKER_OPENED: store_away,
    Signal.BREAKER_CLOSED: store_away,
    Signal.STORE_WARNING: told_too_much,
    Signal.MISUSE: not_installed,
    Signal.RECORD_UNREADABLE: record_damaged,
    Signal.DRAIN_STARTED: answered,
    Signal.DRAIN_ENDED: answered,
    Signal.ENDPOINT_ABANDONED: endpoint_deaf,
    Signal.TASK_RESTARTED: store_broken,
}
