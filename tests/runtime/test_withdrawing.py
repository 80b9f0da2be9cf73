"""Registrations in doubt, or cancelled between their steps, are in nobody's way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamguard.errors import FaultError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.settings import Settings
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import NewStream, Status
from streamguard.stores.registrations import Withdrawn
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, SessionKey, StreamRef, new_stream_id

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Worker, closed, dying, expired, quick, saying, working

pytestmark = pytest.mark.anyio

PATIENT = 3600.0
"""A lease that no test waits for."""


def lasting(**overrides: object) -> Settings:
    return quick(lease_seconds=PATIENT, sweep_seconds=PATIENT, live_ttl_seconds=4 * PATIENT, **overrides)


async def unavailable(worker: Worker) -> None:
    with pytest.raises(FaultError) as refused:
        await worker.open(worker.request(on_store_failure="fail"))
    assert refused.value.fault.code is FaultCode.STORE_UNAVAILABLE


async def taken_back(worker: Worker) -> None:
    withdrawing = worker.runtime._parts.steps_in_doubt
    await wait_until_async(lambda: not withdrawing.under_way, description="the registration is taken back")


async def test_a_registration_whose_reply_was_lost_is_taken_back(stores: Stores, look: StreamStore) -> None:
    """The client was told 503: its next attempt begins, on any worker, long before the lease runs out."""
    line = Line(look)
    async with working(line, lasting()) as one, working(stores(), lasting()) as two:
        line.lost["register"] = 1000
        await unavailable(one)
        line.lost.clear()
        await taken_back(one)
        assert (await two.tell(saying("a"))).text == "a"


async def test_it_is_taken_back_once_the_store_answers(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, lasting()) as worker:
        line.lost["register"] = 1000
        line.broken = {"withdraw", "ping"}
        await unavailable(worker)
        assert (await memory.session(KEY)).active_id is not None
        line.lost.clear()
        line.broken = set()
        await taken_back(worker)
        assert (await memory.session(KEY)).last_id is None


async def test_a_finished_reply_stays_its_sessions_last(stores: Stores, look: StreamStore) -> None:
    line = Line(look)
    async with working(line, lasting()) as worker:
        stream = await worker.start(saying("a"))
        assert (await worker.watch(stream)).text == "a"
        await closed(look, stream.ref)
        line.lost["register"] = 1000
        await unavailable(worker)
        await taken_back(worker)
        session = await look.session(KEY)
        assert (session.active_id, session.last_id) == (None, stream.ref.stream_id)


async def test_a_request_that_meets_its_own_processs_doubt_waits_for_it(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, lasting(registration_seconds=5.0)) as worker:
        line.hold("register", after=True)
        opening = asyncio.create_task(worker.open())
        await wait_until_async(lambda: line.waiting["register"], description="it is registered and does not know")
        line.hold("withdraw")
        opening.cancel()
        await asyncio.wait([opening])
        line.let_go("register")
        telling = asyncio.create_task(worker.tell(saying("a")))
        await wait_until_async(lambda: line.calls["register"] == 2, description="the next request meets it")
        line.let_go("withdraw")
        assert (await telling).text == "a"


async def test_a_cancelled_registration_frees_its_session_and_its_owners_slot(
    stores: Stores, look: StreamStore
) -> None:
    line = Line(look)
    settings = lasting(max_streams_per_owner=1, registration_seconds=5.0)
    async with working(line, settings) as one, working(stores(), settings) as two:
        line.hold("register", after=True)
        opening = asyncio.create_task(one.open())
        await wait_until_async(lambda: line.waiting["register"], description="it is registered and does not know")
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        line.let_go("register")
        await taken_back(one)
        assert (await two.tell(saying("a"))).text == "a"
        assert (await two.tell(saying("b"), two.request(SessionKey("ana", "chat-2")))).text == "b"


async def test_a_registration_that_arrives_after_it_was_taken_back_begins_nothing(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, lasting(registration_seconds=5.0)) as worker:
        request = replace(worker.request(), stream_id=new_stream_id())
        line.hold("register")
        opening = asyncio.create_task(worker.open(request))
        await wait_until_async(lambda: line.waiting["register"], description="it is on its way")
        opening.cancel()
        await asyncio.wait([opening])
        await taken_back(worker)
        line.let_go("register")
        new = NewStream(StreamRef(KEY, request.stream_id or ""), request.message_id, "plain", "chat", "")
        assert await memory.register(new, lease_seconds=60.0, ttl_seconds=60.0, limit=None) == Withdrawn()
        assert (await memory.session(KEY)).active_id is None


async def test_what_something_became_of_is_left_alone(memory: MemoryStore) -> None:
    async with working(memory, lasting()) as one, working(memory, lasting()) as two:
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        two.runtime._parts.steps_in_doubt.withdraw(stream.ref)
        await taken_back(two)
        model.end()
        assert (await one.watch(stream)).outcome == "completed"


async def test_the_drain_waits_for_it_and_then_leaves_it_to_the_lease(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, lasting()) as worker:
        line.lost["register"] = 1000
        line.hold("withdraw")
        await unavailable(worker)
        draining = asyncio.create_task(worker.runtime.drain())
        await wait_until_async(lambda: line.waiting["withdraw"], description="it is being taken back")
        assert not draining.done()
        line.let_go("withdraw")
        await draining
        assert (await memory.session(KEY)).active_id is None


async def test_a_takeover_whose_request_is_cancelled_goes_on(memory: MemoryStore) -> None:
    """Between the new lease and the seal, nobody else could end that stream for a lease."""
    dead, line = Line(memory), Line(memory)
    settings = lasting(registration_seconds=5.0)
    async with working(dead, dying(), clean=False) as one, working(line, settings) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        line.hold("take_over", after=True)
        opening = asyncio.create_task(two.open())
        await wait_until_async(lambda: line.waiting["take_over"], description="it is taken and not sealed")
        opening.cancel()
        await asyncio.wait([opening])
        line.let_go("take_over")
        meta = await closed(memory, old.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.INTERRUPTED
        assert (await two.tell(saying("b"))).text == "b"
        dead.down = False
        await wait_until_async(lambda: old.finished, description="the old writer noticed")


async def test_a_takeover_whose_reply_was_lost_is_finished(stores: Stores, look: StreamStore) -> None:
    """The dead stream has a new lease, of a worker that does not know of it."""
    dead, line = Line(look), Line(look)
    async with (
        working(dead, dying(), clean=False) as one,
        working(line, lasting()) as two,
        working(stores(), lasting()) as three,
    ):
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(look, old.ref)
        line.lost["take_over"] = 1
        await unavailable(two)
        meta = await closed(look, old.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.INTERRUPTED
        assert (await three.tell(saying("b"))).text == "b"
        dead.down = False
        await wait_until_async(lambda: old.finished, description="the old writer noticed")


async def test_a_takeover_that_did_not_happen_is_left_to_the_next_request(memory: MemoryStore) -> None:
    dead, line = Line(memory), Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line, lasting()) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        line.errors["take_over"] = [StoreUnavailableError("no", operation="take_over")]
        await unavailable(two)
        await taken_back(two)
        assert line.calls["take_over"] == 1
        await wait_until_async(lambda: not two.runtime.breaker.open, description="the store is used")
        assert (await two.tell(saying("b"))).text == "b"
        dead.down = False
        await wait_until_async(lambda: old.finished, description="the old writer noticed")


async def test_a_takeover_that_fails_after_its_request_left_is_nobodys_accident(memory: MemoryStore) -> None:
    dead, line = Line(memory), Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line, lasting(registration_seconds=5.0)) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        line.hold("take_over")
        opening = asyncio.create_task(two.open())
        await wait_until_async(lambda: line.waiting["take_over"], description="it is on its way")
        opening.cancel()
        await asyncio.wait([opening])
        line.errors["take_over"] = [StoreUnavailableError("no", operation="take_over")]
        line.let_go("take_over")
        await two.runtime.idle()
        assert [seen for seen in two.observed if seen.error is not None] == []
        dead.down = False
        assert (await memory.withdraw(old.ref, refuse_seconds=1.0)) is Status.FENCED
