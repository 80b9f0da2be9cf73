"""What is asked of a session from outside: stop, status, download, erasure."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import FaultError
from streamguard.faults import FaultCode
from streamguard.runtime import Nothing
from streamguard.stores.log_reads import SLICE_BYTES
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, SessionKey, StreamState, new_stream_id

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, closed, dying, expired, quick, read, saying, working

pytestmark = pytest.mark.anyio


async def test_status(stores: Stores) -> None:
    async with working(stores()) as one, working(stores()) as two:
        assert await two.runtime.sessions.status(KEY) == await one.runtime.sessions.status(SessionKey("bob", "x"))
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        record = await two.runtime.sessions.status(KEY)
        assert record.active is not None
        assert (record.active.ref, record.active.state) == (stream.ref, StreamState.OPEN)
        model.end()
        await one.watch(stream)
        record = await two.runtime.sessions.status(KEY)
        assert record.active is None
        assert record.last is not None
        assert record.last.seal is not None
        assert record.last.seal.outcome is Outcome.COMPLETED


@pytest.mark.long
async def test_every_question_says_when_the_store_is_away(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.down = True
        sessions = worker.runtime.sessions
        for question in (
            sessions.status(KEY),
            sessions.resume(KEY, None),
            sessions.stop(KEY),
            sessions.raw(KEY, new_stream_id()),
            sessions.erase(KEY),
        ):
            with pytest.raises(FaultError) as refused:
                await question
            assert refused.value.fault.code is FaultCode.STORE_UNAVAILABLE
            assert refused.value.fault.retry_after_seconds


async def test_stop_where_nothing_runs(stores: Stores) -> None:
    async with working(stores()) as worker:
        assert await worker.runtime.sessions.stop(KEY) is None
        await worker.tell(saying("a"))
        assert await worker.runtime.sessions.stop(KEY) is None


async def test_stop_that_comes_just_too_late(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model = Model("a")
        stream = await one.start(model)

        async def end() -> None:
            model.end()
            await stream.ended()

        line.before["request_stop"] = end
        assert await two.runtime.sessions.stop(KEY) is None


@pytest.mark.parametrize("vanishes", [False, True])
async def test_stop_of_an_expired_stream_seals_it_here(memory: MemoryStore, vanishes: bool) -> None:
    dead, line = Line(memory), Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line) as two:
        stream = await one.start(Model("a"))
        await stream.first(5)
        dead.down = True
        await expired(memory, stream.ref)
        if vanishes:

            async def erase() -> None:
                await memory.erase(KEY, mark_seconds=60)

            line.before["meta"] = erase
        stopped = await two.runtime.sessions.stop(KEY)
        assert stopped is not None
        assert stopped.ref == stream.ref
        if not vanishes:
            meta = await closed(memory, stream.ref)
            assert meta.seal is not None
            assert meta.seal.outcome is Outcome.STOPPED
        dead.down = False
        await wait_until_async(lambda: stream.finished or stream.degraded, description="the old writer noticed")
        await one.runtime.sessions.stop(KEY)


async def test_raw_is_the_text_as_far_as_it_goes(stores: Stores) -> None:
    async with working(stores()) as worker:
        model = Model(*["x" * 100_000] * 5)
        stream = await worker.start(model)
        await wait_until_async(lambda: stream.acked == 5, description="it is logged")
        meta, text = await worker.runtime.sessions.raw(KEY, stream.ref.stream_id)
        assert meta.ref == stream.ref
        pieces = [piece async for piece in text]
        assert "".join(pieces) == "x" * 500_000
        assert len(pieces) > 1
        model.end()
        await worker.watch(stream)
        _, text = await worker.runtime.sessions.raw(KEY, stream.ref.stream_id)
        assert "".join([piece async for piece in text]) == "x" * 500_000


async def test_raw_of_another_owner_is_not_found(stores: Stores) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying("a"))
        await worker.watch(stream)
        for key in (SessionKey("bob", KEY.session_id), SessionKey("ana", "other")):
            with pytest.raises(FaultError) as refused:
                await worker.runtime.sessions.raw(key, stream.ref.stream_id)
            assert refused.value.fault.code is FaultCode.NOT_FOUND


async def test_raw_of_a_log_that_vanishes_says_that_this_is_not_all(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying(*["x" * SLICE_BYTES] * 3))
        await worker.watch(stream)
        _, text = await worker.runtime.sessions.raw(KEY, stream.ref.stream_id)
        assert await anext(text)
        await memory.erase(KEY, mark_seconds=60)
        with pytest.raises(FaultError) as gone:
            await anext(text)
        assert (gone.value.fault.code, gone.value.fault.reason) == (FaultCode.RESUME_FAILED, "stream_gone")


async def test_raw_holds_one_slice_of_a_log_however_long_it_is(memory: MemoryStore) -> None:
    """It is read as far as it is asked for, and others have their turn in between."""
    line = Line(memory)
    async with working(line) as worker:
        stream = await worker.start(saying(*["x" * 1_000] * 1_000))
        await worker.watch(stream)
        before = line.calls["read"]
        _, text = await worker.runtime.sessions.raw(KEY, stream.ref.stream_id)
        assert line.calls["read"] == before + 1
        longest, total, turns = 0, 0, 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        async for piece in text:
            longest, total = max(longest, len(piece)), total + len(piece)
        other.cancel()
        slices = line.calls["read"] - before
        assert total == 1_000_000
        assert longest <= SLICE_BYTES
        assert turns >= slices >= total / SLICE_BYTES


@pytest.mark.parametrize("what", ["raw", "replay"])
async def test_who_reads_a_log_for_a_client_waits_for_its_turn(memory: MemoryStore, what: str) -> None:
    async with working(memory, quick(max_log_reads=1)) as worker:
        stream = await worker.start(saying("a"))
        await worker.watch(stream)

        async def reading() -> str:
            if what == "raw":
                _, text = await worker.runtime.sessions.raw(KEY, stream.ref.stream_id)
                return "".join([piece async for piece in text])
            return (await read(await worker.resume())).text

        async with worker.runtime.sessions._reads.turn("somebody else"):
            task = asyncio.create_task(reading())
            for _ in range(50):
                await asyncio.sleep(0)
            assert not task.done()
        assert await task == "a"


# -- erasure -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["same", "other"])
async def test_erase_ends_a_running_stream_first(stores: Stores, look: StreamStore, where: str) -> None:
    async with working(stores()) as one, working(stores()) as two:
        worker = one if where == "same" else two
        stream = await one.start(Model("a"))
        await stream.first(5)
        watching = asyncio.create_task(one.watch(stream))
        await worker.runtime.sessions.erase(KEY)
        assert await look.meta(stream.ref) is None
        assert await worker.runtime.sessions.resume(KEY, None) == Nothing("none")
        assert (await watching).outcome == "stopped"
        await worker.runtime.sessions.erase(KEY)


async def test_erase_of_an_orphan(memory: MemoryStore) -> None:
    """Sealed by a worker that died before it closed: the erasing worker closes it first."""
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(memory) as two:
        dead.hold("close")
        stream = await one.start(saying("a"))
        await wait_until_async(lambda: dead.waiting["close"], description="it is sealed")
        dead.down = True
        await expired(memory, stream.ref)
        await two.runtime.sessions.erase(KEY)
        assert await memory.meta(stream.ref) is None
        dead.down = False
        dead.let_go("close")
        await one.idle()


@pytest.mark.parametrize("where", ["same", "other"])
async def test_erase_refuses_while_a_writer_does_not_end(memory: MemoryStore, where: str) -> None:
    """503, and nothing was deleted; the same again once it ended does it."""
    line = Line(memory)
    settings = quick(save_total_seconds=0.3)
    async with working(line, settings) as one, working(memory, settings) as two:
        worker = one if where == "same" else two
        line.hold("close")
        stream = await one.start(saying("a"))
        await wait_until_async(lambda: line.waiting["close"], description="it is sealed")
        with pytest.raises(FaultError) as refused:
            await worker.runtime.sessions.erase(KEY)
        assert (refused.value.fault.status, refused.value.fault.reason) == (503, "not_drained")
        assert await memory.meta(stream.ref) is not None
        line.let_go("close")
        await stream.ended()
        await worker.runtime.sessions.erase(KEY)
        assert await memory.meta(stream.ref) is None


async def test_erase_while_polling_without_hints(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        line.deaf = True
        slow = Line(memory)
        async with working(slow) as three:
            slow.hold("close")
            stream = await three.start(saying("a"))
            await wait_until_async(lambda: slow.waiting["close"], description="it is sealed")
            erasing = asyncio.create_task(two.runtime.sessions.erase(KEY))
            await wait_until_async(lambda: line.calls["meta"], description="it waits")
            slow.let_go("close")
            await erasing
        assert await memory.meta(stream.ref) is None
        assert one.runtime.health().streams == 0
