"""A limit counts where a new place is needed: what joins or replaces takes none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard.errors import FaultError
from streamguard.faults import FaultCode
from streamguard.runtime import Revision
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.values import START, SessionKey

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Worker, closed, quick, read, saying, working

pytestmark = pytest.mark.anyio

OTHER = SessionKey("ana", "another")
EQUAL = "f" * 64


async def refused(worker: Worker, key: SessionKey = OTHER, **request: object) -> tuple[int, FaultCode]:
    with pytest.raises(FaultError) as caught:
        await worker.open(worker.request(key, **request))  # type: ignore[arg-type]
    assert caught.value.fault.retry_after_seconds
    return caught.value.fault.status, caught.value.fault.code


FULL = (429, FaultCode.LIMIT_STREAMS)
PROCESS_FULL = (503, FaultCode.LIMIT_STREAMS)
CONFLICT = (409, FaultCode.CONFLICT_ACTIVE)


@pytest.mark.parametrize("where", ["same", "other"])
async def test_an_owner_at_the_limit_replaces(stores: Stores, look: StreamStore, where: str) -> None:
    settings = quick(max_streams_per_owner=1)
    async with working(stores(), settings) as one, working(stores(), settings) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        worker = one if where == "same" else two
        for text in ("b", "c"):
            new = await worker.start(saying(text), worker.request(on_conflict="replace"))
            assert (await worker.watch(new)).text == text
            await closed(look, new.ref)
        meta = await closed(look, old.ref)
        assert meta.seal is not None
        assert meta.seal.outcome == "stopped"


@pytest.mark.parametrize("where", ["same", "other"])
async def test_an_owner_at_the_limit_joins(stores: Stores, where: str) -> None:
    settings = quick(max_streams_per_owner=1)
    async with working(stores(), settings) as one, working(stores(), settings) as two:
        model = Model("a")
        stream = await one.start(model, one.request(fingerprint=EQUAL))
        await stream.first(5)
        worker = one if where == "same" else two
        joined = await worker.runtime.open(worker.request(fingerprint=EQUAL, on_conflict="join"))
        assert isinstance(joined, StreamMeta)
        reading = asyncio.create_task(read(worker.runtime.resume_view(joined, START, ids=True)))
        model.end()
        assert (await reading).text == "a"


async def test_at_the_limit_a_second_question_is_a_conflict_and_another_session_is_not(stores: Stores) -> None:
    """So a client learns what to do about it."""
    async with working(stores(), quick(max_streams_per_owner=1)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert await refused(worker, KEY) == CONFLICT
        assert await refused(worker, OTHER) == FULL
        assert await refused(worker, OTHER, on_conflict="replace") == FULL
        assert await refused(worker, OTHER, on_conflict="join", fingerprint=EQUAL) == FULL
        assert not stream.stopped
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"


@pytest.mark.parametrize("how", ["replaced", "stopped", "completed"])
async def test_the_next_answer_takes_the_place_of_one_that_is_still_being_closed(memory: MemoryStore, how: str) -> None:
    """Its reply is being saved, say: the session's next question need not wait for that."""
    line = Line(memory)
    async with working(line, quick(max_streams_per_owner=1, append_deadline_seconds=5.0)) as worker:
        model = Model("a")
        old = await worker.start(model)
        await old.first(5)
        line.hold("close")
        if how == "completed":
            model.end()
        elif how == "stopped":
            await worker.runtime.sessions.stop(KEY)
        if how != "replaced":
            await wait_until_async(lambda: line.waiting["close"], description="it is sealed")
        new = await worker.start(Model("b"), worker.request(on_conflict="replace" if how == "replaced" else "reject"))
        await new.first(5)
        assert await refused(worker, OTHER) == FULL, "it holds a place itself"
        line.let_go("close")
        await worker.runtime.sessions.stop(KEY)
        assert (await worker.watch(new)).outcome == "stopped"


async def test_in_a_full_process_replacing_and_joining_need_no_place(memory: MemoryStore) -> None:
    async with working(memory, quick(max_streams_per_process=1)) as worker:
        stream = await worker.start(Model("a"), worker.request(fingerprint=EQUAL))
        await stream.first(5)
        joined = await worker.runtime.open(worker.request(fingerprint=EQUAL, on_conflict="join"))
        assert isinstance(joined, StreamMeta)
        assert await refused(worker) == PROCESS_FULL
        assert await refused(worker, KEY, on_conflict="join", fingerprint="e" * 64) == PROCESS_FULL
        assert await refused(worker, OTHER, on_conflict="replace") == PROCESS_FULL
        assert not stream.stopped
        new = await worker.start(saying("b"), worker.request(on_conflict="replace"))
        assert (await worker.watch(new)).text == "b"
        assert stream.stopped


async def test_in_a_full_process_an_edit_needs_no_place(memory: MemoryStore) -> None:
    """It replaces what runs; one of what the client keeps is in the way as ever."""
    async with working(memory, quick(max_streams_per_process=1, max_streams_per_owner=1)) as worker:
        stream = await worker.start(Model("a"), worker.request(message_id="a1"))
        await stream.first(5)
        keeping = replace(worker.request(), revision=Revision("a2", ("q1", "a1", "q2")))
        with pytest.raises(FaultError):
            await worker.open(keeping)
        assert not stream.stopped
        edit = replace(worker.request(), revision=Revision("q1", ()))
        new = await worker.start(saying("b"), edit)
        assert (await worker.watch(new)).text == "b"
        assert stream.stopped


async def test_what_runs_elsewhere_leaves_no_place_here(memory: MemoryStore) -> None:
    settings = quick(max_streams_per_process=1)
    async with working(memory, settings) as one, working(memory, settings) as two:
        there, here = Model("a"), Model("b")
        streams = [await one.start(there), await two.start(here, two.request(OTHER))]
        assert await refused(two, KEY, on_conflict="replace") == PROCESS_FULL
        assert not streams[0].stopped
        for worker, model, stream in zip((one, two), (there, here), streams, strict=True):
            model.end()
            assert (await worker.watch(stream)).outcome == "completed"
