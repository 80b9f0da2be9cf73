"""Saving in a stream's end: what was shown is stored, once, or everybody is told otherwise (I6, I7)."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamguard.errors import (
    MessageConflictError,
    MessageForbiddenError,
    MessageInvalidError,
    MessageUnavailableError,
)
from streamguard.faults import FaultCode
from streamguard.messages import MessageStatus, Role
from streamguard.observations import Signal
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.runtime import Bindings
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, Persisted, StreamRef

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.lines import Line
from ..runtime.savers import Messages, data_parts, eventually, folded, meta_of, saving_to, stored_in
from ..runtime.stage import KEY, Model, closed, log_of, quick, read, saying, terminals, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

UI = "ui-message"


@pytest.mark.promise("I6")
async def test_a_reply_is_stored_once_as_the_fold_of_its_log(stores: Stores, look: StreamStore) -> None:
    messages = Messages()
    async with working(stores(), bindings=saving_to(messages)) as worker:
        stream = await worker.start(saying("Hel", "lo"), worker.request(protocol=UI))
        stream.usage(tokens=3)
        reading = await worker.watch(stream)
        (stored,) = await stored_in(messages)
        assert stored.message.parts == await folded(look, stream)
        assert [part.get("text") for part in stored.message.parts] == ["Hello"]
        assert stored.message.message_id == stream.message_id
        assert (stored.message.stream_id, stored.streams) == (stream.ref.stream_id, (stream.ref.stream_id,))
        assert (stored.message.role, stored.status) == (Role.ASSISTANT, MessageStatus.COMPLETE)
        assert (stored.message.outcome, dict(stored.message.usage)) == (Outcome.COMPLETED, {"tokens": 3})
        assert data_parts(reading, "data-streamguard-error") == []
        (told,) = data_parts(reading, "data-streamguard-persisted")
        assert told == {
            "type": "data-streamguard-persisted",
            "id": f"sgp_{stream.ref.stream_id}",
            "transient": True,
            "data": {
                "message_id": stream.message_id,
                "stream_id": stream.ref.stream_id,
                "session_id": KEY.session_id,
            },
        }
        assert [event.data for event in reading.events][-3:] == [
            json.dumps(told, separators=(",", ":")),
            '{"type":"finish"}',
            "[DONE]",
        ]
        meta = await closed(look, stream.ref)
        assert meta.persisted is Persisted.YES
        (terminal,) = terminals(await log_of(look, stream.ref))
        assert terminal.persisted is Persisted.YES
        assert await look.outbox_entries(dead=False, limit=10) == []
        assert len(worker.signals(Signal.REPLY_SAVED)) == 1
        assert messages.calls["append"] == 1


@pytest.mark.parametrize("protocol", ["plain", "opaque"])
async def test_other_protocols_are_stored_too(memory: MemoryStore, protocol: str) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        said = ("a", "b") if protocol == "plain" else ("data: a\n\n", "data: [DONE]\n\n")
        reading = await worker.tell(saying(*said), worker.request(protocol=protocol))
        (stored,) = await stored_in(messages)
        if protocol == "plain":
            assert stored.message.parts == ({"type": "text", "text": "ab"},)
            assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        else:
            assert stored.message.parts == ({"type": "data-streamguard-sse", "data": "".join(said)},)
            assert "".join(f"data: {event.data}\n\n" for event in reading.events) == "".join(said)


async def test_what_is_not_to_be_saved_is_not(memory: MemoryStore) -> None:
    messages = Messages()
    bindings = Bindings(messages)
    bindings.register("chat", False)
    async with working(memory, bindings=bindings) as worker:
        reading = await worker.tell(saying("a"))
        assert reading.named("streamguard.end")[0]["persisted"] == "not_asked"
        assert messages.calls.total() == 0
        assert (messages.started, messages.closed) == (1, 0)
    assert messages.closed == 1


async def test_a_partial_reply_is_stored_and_flagged(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("half ")
        stream = await worker.start(model, worker.request(protocol=UI))
        await wait_until_async(lambda: stream.acked >= 3, description="it is logged")
        await worker.runtime.sessions.stop(KEY)
        reading = await worker.watch(stream)
        (stored,) = await stored_in(messages)
        assert (stored.status, stored.message.outcome) == (MessageStatus.PARTIAL, Outcome.STOPPED)
        assert stored.message.parts == ({"type": "text", "text": "half ", "state": "done"},)
        assert [json.loads(event.data)["type"] for event in reading.events[-3:-1]] == [
            "data-streamguard-persisted",
            "abort",
        ]


async def test_a_stream_that_said_nothing_stores_nothing(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model()
        model.fail(RuntimeError("no"))
        stream = await worker.start(model)
        assert (await worker.watch(stream)).outcome == "failed"
        assert await stored_in(messages) == []
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.NOT_ASKED


async def test_two_failures_then_success_are_nobodys_business(memory: MemoryStore) -> None:
    messages = Messages()
    messages.failures["append"] = 2
    async with working(memory, bindings=saving_to(messages)) as worker:
        reading = await worker.tell(saying("a"))
        assert reading.notices == []
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        assert len(await stored_in(messages)) == 1
        assert worker.faults() == []


@pytest.mark.promise("I6")
async def test_a_lost_reply_of_the_database_makes_one_row(memory: MemoryStore) -> None:
    """It committed, then the connection died."""
    messages = Messages()
    messages.lost["append"] = 1
    async with working(memory, bindings=saving_to(messages)) as worker:
        reading = await worker.tell(saying("a"))
        assert reading.notices == []
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        assert len(await stored_in(messages)) == 1
        assert messages.calls["append"] == 2


@pytest.mark.promise("I7")
async def test_a_save_that_fails_is_told_owed_and_recovered(stores: Stores, look: StreamStore) -> None:
    """Promise I7."""
    messages = Messages()
    messages.down = True
    settings = quick(save_visible_seconds=1.0, save_total_seconds=0.5, outbox_retry_seconds=0.05, outbox_seconds=0.05)
    async with working(stores(), settings, bindings=saving_to(messages)) as worker:
        stream = await worker.start(saying("a"), worker.request(protocol=UI))
        reading = await worker.watch(stream)
        (part,) = data_parts(reading, "data-streamguard-error")
        fault = part["data"]
        assert isinstance(fault, dict)
        assert (fault["code"], fault["phase"], fault["severity"]) == ("persistence_failed", "persistence", "error")
        assert (fault["retryable"], fault["actions"]) == (True, ["resend", "download"])
        assert (fault["message_id"], fault["stream_id"]) == (stream.message_id, stream.ref.stream_id)
        assert reading.events[-2].data == '{"type":"finish"}'
        assert data_parts(reading, "data-streamguard-persisted") == []
        assert (await closed(look, stream.ref)).persisted is Persisted.PENDING
        (owed,) = await look.outbox_entries(dead=False, limit=10)
        assert owed.ref == stream.ref
        assert worker.faults() == [FaultCode.PERSISTENCE_FAILED]
        assert len(worker.signals(Signal.SAVE_OWED)) == 1
        messages.down = False
        worker.runtime.supervise("outbox", OutboxWorker(worker.runtime).run)
        await wait_until_async(lambda: worker.signals(Signal.SAVE_RECOVERED), description="the outbox saved it")
        assert (await meta_of(look, stream.ref)).persisted is Persisted.YES
        assert await look.outbox_entries(dead=False, limit=10) == []
        (stored,) = await stored_in(messages)
        assert stored.message.parts == await folded(look, stream)


@pytest.mark.promise("I7")
async def test_a_slow_save_goes_on_after_the_close(stores: Stores, look: StreamStore) -> None:
    messages = Messages()
    messages.hold("append")
    async with working(stores(), quick(save_visible_seconds=0.1), bindings=saving_to(messages)) as worker:
        stream = await worker.start(saying("a"))
        reading = await worker.watch(stream)
        assert [code for code, _ in reading.notices] == ["persistence_pending"]
        assert reading.named("streamguard.end")[0]["persisted"] == "pending"
        assert (await closed(look, stream.ref)).persisted is Persisted.PENDING
        assert len(await look.outbox_entries(dead=False, limit=10)) == 1
        messages.let_go("append")
        await wait_until_async(lambda: worker.signals(Signal.SAVE_RECOVERED), description="it is on record")
        assert (await meta_of(look, stream.ref)).persisted is Persisted.YES
        assert await look.outbox_entries(dead=False, limit=10) == []
        assert len(await stored_in(messages)) == 1
        assert messages.calls["append"] == 1


async def test_a_slow_save_holds_up_no_heartbeat(memory: MemoryStore) -> None:
    """It takes longer than a lease, and no sweep finds the stream meanwhile."""
    messages = Messages()
    messages.hold("append")
    settings = quick(lease_seconds=0.2, heartbeat_seconds=0.05, save_visible_seconds=5.0, save_total_seconds=10.0)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        stream = await worker.start(saying("a"))
        await wait_until_async(lambda: messages.waiting["append"], description="it is being saved")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        overdue: list[StreamRef] = []

        async def later() -> bool:
            overdue.extend(await memory.expired_leases(limit=10))
            return loop.time() - begun > 0.6

        await eventually(later, "three leases passed")
        assert overdue == []
        messages.let_go("append")
        assert (await worker.watch(stream)).named("streamguard.end")[0]["persisted"] == "yes"


@pytest.mark.parametrize(
    ("error", "code", "persisted", "dead"),
    [
        (MessageConflictError("no", operation="append"), "save_conflict", Persisted.NO, False),
        (MessageForbiddenError("no", operation="append"), "persistence_failed", Persisted.NO, False),
        (MessageInvalidError("no", operation="append"), "persistence_failed", Persisted.NO, True),
    ],
    ids=["conflict", "forbidden", "invalid"],
)
async def test_refusals_are_not_retried(
    memory: MemoryStore, error: Exception, code: str, persisted: Persisted, dead: bool
) -> None:
    messages = Messages()
    messages.errors["append"] = error
    async with working(memory, bindings=saving_to(messages)) as worker:
        stream = await worker.start(saying("a"))
        reading = await worker.watch(stream)
        assert [found for found, _ in reading.notices] == [code]
        assert (await closed(memory, stream.ref)).persisted is persisted
        assert messages.calls["append"] == 1
        if dead:
            await wait_until_async(lambda: worker.signals(Signal.SAVE_BURIED), description="it is a dead letter")
        assert [owed.ref for owed in await memory.outbox_entries(dead=True, limit=10)] == [stream.ref] * dead
        assert await memory.outbox_entries(dead=False, limit=10) == []


async def test_a_host_that_answers_otherwise_counts_as_unavailable(memory: MemoryStore) -> None:
    messages = Messages()
    messages.errors["append"] = OSError("a driver's words")
    async with working(memory, quick(save_total_seconds=0.3), bindings=saving_to(messages)) as worker:
        reading = await worker.tell(saying("a"))
        assert reading.notices == [("persistence_failed", "unavailable")]
        failed = [one.error for one in worker.signals(Signal.SAVE_FAILED)]
        assert {type(error) for error in failed} == {MessageUnavailableError}
        assert "driver" not in str(failed)


async def test_an_erased_session_stays_erased(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    async with working(line, bindings=saving_to(messages), clean=False) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.acked, description="it is logged")
        line.hold("erasure")
        model.end()
        await wait_until_async(lambda: line.waiting["erasure"], description="it is about to be saved")
        await memory.erase(KEY, mark_seconds=60)
        await messages.inner.delete_session(KEY)
        line.let_go("erasure")
        await worker.idle()
        assert await stored_in(messages) == []
        assert messages.calls["append"] == 0


async def test_nobody_reopens_a_session_that_is_erased_this_moment(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        messages.hold("append")
        stream = await worker.start(saying("a"))
        await wait_until_async(lambda: messages.waiting["append"], description="it is being saved")
        await memory.erase(KEY, mark_seconds=60)
        await messages.inner.delete_session(KEY)
        messages.let_go("append")
        await stream.ended()
        assert await stored_in(messages) == []
        assert messages.calls["open_session"] == 1


async def test_a_message_store_that_is_down_does_not_hold_up_the_first_item(memory: MemoryStore) -> None:
    messages = Messages()
    messages.hold("open_session")
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.acked, description="it is shown though the session is not open")
        assert messages.waiting["open_session"] == 1
        messages.let_go("open_session")
        model.end()
        assert (await worker.watch(stream)).named("streamguard.end")[0]["persisted"] == "yes"


async def test_an_expired_session_is_opened_again(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: messages.calls["open_session"], description="it is open")
        await messages.inner.delete_session(KEY)
        model.end()
        assert (await worker.watch(stream)).named("streamguard.end")[0]["persisted"] == "yes"
        assert len(await stored_in(messages)) == 1


@pytest.mark.long
async def test_a_drain_during_a_slow_save_leaves_an_entry_to_others(memory: MemoryStore) -> None:
    messages = Messages()
    messages.hold("append")
    settings = quick(save_visible_seconds=0.1, save_total_seconds=60.0, drain_seconds=0.1)
    async with working(Line(memory), settings, bindings=saving_to(messages), clean=False) as worker:
        stream = await worker.start(saying("a"))
        assert (await worker.watch(stream)).named("streamguard.end")[0]["persisted"] == "pending"
    (owed,) = await memory.outbox_entries(dead=False, limit=10)
    assert (owed.reason, owed.attempts) == ("shutdown", 0)
    assert owed.due_seconds <= 0
    messages.let_go("append")
    async with working(memory, bindings=saving_to(messages)) as next_worker:
        assert await OutboxWorker(next_worker.runtime).sweep() == 1
        assert len(await stored_in(messages)) == 1


async def test_a_drain_waits_for_a_save_within_its_bounds(memory: MemoryStore) -> None:
    messages = Messages()
    messages.hold("append")
    settings = quick(save_visible_seconds=0.1, drain_seconds=10.0)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        stream = await worker.start(saying("a"))
        await worker.watch(stream)
        drain = asyncio.create_task(worker.runtime.drain())
        await wait_until_async(lambda: worker.runtime.draining, description="it drains")
        assert not drain.done()
        messages.let_go("append")
        await drain
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.YES


async def test_resume_replays_a_reply_that_is_not_saved_yet(memory: MemoryStore) -> None:
    """Its page cannot have it from the database."""
    messages = Messages()
    messages.down = True
    settings = quick(save_total_seconds=0.2, replay_after_finish_seconds=0)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        await worker.tell(saying("a"))
        assert (await read(await worker.resume())).text == "a"


@pytest.mark.long
async def test_a_stream_that_hung_on_its_store_until_the_drain_ended_is_saved(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    settings = quick(append_deadline_seconds=60.0, drain_seconds=0.1)
    async with working(line, settings, bindings=saving_to(messages), clean=False) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.acked, description="it is logged")
        line.hold("append")
        model.say("b")
        model.end()
        await wait_until_async(lambda: line.waiting["append"], description="it hangs")
        line.broken = {"seal", "close", "declare_lost", "heartbeat"}
    (stored,) = await stored_in(messages)
    assert stored.message.parts == ({"type": "text", "text": "ab"},)


async def test_a_stream_that_is_to_be_saved_lives_until_it_is(memory: MemoryStore) -> None:
    messages = Messages()
    messages.hold("append")
    settings = quick(live_ttl_seconds=10.0, outbox_retention_seconds=500.0, finished_ttl_seconds=5.0)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        assert entry.ttl_seconds == 500.0
        await wait_until_async(lambda: stream.acked, description="it is logged")
        await worker.runtime._parts.leases.renew_all()
        assert entry.ttl_seconds == 500.0
        model.end()
        await wait_until_async(lambda: messages.waiting["append"], description="it is being saved")
        messages.let_go("append")
        await worker.watch(stream)
        left = entry.expires_at - asyncio.get_running_loop().time()
        assert left < 10.0
