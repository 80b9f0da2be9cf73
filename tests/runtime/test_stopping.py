"""Stops that name what they mean, and stops that come before the answer they mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from streamguard.errors import FaultError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.runtime import LiveStream, OnConflict, StopTarget
from streamguard.runtime.request import StreamRequest
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import NewStream
from streamguard.stores.registrations import Full, Occupied, Registered, Withdrawn
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, SessionKey

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Reading, Worker, closed, quick, saying, working

pytestmark = pytest.mark.anyio

OTHER = SessionKey("ana", "chat-2")


def arrived(worker: Worker, seconds_ago: float = 0.0, key: SessionKey = KEY, **options: OnConflict) -> StreamRequest:
    """A request that arrived so long ago."""
    request = worker.request(key, on_conflict=options.get("on_conflict", "reject"))
    return replace(request, arrived_at=time.monotonic() - seconds_ago)


async def told(worker: Worker, model: Model, request: StreamRequest) -> Reading:
    return await worker.watch(await worker.start(model, request))


# -- by name --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["same", "other"])
async def test_a_stop_ends_the_answer_it_names(stores: Stores, where: str) -> None:
    async with working(stores()) as one, working(stores()) as two:
        stopper = one if where == "same" else two
        for by_message in (False, True):
            stream = await one.start(Model("a"))
            await stream.first(5)
            meant = (
                StopTarget(message_id=stream.message_id) if by_message else StopTarget(stream_id=stream.ref.stream_id)
            )
            stopped = await stopper.runtime.sessions.stop(KEY, meant)
            assert stopped is not None
            assert stopped.ref == stream.ref
            assert (await one.watch(stream)).outcome == "stopped"
            await one.idle()


@pytest.mark.parametrize("where", ["same", "other"])
async def test_a_late_stop_leaves_the_next_answer_alone(stores: Stores, where: str) -> None:
    async with working(stores()) as one, working(stores()) as two:
        stopper = one if where == "same" else two
        first = await one.start(saying("a"))
        await one.watch(first)
        await one.idle()
        model = Model("b")
        second = await one.start(model)
        await second.first(5)
        names = [
            StopTarget(stream_id=first.ref.stream_id),
            StopTarget(message_id=first.message_id),
            StopTarget(first.ref.stream_id, second.message_id),
            StopTarget(second.ref.stream_id, first.message_id),
            StopTarget(stream_id="no stream has this name"),
        ]
        for meant in names:
            assert await stopper.runtime.sessions.stop(KEY, meant) is None
        assert not second.stopped
        model.end()
        assert (await one.watch(second)).outcome == "completed"


async def test_a_stop_by_name_means_no_answer_to_come(stores: Stores) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying("a"))
        await worker.watch(stream)
        await worker.idle()
        assert await worker.runtime.sessions.stop(KEY, StopTarget(stream_id=stream.ref.stream_id)) is None
        assert (await told(worker, saying("b"), arrived(worker, 10.0))).text == "b"


async def test_an_unlogged_answer_is_stopped_by_its_name_only(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(Model("a"))
        await stream.first(5)
        stream.degrade("test")
        sessions = worker.runtime.sessions
        assert await sessions.stop(KEY, StopTarget(stream_id="another")) is None
        assert not stream.stopped
        assert await sessions.stop(KEY, StopTarget(stream_id=stream.ref.stream_id)) is stream
        assert (await worker.watch(stream)).outcome == "stopped"


# -- before the answer is registered -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("policy", ["reject", "replace", "join"])
async def test_a_stop_ends_an_answer_whose_request_had_arrived(
    stores: Stores, look: StreamStore, where: str, policy: OnConflict
) -> None:
    """Whichever worker it reaches; the endpoint does not run."""
    async with working(stores()) as one, working(stores()) as two:
        stopper = one if where == "same" else two
        request = arrived(one, 0.5, on_conflict=policy)
        assert await stopper.runtime.sessions.stop(KEY) is None
        model = saying("a")
        stream = await one.start(model, request)
        reading = await one.watch(stream)
        assert (reading.text, reading.outcome, model.calls) == ("", "stopped", 0)
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.silent) == (Outcome.STOPPED, True)


class _Arrivals(Line):
    """Notes how long ago each attempt to register says that its request arrived."""

    def __init__(self, inner: StreamStore) -> None:
        super().__init__(inner)
        self.arrived: list[float] = []

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        self.arrived.append(arrived_seconds)
        return await super().register(
            new,
            lease_seconds=lease_seconds,
            ttl_seconds=ttl_seconds,
            limit=limit,
            arrived_seconds=arrived_seconds,
        )


async def test_each_attempt_to_register_says_anew_how_long_ago_its_request_came(memory: MemoryStore) -> None:
    """The store counts back from the attempt: otherwise a stop between two of them would seem to come first."""
    line = _Arrivals(memory)
    async with working(line) as one:
        line.errors["register"] = [StoreUnavailableError("register: no answer", operation="register")]
        assert (await told(one, saying("a"), arrived(one))).text == "a"
    first, second = line.arrived
    assert first < second


async def test_who_asks_after_the_stop_is_answered(stores: Stores) -> None:
    async with working(stores()) as one, working(stores()) as two:
        await two.runtime.sessions.stop(KEY)
        assert (await told(one, saying("a"), arrived(one))).text == "a"
        await one.idle()
        assert (await told(one, saying("b"), arrived(one, 10.0))).text == "b", "and the stop is over"


async def test_a_request_of_which_nobody_knows_when_it_came_is_answered(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        await worker.runtime.sessions.stop(KEY)
        assert (await worker.tell(saying("a"))).text == "a"


async def test_a_stop_concerns_its_own_session(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        await worker.runtime.sessions.stop(OTHER)
        assert (await told(worker, saying("a"), arrived(worker, 10.0))).text == "a"
        assert (await told(worker, saying("b"), arrived(worker, 10.0, OTHER))).outcome == "stopped"


async def test_at_most_as_many_sessions_of_an_owner_are_stopped_as_may_have_streams(memory: MemoryStore) -> None:
    async with working(memory, quick(max_streams_per_owner=1)) as worker:
        await worker.runtime.sessions.stop(KEY)
        await worker.runtime.sessions.stop(OTHER)
        assert (await told(worker, saying("a"), arrived(worker, 10.0))).text == "a"
        await worker.idle()
        assert (await told(worker, saying("b"), arrived(worker, 10.0, OTHER))).outcome == "stopped"


async def test_deleting_a_session_stops_no_answer_to_come(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        await worker.runtime.sessions.erase(KEY)
        assert (await told(worker, saying("a"), arrived(worker, 10.0))).text == "a"


@pytest.mark.parametrize("event", ["registers", "ends"])
async def test_a_stop_finds_what_happens_while_it_looks(memory: MemoryStore, event: str) -> None:
    """A stream is registered, or ends, between its look at the session and what it does then."""
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model = Model("a")
        streams: list[LiveStream] = []

        async def begin() -> None:
            streams.append(await one.start(model))

        async def end() -> None:
            model.end()
            await one.idle()

        if event == "registers":
            line.before["stop_pending_requests"] = begin
            stopped = await two.runtime.sessions.stop(KEY)
            assert stopped is not None
            assert (await one.watch(streams[0])).outcome == "stopped"
        else:
            await begin()
            line.before["request_stop"] = end
            assert await two.runtime.sessions.stop(KEY) is None
            assert (await told(one, saying("b"), arrived(one, 10.0))).outcome == "stopped"


async def test_without_the_store_a_stop_says_so(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.broken = {"stop_pending_requests"}
        with pytest.raises(FaultError) as failed:
            await worker.runtime.sessions.stop(KEY)
        assert failed.value.fault.code is FaultCode.STORE_UNAVAILABLE


# -- stop, and ask again -----------------------------------------------------------------------------------------------


class Tidying(Model):
    """Takes its time to clean up."""

    def __init__(self, *items: object) -> None:
        super().__init__(*items)
        self.may_leave = asyncio.Event()

    async def __call__(self) -> AsyncIterator[object]:
        try:
            async for item in super().__call__():
                yield item
        finally:
            await self.may_leave.wait()


@pytest.mark.parametrize("policy", ["reject", "join"])
async def test_the_next_question_waits_for_the_end_of_what_was_stopped(
    stores: Stores, look: StreamStore, policy: OnConflict
) -> None:
    patient = quick(replace_wait_seconds=10.0)
    async with working(stores(), patient) as one, working(stores(), patient) as two:
        model = Tidying("a")
        old = await one.start(model, one.request(fingerprint="f" * 64))
        await old.first(5)
        await two.runtime.sessions.stop(KEY)
        asking = asyncio.create_task(two.start(saying("b"), two.request(fingerprint="f" * 64, on_conflict=policy)))
        await model.left.wait()
        assert not asking.done()
        model.may_leave.set()
        new = await asking
        assert (await two.watch(new)).text == "b"
        meta = await closed(look, old.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.STOPPED


async def test_what_does_not_end_in_time_is_a_conflict_that_says_when_to_come_back(memory: MemoryStore) -> None:
    async with working(memory, quick(replace_wait_seconds=0.05)) as worker:
        model = Tidying("a")
        old = await worker.start(model)
        await old.first(5)
        await worker.runtime.sessions.stop(KEY)
        with pytest.raises(FaultError) as refused:
            await worker.open()
        assert refused.value.fault.code is FaultCode.CONFLICT_ACTIVE
        assert refused.value.fault.retry_after_seconds
        model.may_leave.set()
        await wait_until_async(lambda: old.finished, description="it has tidied up")
