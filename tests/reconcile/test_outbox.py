"""The outbox: what a closed stream owes is settled once, by whoever knows how, and what keeps failing is put aside."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard.errors import MessageUnavailableError, StoreError
from streamguard.messages import Message, Role
from streamguard.observations import Signal
from streamguard.reconcile.outbox import CONCURRENCY, OutboxWorker
from streamguard.runtime import Bindings, LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Persisted, SessionKey, StreamRef

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.lines import Line
from ..runtime.savers import Messages, eventually, folded, meta_of, saving_to, stored_in
from ..runtime.stage import KEY, Model, Worker, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

FAST = {"save_total_seconds": 0.3, "outbox_retry_seconds": 0.01, "outbox_seconds": 0.03}


async def owing(worker: Worker, messages: Messages, key: SessionKey = KEY, *, binding: str = "chat") -> LiveStream:
    """A closed stream whose save failed."""
    messages.errors["append"] = MessageUnavailableError("no", operation="append")
    stream = await worker.start(saying("a"), worker.request(key, binding=binding))
    reading = await worker.watch(stream)
    assert reading.named("streamguard.end")[0]["persisted"] == "pending"
    del messages.errors["append"]
    return stream


async def due(store: StreamStore, *refs: StreamRef) -> None:
    """Wait until these are due."""

    async def found() -> bool:
        overdue = {owed.ref for owed in await store.outbox_entries(dead=False, limit=100) if owed.due_seconds <= 0}
        return set(refs) <= overdue

    await eventually(found, "they are due")


async def left_owing(store: StreamStore, messages: Messages) -> LiveStream:
    """One that is due, of a worker that is gone."""
    async with working(store, quick(**FAST), bindings=saving_to(messages)) as gone:
        stream = await owing(gone, messages)
    await due(store, stream.ref)
    return stream


@pytest.mark.promise("I11")
async def test_what_is_owed_is_settled_once(stores: Stores, look: StreamStore) -> None:
    """By any worker: the one that closed the stream is gone."""
    messages = Messages()
    async with working(stores(), quick(**FAST), bindings=saving_to(messages)) as gone:
        stream = await owing(gone, messages)
    await due(look, stream.ref)
    async with working(stores(), bindings=saving_to(messages)) as worker:
        outbox = OutboxWorker(worker.runtime)
        assert await outbox.sweep() == 1
        (stored,) = await stored_in(messages)
        assert stored.message.parts == await folded(look, stream)
        assert (await meta_of(look, stream.ref)).persisted is Persisted.YES
        assert await look.outbox_entries(dead=False, limit=10) == []
        assert [seen.ref for seen in worker.signals(Signal.SAVE_RECOVERED)] == [stream.ref]
        before = messages.calls.total()
        assert await outbox.sweep() == 0
        assert messages.calls.total() == before


@pytest.mark.promise("I6")
@pytest.mark.long
async def test_two_workers_at_once_make_one_row(stores: Stores, look: StreamStore) -> None:
    messages = Messages()
    async with (
        working(stores(), quick(**FAST), bindings=saving_to(messages)) as one,
        working(stores(), quick(**FAST), bindings=saving_to(messages)) as two,
    ):
        streams = [await owing(one, messages, SessionKey("ana", f"chat-{number}")) for number in range(5)]
        await due(look, *(stream.ref for stream in streams))
        counts = await asyncio.gather(OutboxWorker(one.runtime).sweep(), OutboxWorker(two.runtime).sweep())
        assert sum(counts) == 5
        for stream in streams:
            assert len(await stored_in(messages, stream.ref.key)) == 1


async def test_a_save_whose_reply_is_lost_is_settled_by_the_next_attempt(memory: MemoryStore) -> None:
    """It is in the database, but the worker never learnt it, or died before it could say so."""
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        await due(memory, stream.ref)
        messages.lost["append"] = 1
        await OutboxWorker(worker.runtime).sweep()
        assert len(await stored_in(messages)) == 1
        (owed,) = await memory.outbox_entries(dead=False, limit=10)
        assert (owed.attempts, owed.reason) == (1, "unavailable")
        await due(memory, stream.ref)
        await OutboxWorker(worker.runtime).sweep()
        assert len(await stored_in(messages)) == 1
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.YES


async def test_what_keeps_failing_becomes_a_dead_letter_and_holds_up_nobody(memory: MemoryStore) -> None:
    messages = Messages()
    settings = quick(**FAST, max_outbox_attempts=3, breaker_probe_seconds=0.01)
    bindings = Bindings()
    bindings.register("poison", poison := Messages())
    bindings.register("chat", messages)
    async with working(memory, settings, bindings=bindings) as worker:
        failing = await owing(worker, poison, SessionKey("ana", "poison"), binding="poison")
        poison.errors["append"] = MessageUnavailableError("no", operation="append")
        fine = await owing(worker, messages)
        worker.runtime.supervise("outbox", OutboxWorker(worker.runtime).run)
        await wait_until_async(lambda: worker.signals(Signal.SAVE_RECOVERED), description="the other one is saved")
        await wait_until_async(lambda: worker.signals(Signal.SAVE_BURIED), description="it is given up")
        (dead,) = await memory.outbox_entries(dead=True, limit=10)
        assert (dead.ref, dead.reason, dead.attempts, dead.dead) == (failing.ref, "unavailable", 3, True)
        (buried,) = worker.signals(Signal.SAVE_BURIED)
        assert buried.fault is not None
        assert (buried.fault.retryable, buried.fault.stream_id) == (False, failing.ref.stream_id)
        assert (await meta_of(memory, failing.ref)).persisted is Persisted.NO
        assert (await meta_of(memory, fine.ref)).persisted is Persisted.YES
        # An operator mends the database, and revives it.
        del poison.errors["append"]
        await memory.requeue(failing.ref)
        assert (await meta_of(memory, failing.ref)).persisted is Persisted.PENDING
        await wait_until_async(lambda: len(worker.signals(Signal.SAVE_RECOVERED)) == 2, description="it is saved")
        assert (await meta_of(memory, failing.ref)).persisted is Persisted.YES
        assert len(await stored_in(poison, failing.ref.key)) == 1
        assert await memory.outbox_entries(dead=True, limit=10) == []


@pytest.mark.long
async def test_one_that_hangs_does_not_hold_up_the_others(memory: MemoryStore) -> None:
    hanging, messages = Messages(), Messages()
    bindings = Bindings()
    bindings.register("slow", hanging)
    bindings.register("chat", messages)
    async with working(memory, quick(**FAST), bindings=bindings) as first:
        slow = await owing(first, hanging, SessionKey("ana", "slow"), binding="slow")
        fine = await owing(first, messages)
        await due(memory, slow.ref, fine.ref)
    hanging.hold("append")
    async with working(memory, quick(**FAST | {"save_total_seconds": 20.0}), bindings=bindings) as worker:
        worker.runtime.supervise("outbox", OutboxWorker(worker.runtime).run)
        await wait_until_async(lambda: hanging.waiting["append"], description="the slow one is being saved")
        await wait_until_async(lambda: worker.signals(Signal.SAVE_RECOVERED), description="the other one is saved")
        later = await owing(worker, messages, SessionKey("ana", "later"))
        await wait_until_async(lambda: len(worker.signals(Signal.SAVE_RECOVERED)) == 2, description="and a later one")
        assert (await meta_of(memory, later.ref)).persisted is Persisted.YES
        assert (await meta_of(memory, slow.ref)).persisted is Persisted.PENDING
        hanging.let_go("append")
        await wait_until_async(lambda: len(worker.signals(Signal.SAVE_RECOVERED)) == 3, description="and the slow one")


async def test_more_than_fit_at_once_are_all_settled(memory: MemoryStore) -> None:
    messages = Messages()
    settings = quick(**FAST, max_streams_per_owner=1000, breaker_probe_seconds=0.001)
    count = CONCURRENCY * 2 + 3
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        messages.down = True
        streams = [
            await worker.start(saying("a"), worker.request(SessionKey("ana", f"chat-{number}")))
            for number in range(count)
        ]
        for stream in streams:
            await worker.watch(stream)
        messages.down = False
        await due(memory, *(stream.ref for stream in streams))
        assert await OutboxWorker(worker.runtime).sweep() == count
        assert await memory.outbox_entries(dead=False, limit=100) == []


async def test_a_binding_nobody_here_knows_is_left_to_others(memory: MemoryStore) -> None:
    messages = Messages()
    await left_owing(memory, messages)
    async with working(memory, bindings=saving_to(Messages(), "something-else")) as stranger:
        assert await OutboxWorker(stranger.runtime).sweep() == 1
        (owed,) = await memory.outbox_entries(dead=False, limit=10)
        assert (owed.reason, owed.attempts) == ("unknown_binding", 0)
        assert owed.due_seconds > 1
    assert await stored_in(messages) == []


async def test_an_orphan_of_an_unknown_binding_is_left_to_a_worker_that_knows_it(memory: MemoryStore) -> None:
    messages = Messages()
    async with (
        working(Line(memory), bindings=saving_to(messages), clean=False) as dead,
        working(memory, bindings=saving_to(Messages(), "something-else")) as stranger,
        working(memory, bindings=saving_to(messages)) as friend,
    ):
        stream = await dead.start(Model("a"))
        await wait_until_async(lambda: stream.acked, description="it is logged")
        meta = await meta_of(memory, stream.ref)
        assert await stranger.runtime.eviction.take_over(meta, stopped=False, force=True)

        async def closed() -> bool:
            return (await meta_of(memory, stream.ref)).closed_seconds is not None

        await eventually(closed, "it is closed")
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.PENDING
        await OutboxWorker(friend.runtime).sweep()
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.YES
        assert await memory.outbox_entries(dead=False, limit=10) == []


async def test_a_binding_that_saves_no_more_owes_nothing(memory: MemoryStore) -> None:
    messages = Messages()
    stream = await left_owing(memory, messages)
    bindings = Bindings(messages)
    bindings.register("chat", False)
    async with working(memory, bindings=bindings) as worker:
        await OutboxWorker(worker.runtime).sweep()
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.NOT_ASKED
        assert await memory.outbox_entries(dead=False, limit=10) == []


@pytest.mark.parametrize(
    ("payload", "dead", "reason"),
    [(b'{"v":3,"save":"otherwise"}', False, "newer_format"), (b"nonsense", True, "payload_unreadable")],
    ids=["newer", "damaged"],
)
async def test_payloads_that_cannot_be_read(memory: MemoryStore, payload: bytes, dead: bool, reason: str) -> None:
    """A newer version's is left to it; a damaged one is put aside."""
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        entry.payload = payload
        await due(memory, stream.ref)
        await OutboxWorker(worker.runtime).sweep()
        (owed,) = await memory.outbox_entries(dead=dead, limit=10)
        assert (owed.ref, owed.reason, owed.payload) == (stream.ref, reason, payload)
        assert await stored_in(messages) == []


async def test_a_log_that_is_gone_is_put_aside(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        await due(memory, stream.ref)
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        assert entry.seal is not None
        entry.seal = replace(entry.seal, last_seq=entry.seal.last_seq + 100)
        await OutboxWorker(worker.runtime).sweep()
        (owed,) = await memory.outbox_entries(dead=True, limit=10)
        assert owed.reason == "log_unreadable"
        assert await stored_in(messages) == []


async def test_an_erased_session_owes_nothing(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        await due(memory, stream.ref)
        await memory.erase(KEY, mark_seconds=60)
        await messages.inner.delete_session(KEY)
        assert await OutboxWorker(worker.runtime).sweep() == 0
        assert await stored_in(messages) == []


async def test_while_the_message_store_is_down_attempts_do_not_count(memory: MemoryStore) -> None:
    """Its breaker is open: nothing was tried, and an outage makes no dead letters."""
    messages = Messages()
    settings = quick(**FAST, breaker_probe_seconds=60.0, max_outbox_attempts=2)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        messages.down = True
        for number in range(8):
            await worker.tell(saying("a"), worker.request(SessionKey("ana", f"chat-{number}")))
        assert worker.signals(Signal.BREAKER_OPENED)
        before = messages.calls.total()
        for _ in range(3):
            entries = await memory.outbox_entries(dead=False, limit=100)
            await due(memory, *(owed.ref for owed in entries))
            await OutboxWorker(worker.runtime).sweep()
        entries = await memory.outbox_entries(dead=False, limit=100)
        assert len(entries) == 8
        assert {owed.attempts for owed in entries} == {0}
        assert messages.calls.total() == before


async def test_a_claim_of_a_worker_that_died_comes_up_again(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        await due(memory, stream.ref)
        assert len(await memory.claim_due(limit=10, claim_seconds=0.1)) == 1  # and never heard of again
        assert await OutboxWorker(worker.runtime).sweep() == 0
        await due(memory, stream.ref)
        assert await OutboxWorker(worker.runtime).sweep() == 1
        assert len(await stored_in(messages)) == 1


async def test_a_stream_store_that_fails_is_asked_again(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    async with working(line, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        await due(memory, stream.ref)
        line.broken = {"claim_due"}
        with pytest.raises(StoreError):
            await OutboxWorker(worker.runtime).sweep()
        line.broken = {"meta"}
        worker.runtime.supervise("outbox", OutboxWorker(worker.runtime).run)
        await wait_until_async(lambda: line.calls["claim_due"] > 2, description="it looked")
        line.broken = set()
        assert not worker.signals(Signal.TASK_RESTARTED)


async def test_what_is_taken_meanwhile_is_not_overwritten(memory: MemoryStore) -> None:
    """Somebody else stored a message of that id: that stands, and nothing is owed any more."""
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        theirs = Message(stream.message_id, Role.ASSISTANT, ({"type": "text", "text": "theirs"},))
        await messages.inner.append(KEY, theirs)
        await due(memory, stream.ref)
        await OutboxWorker(worker.runtime).sweep()
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.NO
        assert (
            await memory.outbox_entries(dead=False, limit=10) == await memory.outbox_entries(dead=True, limit=10) == []
        )
        (stored,) = await stored_in(messages)
        assert stored.message == theirs
        assert worker.signals(Signal.SAVE_FAILED)[-1].fields["reason"] == "conflict"


async def test_a_question_without_an_answer_is_saved_all_the_same(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        messages.down = True
        model = Model()
        stream = await worker.start(model)
        assert stream.user_messages is not None
        stream.user_messages.add(Message("u1", Role.USER, ({"type": "text", "text": "why?"},)))
        model.fail(RuntimeError("no"))
        await worker.watch(stream)
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.PENDING
        messages.down = False

        async def settled() -> bool:
            await OutboxWorker(worker.runtime).sweep()
            return (await meta_of(memory, stream.ref)).persisted is Persisted.NOT_ASKED

        await eventually(settled, "nothing is owed any more")
        assert [stored.message.message_id for stored in await stored_in(messages)] == ["u1"]
        assert await memory.outbox_entries(dead=False, limit=10) == []


async def test_a_reply_of_the_stream_store_that_is_lost_is_asked_for_again(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    async with working(line, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        await due(memory, stream.ref)
        line.lost["complete"] = 1
        await OutboxWorker(worker.runtime).sweep()
        assert line.calls["complete"] == 2
        assert await memory.outbox_entries(dead=False, limit=10) == []
        assert len(worker.signals(Signal.SAVE_RECOVERED)) == 1


async def test_a_protocol_of_tomorrow_is_left_to_newer_workers(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, quick(**FAST), bindings=saving_to(messages)) as worker:
        stream = await owing(worker, messages)
        entry = memory._tables.streams[(KEY.owner, KEY.session_id, stream.ref.stream_id)]
        entry.new = replace(entry.new, protocol="of-tomorrow")
        await due(memory, stream.ref)
        await OutboxWorker(worker.runtime).sweep()
        (owed,) = await memory.outbox_entries(dead=False, limit=10)
        assert (owed.reason, owed.attempts) == ("unknown_protocol", 0)
