"""A session that is occupied: reject, replace, join, and the slots that an admission takes and gives back."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import FaultError
from streamguard.faults import FaultCode
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import NewStream, StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.values import START, Outcome, SessionKey, StreamRef

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .occupied import conflict, meta_of
from .stage import KEY, Model, Worker, closed, declared_lost, expired, quick, read, saying, working

pytestmark = pytest.mark.anyio


async def full(worker: Worker, key: SessionKey | None = None, **request: object) -> None:
    with pytest.raises(FaultError) as refused:
        await worker.open(worker.request(key or SessionKey("ana", "another"), **request))  # type: ignore[arg-type]
    fault = refused.value.fault
    assert (fault.status, fault.code) == (429, FaultCode.LIMIT_STREAMS)
    assert fault.retry_after_seconds


async def test_reject(stores: Stores) -> None:
    """The second POST is refused, on either worker; it takes no slot of its owner's."""
    async with working(stores(), quick(max_streams_per_owner=2)) as one, working(stores()) as two:
        model = Model("a")
        stream = await one.start(model)
        for _ in range(3):
            await conflict(one)
            await conflict(two)
        model.end()
        assert (await one.watch(stream)).outcome == "completed"
        await one.idle()
        assert (await two.tell(saying("b"))).text == "b"


@pytest.mark.parametrize("where", ["same", "other"])
async def test_replace(stores: Stores, look: StreamStore, where: str) -> None:
    async with working(stores()) as one, working(stores()) as two:
        model = Model("a")
        old = await one.start(model)
        await old.first(5)
        watching = asyncio.create_task(one.watch(old))
        worker = one if where == "same" else two
        new = await worker.start(saying("b"), worker.request(on_conflict="replace"))
        assert (await worker.watch(new)).text == "b"
        assert (await watching).outcome == "stopped"
        ordinals = [(await closed(look, stream.ref)).ordinal for stream in (old, new)]
        assert ordinals == [1, 2]


async def test_replace_by_force(memory: MemoryStore) -> None:
    """The old writer does not end in time: its epoch is raised, and it is sealed as stopped."""
    line = Line(memory)
    patient = quick(lease_seconds=10.0, heartbeat_seconds=0.1)
    async with working(line, patient) as one, working(memory, quick(replace_wait_seconds=0.1)) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        line.deaf = True
        line.broken = {"append", "listen", "seal"}
        line.hold("heartbeat")
        watching = asyncio.create_task(one.watch(old))
        new = await two.start(saying("b"), two.request(on_conflict="replace"))
        assert (await two.watch(new)).text == "b"
        meta = await closed(memory, old.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.taken) == (Outcome.STOPPED, True)
        line.broken = set()
        line.deaf = False
        line.let_go("heartbeat")
        assert (await watching).outcome == "stopped"


async def test_replace_of_one_that_ends_meanwhile(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model = Model("a")
        old = await one.start(model)
        await old.first(5)

        async def end() -> None:
            model.end()
            await one.idle()

        line.before["request_stop"] = end
        assert (await two.tell(saying("b"), two.request(on_conflict="replace"))).text == "b"
        meta = await closed(memory, old.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.COMPLETED


async def test_replace_of_one_whose_record_vanishes(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        old = await one.start(Model("a"))
        await old.first(5)

        async def erase() -> None:
            await memory.erase(KEY, mark_seconds=0.001)

        line.before["meta"] = erase
        assert (await two.tell(saying("b"), two.request(on_conflict="replace"))).text == "b"
        await wait_until_async(lambda: old.degraded, description="the old writer is told")
        old.stop()


@pytest.mark.parametrize("where", ["same", "other"])
async def test_join(stores: Stores, where: str) -> None:
    """An equal request gets the running stream, from its start; any other is refused."""
    async with working(stores()) as one, working(stores()) as two:
        model = Model("a")
        stream = await one.start(model, one.request(fingerprint="f" * 64))
        await stream.first(5)
        worker = one if where == "same" else two
        joined = await worker.runtime.open(worker.request(fingerprint="f" * 64, on_conflict="join"))
        assert isinstance(joined, StreamMeta)
        assert joined.ref == stream.ref
        reading = asyncio.create_task(read(worker.runtime.resume_view(joined, START, ids=True)))
        await conflict(worker, fingerprint="e" * 64, on_conflict="join")
        await conflict(worker, fingerprint="", on_conflict="join")
        await conflict(worker, fingerprint="f" * 64, on_conflict="reject")
        model.say("b")
        model.end()
        assert (await reading).ids == [1, 2, 3]


async def test_a_stream_without_a_fingerprint_or_log_is_not_joined(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await conflict(worker, fingerprint="", on_conflict="join")
        model.end()
        await stream.ended()
        await worker.idle()
        other = await worker.start(Model("a"), worker.request(fingerprint="f" * 64))
        await other.first(5)
        other.degrade("test")
        await declared_lost(memory, other.ref)
        await conflict(worker, fingerprint="f" * 64, on_conflict="join")
        await worker.runtime.sessions.stop(KEY)


async def test_a_cancelled_admission_gives_back_the_slot_it_may_have_taken(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, quick(max_streams_per_owner=1, registration_seconds=5.0)) as worker:
        line.hold("register", after=True)
        opening = asyncio.create_task(worker.open())
        await wait_until_async(lambda: line.waiting["register"], description="it is registered and does not know")
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        line.let_go("register")
        assert (await worker.tell(saying("a"), worker.request(SessionKey("ana", "chat-2")))).text == "a"


@pytest.mark.long
async def test_what_cannot_be_taken_back_expires(memory: MemoryStore) -> None:
    line = Line(memory)
    settings = quick(max_streams_per_owner=1, lease_seconds=1.5, registration_seconds=5.0, sweep_seconds=60.0)
    async with working(line, settings) as worker:
        line.hold("register", after=True)
        line.broken = {"withdraw"}
        opening = asyncio.create_task(worker.open())
        await wait_until_async(lambda: line.waiting["register"], description="it is registered and does not know")
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled(), "the store's failure does not take its place"
        line.let_go("register")
        await full(worker)
        left = (await meta_of(memory, KEY)).ref
        await expired(memory, left)
        assert (await worker.tell(saying("a"), worker.request(SessionKey("ana", "chat-2")))).text == "a"
        line.broken = set()


async def test_an_admission_costs_one_step_of_the_store(memory: MemoryStore) -> None:
    """And so do a refusal and a joined stream: nothing was taken that would have to be given back."""
    line = Line(memory)
    async with working(line, quick(max_streams_per_owner=2)) as worker:
        model = Model("a")
        stream = await worker.start(model, worker.request(fingerprint="f" * 64))
        await conflict(worker)
        assert isinstance(
            await worker.runtime.open(worker.request(fingerprint="f" * 64, on_conflict="join")), StreamMeta
        )
        other = await worker.start(saying("b"), worker.request(SessionKey("ana", "chat-2")))
        await full(worker)
        assert line.calls["register"] == 5
        assert line.calls["release_slot"] == 0
        assert line.calls["take_over"] == line.calls["session"] == 0
        model.end()
        for one in (stream, other):
            assert (await worker.watch(one)).outcome == "completed"


async def test_a_slot_may_be_gone_once_the_way_is_clear(memory: MemoryStore) -> None:
    """The stream that was replaced has ended all the same."""
    line = Line(memory)
    async with working(line, quick(max_streams_per_owner=2)) as worker:
        old = await worker.start(Model("a"))
        await old.first(5)
        others = [NewStream(StreamRef(SessionKey("ana", f"s{n}"), f"{n:024x}"), "m", "plain", "b", "") for n in (1, 2)]

        async def use_the_slots() -> None:
            for other in others:
                await memory.register(other, lease_seconds=60.0, ttl_seconds=60.0, limit=None)

        line.before["request_stop"] = use_the_slots
        await full(worker, KEY, on_conflict="replace")
        assert (await worker.watch(old)).outcome == "stopped"
