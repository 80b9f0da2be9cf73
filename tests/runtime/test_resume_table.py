"""The resume table, row by row and in its order, through `runtime.sessions.resume`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from streamguard.cursor import Cursor
from streamguard.errors import FaultError, StoreUnavailableError
from streamguard.faults import Fault, FaultCode, Phase
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream, Nothing, Resumed
from streamguard.runtime.request import Ending
from streamguard.runtime.viewing.resume import resolve, resolve_after
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Seal, SessionRecord, StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import new_stream, put, registered, try_register
from streamguard.values import START, Outcome, Persisted, SessionKey, StreamState, new_stream_id

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Worker, closed, expired, quick, read, saying, working

pytestmark = pytest.mark.anyio


async def refused(worker: Worker, cursor: Cursor | None = None, key: SessionKey = KEY) -> tuple[int, str, str | None]:
    """Status, code and reason of a resume that is refused."""
    with pytest.raises(FaultError) as caught:
        await worker.runtime.sessions.resume(key, cursor)
    fault = caught.value.fault
    assert fault.phase is Phase.RESUME
    return fault.status, str(fault.code), fault.reason


async def finished(worker: Worker, *items: str) -> LiveStream:
    stream = await worker.start(saying(*items))
    await stream.ended()
    await worker.idle()
    return stream


def at(stream: LiveStream, seq: int) -> Cursor:
    return Cursor(stream.ref.stream_id, stream.epoch, seq)


async def test_never_any_stream(stores: Stores) -> None:
    async with working(stores()) as worker:
        await finished(worker, "a")
        assert await worker.runtime.sessions.resume(SessionKey("ana", "other"), None) == Nothing("none")
        assert await worker.runtime.sessions.resume(SessionKey("bob", KEY.session_id), None) == Nothing("none")


async def test_store_unreachable_comes_first(memory: MemoryStore) -> None:
    """Never 204 for a store error; while the breaker is open nobody waits to hear so."""
    line = Line(memory)
    async with working(line) as worker:
        stream = await finished(worker, "a")
        line.down = True
        for cursor in (None, at(stream, 1), at(stream, 99), Cursor(new_stream_id(), 1, 1)):
            assert await refused(worker, cursor) == (503, "store_unavailable", None)
        worker.runtime.breaker.exhausted(StoreUnavailableError("gone", operation="append"))
        asked = line.calls["session"]
        with pytest.raises(FaultError) as caught:
            await worker.runtime.sessions.resume(KEY, None)
        assert caught.value.fault.retry_after_seconds
        assert line.calls["session"] == asked


async def test_no_such_stream(stores: Stores) -> None:
    async with working(stores()) as worker:
        stream = await finished(worker, "a")
        gone = (410, "resume_failed", "stream_gone")
        assert await refused(worker, Cursor(new_stream_id(), 1, 1)) == gone
        assert await refused(worker, at(stream, 1), SessionKey("bob", KEY.session_id)) == gone
        assert await refused(worker, at(stream, 1), SessionKey("ana", "other")) == gone


async def test_cursor_ahead(stores: Stores) -> None:
    """Promise I9. Whether the stream runs, ended, or lost its log."""
    async with working(stores()) as worker:
        ended = await finished(worker, "a")
        ahead = (410, "resume_failed", "cursor_ahead")
        assert await refused(worker, at(ended, 3)) == ahead
        model = Model("a")
        live = await worker.start(model)
        await live.first(5)
        assert await refused(worker, at(live, 2)) == ahead
        live.degrade("test")
        assert await refused(worker, at(live, 2)) == ahead
        model.end()
        await live.ended()


async def test_active_stream(stores: Stores) -> None:
    async with working(stores()) as one, working(stores()) as two:
        earlier = await finished(one, "x")
        model = Model("a", "b")
        stream = await one.start(model)
        await wait_until_async(lambda: stream.acked == 2, description="it is logged")
        for worker in (one, two):
            for cursor, after in ((None, START), (at(stream, 0), START), (at(stream, 2), at(stream, 2).position)):
                found = await worker.runtime.sessions.resume(KEY, cursor)
                assert isinstance(found, Resumed)
                assert (found.meta.ref, found.after) == (stream.ref, after)
            old = await worker.runtime.sessions.resume(KEY, at(earlier, 1))
            assert isinstance(old, Resumed)
            assert old.meta.ref == earlier.ref
        model.end()
        await stream.ended()


async def test_sealed_stream_is_active_until_its_terminal(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as one, working(memory) as two:
        line.hold("close")
        stream = await one.start(saying("a"))
        await wait_until_async(lambda: line.waiting["close"], description="it is sealed")
        viewer = await two.resume(cursor=at(stream, 1))
        line.let_go("close")
        assert (await read(viewer)).outcome == "completed"


async def test_lost_log(memory: MemoryStore) -> None:
    """409 while it runs (known here before the store knows) and after, but 204 once its message is saved."""
    line = Line(memory)
    async with working(line, quick(heartbeat_seconds=0.2)) as one, working(memory) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        line.hold("declare_lost")
        stream.degrade("test")
        lost = (409, "resume_failed", "not_registered")
        assert await refused(one) == lost
        assert await refused(one, at(stream, 1)) == lost
        line.let_go("declare_lost")
        await wait_until_async(lambda: line.calls["declare_lost"], description="it is declared")
        assert await refused(two) == lost
        model.end()
        await one.idle()
        await closed(memory, stream.ref)
        for worker in (one, two):
            assert await refused(worker) == lost
            assert await refused(worker, at(stream, 1)) == lost
        await memory.update_meta(stream.ref, persisted=Persisted.YES)
        found = await two.runtime.sessions.resume(KEY, None)
        assert isinstance(found, Nothing)
        assert found.reason == "finished"
        assert await refused(two, at(stream, 1)) == lost


async def test_never_registered_stream_of_this_process(memory: MemoryStore) -> None:
    line = Line(memory)
    line.broken = {"register", "declare_lost"}
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        worker.runtime.breaker.release()
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the breaker closed")
        assert await refused(worker) == (409, "resume_failed", "not_registered")
        assert await refused(worker, at(stream, 0)) == (409, "resume_failed", "not_registered")
        assert await refused(worker, at(stream, 1)) == (410, "resume_failed", "stream_gone")
        assert await refused(worker, Cursor(new_stream_id(), 1, 0)) == (410, "resume_failed", "stream_gone")
        model.end()
        await stream.ended()
        line.broken = set()


async def test_failed_before_its_first_byte(stores: Stores) -> None:
    async with working(stores()) as worker:
        stream = await worker.open()
        await worker.runtime.reject(stream, RuntimeError())
        await worker.idle()
        found = await worker.runtime.sessions.resume(KEY, None)
        assert isinstance(found, Nothing)
        assert found.reason == "finished"
        assert (await read(await worker.resume(cursor=at(stream, 0)))).outcome == "failed"


async def test_finished(stores: Stores) -> None:
    async with working(stores(), quick(replay_after_finish_seconds=30)) as worker:
        stream = await finished(worker, "a", "b")
        whole = await worker.runtime.sessions.resume(KEY, None)
        assert isinstance(whole, Resumed)
        assert whole.after == START
        assert (await read(await worker.resume(cursor=at(stream, 2)))).outcome == "completed"
        nothing = await worker.runtime.sessions.resume(KEY, at(stream, 3))
        assert isinstance(nothing, Nothing)
        assert nothing.reason == "finished"


@pytest.mark.parametrize(
    ("persisted", "replayed"),
    [(Persisted.NOT_ASKED, False), (Persisted.YES, False), (Persisted.PENDING, True), (Persisted.NO, True)],
)
async def test_finished_long_ago(stores: Stores, look: StreamStore, persisted: Persisted, replayed: bool) -> None:
    async with working(stores(), quick(replay_after_finish_seconds=0)) as worker:
        stream = await finished(worker, "a")
        await look.update_meta(stream.ref, persisted=persisted)

        async def aged() -> bool:
            meta = await look.meta(stream.ref)
            return meta is not None and bool(meta.closed_seconds)

        is_aged: Callable[[], Awaitable[bool] | bool] = aged
        await wait_until_async(is_aged, description="time has passed since it was closed")
        found = await worker.runtime.sessions.resume(KEY, None)
        assert isinstance(found, Resumed) is replayed
        tail = await worker.runtime.sessions.resume(KEY, at(stream, 1))
        assert isinstance(tail, Resumed), "a cursor behind the end is always served"


@pytest.mark.parametrize("said", [0, 2])
@pytest.mark.parametrize("persisted", [Persisted.NOT_ASKED, Persisted.YES])
async def test_half_a_reply_is_never_nothing_to_resume(
    stores: Stores, look: StreamStore, said: int, persisted: Persisted
) -> None:
    """Its writer is gone, so nobody was told; and an empty log may have lost what was said."""
    ref = registered(await try_register(look, new_stream(KEY), lease=0.05)).ref
    if said:
        await put(look, ref, 1, *[b"a"] * said)
    await expired(look, ref)
    async with working(stores(), quick(replay_after_finish_seconds=0)) as worker:
        assert await OrphanSweep(worker.runtime).sweep() == 1
        await look.update_meta(ref, persisted=persisted)
        reading = await read(await worker.resume())
        assert (reading.outcome, reading.text) == ("interrupted", "a" * said)


async def test_a_request_refused_by_a_shutdown_has_nothing_to_resume(stores: Stores) -> None:
    """It was answered with an error, so its client knows."""
    async with working(stores(), quick(replay_after_finish_seconds=0)) as worker:
        stream = await worker.open()
        ending = Ending(Outcome.INTERRUPTED, Fault.about(stream, FaultCode.SHUTTING_DOWN))
        await worker.runtime._parts.stream_tasks.end(stream, ending)
        found = await worker.runtime.sessions.resume(KEY, None)
        assert isinstance(found, Nothing)
        assert found.reason == "finished"


async def test_protocol_without_a_visible_terminal(stores: Stores) -> None:
    """Who has the event before the terminal record has everything."""
    async with working(stores()) as worker:
        stream = await worker.start(saying("data: a\n\n"), worker.request(protocol="opaque"))
        await stream.ended()
        await worker.idle()
        assert isinstance(await worker.runtime.sessions.resume(KEY, at(stream, 0)), Resumed)
        assert isinstance(await worker.runtime.sessions.resume(KEY, at(stream, 1)), Nothing)


async def test_pointer_to_a_log_that_is_gone(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await finished(worker, "a")
        entry = memory._tables.sessions[KEY]
        memory._tables.forget(entry, entry.streams[stream.ref.stream_id])
        assert await refused(worker) == (410, "resume_failed", "stream_gone")
        assert await refused(worker, at(stream, 1)) == (410, "resume_failed", "stream_gone")


# -- what no store here does by itself: trimmed logs -------------------------------------------------------------------


async def snapshot(memory: MemoryStore) -> StreamMeta:
    async with working(memory) as worker:
        stream = await finished(worker, "a", "b", "c")
    return await closed(memory, stream.ref)


@pytest.mark.parametrize(
    ("first_seq", "seq", "reason"),
    [
        (3, None, "trimmed"),
        (3, 0, "trimmed"),
        (3, 1, "trimmed"),
        (3, 2, "trimmed"),
        (5, None, "stream_gone"),
        (5, 1, "stream_gone"),
        (5, 4, "stream_gone"),
    ],
)
async def test_trimmed(memory: MemoryStore, first_seq: int, seq: int | None, reason: str) -> None:
    meta = replace(await snapshot(memory), first_seq=first_seq)
    assert meta.last_seq == 4

    def resumed() -> object:
        if seq is None:
            return resolve(KEY, SessionRecord(None, None, meta.ref.stream_id, meta), quick())
        held = seq == 0 or first_seq <= seq
        return resolve_after(KEY, Cursor(meta.ref.stream_id, meta.epoch, seq), meta, held=held)

    with pytest.raises(FaultError) as caught:
        resumed()
    assert (caught.value.fault.status, caught.value.fault.reason) == (410, reason)


async def test_trimmed_behind_the_cursor_is_no_matter(memory: MemoryStore) -> None:
    meta = replace(await snapshot(memory), first_seq=3)
    cursor = Cursor(meta.ref.stream_id, meta.epoch, 3)
    assert resolve_after(KEY, cursor, meta, held=True) == Resumed(meta, cursor.position)


async def test_ahead_comes_before_lost(memory: MemoryStore) -> None:
    meta = replace(await snapshot(memory), lost=True)
    for seq, reason in ((9, "cursor_ahead"), (4, "cursor_ahead"), (1, "not_registered")):
        with pytest.raises(FaultError) as caught:
            resolve_after(KEY, Cursor(meta.ref.stream_id, meta.epoch, seq), meta, held=seq <= 4)
        assert caught.value.fault.reason == reason


async def test_a_stream_without_a_close_time_counts_as_recent(memory: MemoryStore) -> None:
    meta = replace(await snapshot(memory), closed_seconds=None)
    record = SessionRecord(None, None, meta.ref.stream_id, meta)
    assert resolve(KEY, record, quick(replay_after_finish_seconds=0)) == Resumed(meta, START)


@pytest.mark.parametrize("closed_seconds", [0.0, 0.001])
async def test_without_a_grace_nothing_that_ended_is_replayed(memory: MemoryStore, closed_seconds: float) -> None:
    """Not even in the millisecond of its end."""
    meta = replace(await snapshot(memory), state=StreamState.CLOSED, closed_seconds=closed_seconds)
    meta = replace(meta, persisted=Persisted.NOT_ASKED, seal=Seal(Outcome.COMPLETED, meta.last_seq))
    record = SessionRecord(None, None, meta.ref.stream_id, meta)
    found = resolve(KEY, record, quick(replay_after_finish_seconds=0))
    assert isinstance(found, Nothing)
