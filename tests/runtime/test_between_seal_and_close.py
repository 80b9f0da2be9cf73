"""What may happen to a stream between its seal and its close, while its reply is saved: it is lost to another worker,
or the store loses the seal. What was decided is carried out once, by whoever owns the stream."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.reconcile.orphans import OrphanSweep
from streamguard.stores.appends import AppendReply
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.values import Outcome, Persisted, StreamState

from ..harness.waiting import wait_until_async
from .lines import Line
from .savers import Messages, meta_of, saving_to, stored_in
from .stage import closed, expired, log_of, quick, saying, terminals, working

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("rolled_back", [True, False])
async def test_a_writer_that_lost_its_stream_while_it_was_saved_does_not_close_it(
    memory: MemoryStore, rolled_back: bool
) -> None:
    messages = Messages()
    messages.hold("append", after=True)
    settings = quick(save_visible_seconds=30.0, lease_seconds=1.0, heartbeat_seconds=0.1)
    bindings = saving_to(messages)
    async with (
        working(memory, settings, bindings=bindings) as one,
        working(memory, bindings=saving_to(messages)) as two,
    ):
        stream = await one.start(saying("a"))
        await wait_until_async(lambda: messages.waiting["append"], description="it is sealed, and being saved")
        epoch = stream.epoch
        assert (await memory.take_over(stream.ref, lease_seconds=0.2, force=True)).meta is not None
        await wait_until_async(lambda: stream.superseded, description="a heartbeat told")
        if rolled_back:  # as by a failover to a replica that had not heard of the takeover
            key = stream.ref.key
            memory._tables.streams[key.owner, key.session_id, stream.ref.stream_id].epoch = epoch
        messages.let_go("append")
        await one.runtime.idle()
        assert (await meta_of(memory, stream.ref)).state is StreamState.SEALED
        await expired(memory, stream.ref)
        await OrphanSweep(two.runtime).sweep()
        meta = await closed(memory, stream.ref)
        assert meta.persisted is Persisted.YES
        assert len(terminals(await log_of(memory, stream.ref))) == 1


@pytest.mark.parametrize("lost", [0, 1, 3])
async def test_a_seal_that_an_older_snapshot_lacks_is_put_back_before_the_close(memory: MemoryStore, lost: int) -> None:
    """As after a failover to a replica that had heard neither of the seal nor of the last events."""
    messages = Messages()
    messages.hold("append", after=True)
    settings = quick(save_visible_seconds=30.0)
    async with working(memory, settings, bindings=saving_to(messages)) as one:
        stream = await one.start(saying("a", "b", "c", "d"))
        reading = asyncio.create_task(one.watch(stream))
        await wait_until_async(lambda: messages.waiting["append"], description="it is sealed, and being saved")
        key = stream.ref.key
        entry = memory._tables.streams[key.owner, key.session_id, stream.ref.stream_id]
        whole = list(entry.events)
        entry.seal, entry.state = None, StreamState.OPEN
        del entry.events[len(whole) - lost :]
        messages.let_go("append")
        seen = await reading
        await one.idle()
        assert (seen.text, seen.outcome) == ("abcd", "completed")
        meta = await closed(memory, stream.ref)
        assert entry.events[: len(whole)] == whole
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.lost) == (Outcome.COMPLETED, False)
        assert seen.ids == list(range(1, len(entry.events) + 1))


@pytest.mark.parametrize("lost", [0, 3])
async def test_a_seal_that_it_lacks_after_the_viewers_had_their_end_is_put_back_too(
    memory: MemoryStore, lost: int
) -> None:
    """The older snapshot came back after the viewers had been given their end: the seal is put back, or the log says
    that it is lost, with the outcome that it had."""
    messages = Messages()
    messages.hold("append", after=True)
    line = Line(memory)
    async with working(line, quick(save_visible_seconds=30.0), bindings=saving_to(messages)) as one:
        stream = await one.start(saying("a", "b", "c", "d"))
        reading = asyncio.create_task(one.watch(stream))
        await wait_until_async(lambda: messages.waiting["append"], description="it is sealed, and being saved")
        line.down = True
        messages.let_go("append")
        seen = await reading
        assert (seen.text, seen.outcome, seen.named("streamguard.end")[0]["persisted"]) == ("abcd", "completed", "yes")
        key = stream.ref.key
        entry = memory._tables.streams[key.owner, key.session_id, stream.ref.stream_id]
        entry.seal, entry.state = None, StreamState.OPEN
        del entry.events[len(entry.events) - lost :]
        line.down = False
        await one.idle()
        meta = await meta_of(memory, stream.ref)
        assert (meta.state, meta.persisted, meta.lost) == (StreamState.CLOSED, Persisted.YES, bool(lost))
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.COMPLETED
        assert await OrphanSweep(one.runtime).sweep() == 0
        assert messages.calls["append"] == 1


async def test_a_log_that_lacks_what_is_not_kept_any_more_ends_with_the_outcome_that_was_sealed(
    memory: MemoryStore,
) -> None:
    messages = Messages()
    messages.hold("append", after=True)
    async with working(memory, quick(save_visible_seconds=30.0), bindings=saving_to(messages)) as one:
        pieces = [f"{number:06}" * 10_000 for number in range(40)]
        stream = await one.start(saying(*pieces))
        reading = asyncio.create_task(one.watch(stream))
        await wait_until_async(lambda: messages.waiting["append"], description="it is sealed, and being saved")
        assert stream.feed.base > 2
        key = stream.ref.key
        entry = memory._tables.streams[key.owner, key.session_id, stream.ref.stream_id]
        entry.seal, entry.state = None, StreamState.OPEN
        del entry.events[2:]
        messages.let_go("append")
        seen = await reading
        assert (seen.text, seen.outcome) == ("".join(pieces), "completed")
        await one.idle()
        meta = await meta_of(memory, stream.ref)
        assert (meta.state, meta.persisted, meta.lost) == (StreamState.CLOSED, Persisted.YES, True)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("lost", ["the last events", "the log alone", "everything"])
async def test_what_is_owed_for_a_log_that_lacks_events_is_saved_from_memory(memory: MemoryStore, lost: str) -> None:
    """The store went away before the save could read the log, and came back without the last events, or empty: nobody
    else has them."""
    messages = Messages()
    line = Line(memory)
    async with working(line, quick(save_total_seconds=0.2), bindings=saving_to(messages)) as one:

        async def goes_away() -> None:
            line.down = True

        line.before["previous"] = goes_away
        stream = await one.start(saying("a", "b", "c", "d"))
        seen = await one.watch(stream)
        assert (seen.text, seen.outcome, seen.named("streamguard.end")[0]["persisted"]) == (
            "abcd",
            "completed",
            "pending",
        )
        key = stream.ref.key
        place = key.owner, key.session_id, stream.ref.stream_id
        entry = memory._tables.streams[place]
        if lost == "everything":
            del memory._tables.streams[place]
        elif lost == "the log alone":
            line.answers["close"] = [AppendReply(Status.GONE, 0, stop_requested=False)] * 2
        else:
            entry.seal, entry.state = None, StreamState.OPEN
            del entry.events[2:]
        line.down = False
        await one.idle()
        meta = await meta_of(memory, stream.ref)
        if lost == "the log alone":
            assert meta.state is StreamState.SEALED, "the record is left to a sweep"
        else:
            assert (meta.state, meta.persisted, meta.lost) == (StreamState.CLOSED, Persisted.YES, True)
        (stored,) = await stored_in(messages)
        assert stored.message.parts == ({"type": "text", "text": "abcd"},)
        assert stored.message.outcome is Outcome.COMPLETED


async def test_a_log_that_is_gone_when_it_is_closed_is_reported_as_lost(memory: MemoryStore) -> None:
    """The store came back empty while the reply was saved, before anybody missed it."""
    messages = Messages()
    messages.hold("append")
    async with working(memory, quick(save_visible_seconds=0.2), bindings=saving_to(messages)) as one:
        stream = await one.start(saying("a", "b"))
        reading = asyncio.create_task(one.watch(stream))
        await wait_until_async(lambda: messages.waiting["append"], description="it is sealed, and being saved")
        key = stream.ref.key
        del memory._tables.streams[key.owner, key.session_id, stream.ref.stream_id]
        seen = await reading
        assert (seen.text, seen.outcome, seen.named("streamguard.end")[0]["persisted"]) == (
            "ab",
            "completed",
            "pending",
        )
        messages.let_go("append")
        await one.idle()
        meta = await meta_of(memory, stream.ref)
        assert (meta.state, meta.persisted, meta.lost) == (StreamState.CLOSED, Persisted.YES, True)
        (stored,) = await stored_in(messages)
        assert stored.message.parts == ({"type": "text", "text": "ab"},)
