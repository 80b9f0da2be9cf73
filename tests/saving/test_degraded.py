"""Saving without the stream store, and beside a worker that took the stream over (I6, I7)."""

from __future__ import annotations

import pytest

from streamguard.messages import MemoryMessageStore, MessageStatus
from streamguard.observations import Signal
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.runtime import LiveStream, StreamRequest
from streamguard.runtime.producing.phases import LogState
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, Persisted, StreamRef

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.lines import Line
from ..runtime.savers import Messages, eventually, folded, meta_of, saving_to, stored_in
from ..runtime.stage import KEY, Model, Worker, closed, declared_lost, expired, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]


async def test_a_degraded_reply_is_saved_from_memory(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    async with working(line, quick(viewer_backlog_bytes=1000), bindings=saving_to(messages)) as worker:
        line.down = True
        pieces = [f"{number:04}" * 250 for number in range(50)]
        reading = await worker.tell(saying(*pieces))
        (stored,) = await stored_in(messages)
        assert stored.message.parts == ({"type": "text", "text": "".join(pieces)},)
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        line.down = False


async def test_a_stream_that_degrades_half_way_is_saved_whole(memory: MemoryStore) -> None:
    """What its window had dropped is read from the log."""
    messages = Messages()
    line = Line(memory)
    async with working(line, quick(viewer_backlog_bytes=1000), bindings=saving_to(messages)) as worker:
        model = Model()
        stream = await worker.start(model)
        pieces = [f"{number:06}" * 10_000 for number in range(60)]
        model.say(*pieces[:50])
        await wait_until_async(lambda: stream.acked == 50, description="it is logged")
        assert stream.feed.base > 0
        stream.degrade("test")
        model.say(*pieces[50:])
        model.end()
        reading = await worker.watch(stream)
        (stored,) = await stored_in(messages)
        assert stored.message.parts == ({"type": "text", "text": "".join(pieces)},)
        meta = await closed_lost(memory, stream.ref)
        assert meta.persisted is Persisted.YES
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"


async def half_logged(worker: Worker, model: Model, request: StreamRequest | None = None) -> LiveStream:
    """A stream that is cut off from its log once some of it is there."""
    stream = await worker.start(model, request)
    await wait_until_async(lambda: stream.acked, description="it is logged")
    stream.degrade("test")
    return stream


async def closed_lost(store: StreamStore, ref: StreamRef) -> StreamMeta:
    metas: list[StreamMeta] = []

    async def found() -> bool:
        meta = await store.meta(ref)
        if meta is not None and meta.closed_seconds is not None:
            metas.append(meta)
        return bool(metas)

    await eventually(found, "it is closed")
    return metas[0]


async def test_a_degraded_reply_that_cannot_be_saved_says_no(memory: MemoryStore) -> None:
    messages = Messages()
    messages.down = True
    async with working(memory, quick(save_total_seconds=0.2), bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await half_logged(worker, model)
        model.end()
        reading = await worker.watch(stream)
        assert ("persistence_failed", "unavailable") in reading.notices
        meta = await closed_lost(memory, stream.ref)
        assert meta.persisted is Persisted.NO
        assert await memory.outbox_entries(dead=False, limit=10) == []


async def test_a_seal_that_cannot_be_written_does_not_cost_the_save(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    async with working(line, bindings=saving_to(messages)) as worker:
        line.broken = {"seal", "ping"}
        stream = await worker.start(saying("a", "b"))
        reading = await worker.watch(stream)
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        (stored,) = await stored_in(messages)
        assert stored.message.parts == ({"type": "text", "text": "ab"},)
        line.broken = set()
        assert (await closed(memory, stream.ref)).persisted is Persisted.YES
        assert len(await stored_in(messages)) == 1


@pytest.mark.promise("I7")
async def test_an_index_entry_comes_before_the_close_that_owes(memory: MemoryStore) -> None:
    """A close without one would owe what nobody finds."""
    messages = Messages()
    messages.down = True
    line = Line(memory)
    async with working(line, quick(save_total_seconds=0.2), bindings=saving_to(messages)) as worker:
        line.broken = {"enqueue", "ping"}
        stream = await worker.start(saying("a"))
        await worker.watch(stream)
        assert line.calls["close"] == 0
        line.broken = set()
        await closed(memory, stream.ref)
        assert len(await memory.outbox_entries(dead=False, limit=10)) == 1


async def test_a_degraded_writer_and_a_reconciler_save_one_stream(memory: MemoryStore) -> None:
    """The first content that is committed stands; who has other content says so."""
    messages = Messages()
    line = Line(memory)
    settings = quick(lease_seconds=0.15, heartbeat_seconds=0.05)
    async with (
        working(line, settings, bindings=saving_to(messages), clean=False) as cut,
        working(memory, bindings=saving_to(messages)) as healthy,
    ):
        model = Model("a")
        stream = await cut.start(model)
        await wait_until_async(lambda: stream.acked, description="it is logged")
        line.down = True
        model.say("b")
        await wait_until_async(lambda: stream.degraded, description="it is cut off")

        async def taken() -> bool:
            meta = await memory.meta(stream.ref)
            assert meta is not None
            return await healthy.runtime.eviction.take_over(meta, stopped=False)

        await eventually(taken, "its lease is over")
        assert (await closed(memory, stream.ref)).persisted is Persisted.YES
        model.end()
        reading = await cut.watch(stream)
        assert reading.text == "ab"
        assert "save_conflict" in [code for code, _ in reading.notices]
        (stored,) = await stored_in(messages)
        assert stored.message.parts == ({"type": "text", "text": "a"},)
        assert stored.status is MessageStatus.PARTIAL
        line.down = False


async def test_a_superseded_writer_saves_nothing(memory: MemoryStore) -> None:
    mine, theirs = Messages(MemoryMessageStore()), Messages()
    async with working(memory, bindings=saving_to(mine)) as old, working(memory, bindings=saving_to(theirs)) as new:
        model = Model("a")
        stream = await old.start(model)
        await wait_until_async(lambda: stream.acked, description="it is logged")
        meta = await meta_of(memory, stream.ref)
        assert await new.runtime.eviction.take_over(meta, stopped=False, force=True)
        await closed(memory, stream.ref)
        await old.idle()
        assert mine.calls["append"] == 0
        assert len(await stored_in(theirs)) == 1


async def test_a_writer_whose_seal_comes_after_the_new_owners_saves_nothing(memory: MemoryStore) -> None:
    """It was frozen before its seal, and nothing has told it yet that another worker ended the stream."""
    mine, theirs = Messages(MemoryMessageStore()), Messages()
    line = Line(memory)
    line.broken = {"listen"}
    settings = quick(lease_seconds=12.0, heartbeat_seconds=6.0, append_deadline_seconds=5.0)
    async with (
        working(line, settings, bindings=saving_to(mine)) as old,
        working(memory, bindings=saving_to(theirs)) as new,
    ):
        line.hold("seal")
        stream = await old.start(saying("a"))
        await wait_until_async(lambda: line.waiting["seal"], description="it is about to seal")
        meta = await meta_of(memory, stream.ref)
        assert await new.runtime.eviction.take_over(meta, stopped=False, force=True)
        ended = await closed(memory, stream.ref)
        line.let_go("seal")
        await old.idle()
        assert mine.calls["append"] == 0
        assert stream.superseded
        (stored,) = await stored_in(theirs)
        assert (stored.message.outcome, ended.persisted) == (Outcome.INTERRUPTED, Persisted.YES)


@pytest.mark.parametrize("taken", ["before it is sealed", "while it is saved"])
async def test_a_writer_whose_seal_was_late_saves_nothing_that_a_new_owner_ended(
    memory: MemoryStore, taken: str
) -> None:
    """Its viewers had their end while the store was away, so it had saved what it could, and renewed no lease."""
    mine, theirs = Messages(MemoryMessageStore()), Messages()
    line = Line(memory)
    async with (
        working(line, quick(save_visible_seconds=0.05, save_total_seconds=30.0), bindings=saving_to(mine)) as old,
        working(memory, bindings=saving_to(theirs)) as new,
    ):
        line.broken = {"seal", "ping"}
        mine.hold("append")
        stream = await old.start(saying("a"))
        assert (await old.watch(stream)).named("streamguard.end")[0]["persisted"] == "pending"
        if taken == "while it is saved":
            line.broken = set()

            async def sealed() -> bool:
                return (await meta_of(memory, stream.ref)).seal is not None

            await eventually(sealed, "it is sealed")
        meta = await meta_of(memory, stream.ref)
        assert await new.runtime.eviction.take_over(meta, stopped=False, force=True)
        ended = await closed(memory, stream.ref)
        line.broken = set()
        mine.let_go("append")
        await old.idle()
        assert mine.calls["append"] == 1
        assert (line.calls["close"], stream.log.state) == (0, LogState.DISOWNED)
        assert [seen.fields["persisted"] for seen in old.signals(Signal.STREAM_ENDED)] == [Persisted.YES]
        (stored,) = await stored_in(theirs)
        outcome = Outcome.INTERRUPTED if taken == "before it is sealed" else Outcome.COMPLETED
        assert (stored.message.outcome, ended.persisted) == (outcome, Persisted.YES)


async def test_nor_does_whoever_took_it_over_and_lost_it_again(memory: MemoryStore) -> None:
    """Before its seal, to a third worker that ended the stream."""
    mine, theirs = Messages(MemoryMessageStore()), Messages()
    line = Line(memory)
    async with (
        working(memory, bindings=saving_to(Messages(MemoryMessageStore()))) as first,
        working(line, bindings=saving_to(mine)) as second,
        working(memory, bindings=saving_to(theirs)) as third,
    ):
        stream = await first.start(Model("a"))
        await wait_until_async(lambda: stream.acked, description="it is logged")
        meta = await meta_of(memory, stream.ref)

        async def take_and_end() -> None:
            taken = await meta_of(memory, stream.ref)
            assert await third.runtime.eviction.take_over(taken, stopped=False, force=True)
            await closed(memory, stream.ref)

        line.before["seal"] = take_and_end
        await second.runtime.eviction.take_over(meta, stopped=False, force=True)
        await closed(memory, stream.ref)
        assert len(await stored_in(theirs)) == 1
    assert mine.calls["append"] == 0


async def test_what_is_left_of_a_lost_log_is_saved_by_whoever_ends_it(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    settings = quick(lease_seconds=0.15, heartbeat_seconds=0.05)
    async with (
        working(line, settings, bindings=saving_to(Messages()), clean=False) as cut,
        working(memory, bindings=saving_to(messages)) as healthy,
    ):
        stream = await half_logged(cut, Model("a"))
        await declared_lost(memory, stream.ref)
        line.down = True
        await expired(memory, stream.ref)
        assert await OrphanSweep(healthy.runtime).sweep() == 1
        meta = await closed_lost(memory, stream.ref)
        assert meta.persisted is Persisted.YES
        (stored,) = await stored_in(messages)
        assert (stored.message.parts, stored.status) == (({"type": "text", "text": "a"},), MessageStatus.PARTIAL)
        line.down = False
        await cut.runtime.sessions.stop(KEY)


async def test_two_that_end_one_stream_at_once_make_one_row(stores: Stores, look: StreamStore) -> None:
    """The writer hangs in its save; who takes over saves what was sealed; then the writer's goes through too."""
    messages = Messages()
    slow = Messages(messages.inner)
    async with (
        working(stores(), quick(save_visible_seconds=60.0), bindings=saving_to(slow)) as old,
        working(stores(), bindings=saving_to(messages)) as new,
    ):
        slow.hold("append")
        stream = await old.start(saying("a", "b"))
        await wait_until_async(lambda: slow.waiting["append"], description="it is being saved")
        meta = await meta_of(look, stream.ref)
        assert await new.runtime.eviction.take_over(meta, stopped=False, force=True)
        assert (await closed(look, stream.ref)).persisted is Persisted.YES
        slow.let_go("append")
        await old.idle()
        (stored,) = await stored_in(messages)
        assert stored.message.parts == await folded(look, stream)
        assert stored.message.outcome is Outcome.COMPLETED
        assert await look.outbox_entries(dead=False, limit=10) == []


async def test_a_save_cannot_take_a_later_stream_for_its_own(memory: MemoryStore) -> None:
    """A slow save of the first part of a message, done after the second: in the order they were said, or not at all."""
    messages = Messages()
    settings = quick(save_visible_seconds=0.05, outbox_retry_seconds=0.02, outbox_seconds=0.02)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        messages.hold("append")
        first = await worker.start(saying("one"), worker.request(message_id="m1"))
        await worker.watch(first)
        second = await worker.start(saying("two"), worker.request(message_id="m1"))
        await worker.watch(second)
        messages.let_go("append")
        worker.runtime.supervise("outbox", OutboxWorker(worker.runtime).run)

        async def saved() -> bool:
            metas = [await meta_of(memory, stream.ref) for stream in (first, second)]
            return {meta.persisted for meta in metas} == {Persisted.YES}

        await eventually(saved, "both are saved")
        (stored,) = await stored_in(messages)
        assert stored.streams == (first.ref.stream_id, second.ref.stream_id)
        assert [part["text"] for part in stored.message.parts] == ["one", "two"]


async def test_a_degraded_reply_that_is_saved_late_says_so_in_its_tombstone(memory: MemoryStore) -> None:
    messages = Messages()
    messages.hold("append")
    async with working(memory, quick(save_visible_seconds=0.05), bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await half_logged(worker, model)
        model.end()
        reading = await worker.watch(stream)
        assert "persistence_pending" in [code for code, _ in reading.notices]
        assert reading.named("streamguard.end")[0]["persisted"] == "pending"
        messages.let_go("append")
        assert (await closed_lost(memory, stream.ref)).persisted is Persisted.YES


async def test_a_lost_orphan_that_is_saved_late_is_marked(memory: MemoryStore) -> None:
    messages = Messages()
    messages.hold("append")
    line = Line(memory)
    async with (
        working(line, quick(lease_seconds=0.15, heartbeat_seconds=0.05), clean=False) as cut,
        working(memory, quick(save_visible_seconds=0.05), bindings=saving_to(messages)) as healthy,
    ):
        stream = await half_logged(cut, Model("a"))
        await declared_lost(memory, stream.ref)
        line.down = True
        await expired(memory, stream.ref)
        await OrphanSweep(healthy.runtime).sweep()
        assert (await closed_lost(memory, stream.ref)).persisted is Persisted.NO
        messages.let_go("append")

        async def marked() -> bool:
            return (await meta_of(memory, stream.ref)).persisted is Persisted.YES

        await eventually(marked, "it is marked as saved")
        line.down = False
        await cut.runtime.sessions.stop(KEY)


async def test_a_degraded_continuation_whose_reply_is_lost_knows_its_own_row(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        first = await worker.start(saying("one"), worker.request(message_id="m1"))
        await worker.watch(first)
        model = Model("two")
        second = await half_logged(worker, model, worker.request(message_id="m1"))
        messages.lost["append"] = 1
        model.end()
        reading = await worker.watch(second)
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        (stored,) = await stored_in(messages)
        assert [part["text"] for part in stored.message.parts] == ["one", "two"]
