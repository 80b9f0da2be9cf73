"""How a producer is cancelled: at any await, whatever its endpoint makes of it, and when it is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streamguard.runtime.upkeep import watchdog
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import SessionKey

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, closed, quick, working

pytestmark = pytest.mark.anyio


class Endpoint:
    """Reports how its cancellation went, from inside its generator."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.cleaned = False
        self.release = asyncio.Event()
        self.closed = asyncio.Event()

    async def waiting(self) -> AsyncIterator[object]:
        yield "a"
        try:
            self.reached.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cleaned = True

    async def swallowing(self) -> AsyncIterator[object]:
        yield "a"
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cleaned = True

    async def swallowing_and_going_on(self) -> AsyncIterator[object]:
        async for item in self.swallowing():
            yield item
        yield "b"
        yield "c"

    async def raising_instead(self) -> AsyncIterator[object]:
        yield "a"
        self.reached.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cleaned = True
            raise RuntimeError("cleanup failed") from None

    async def yielding_in_finally(self) -> AsyncIterator[object]:
        yield "a"
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cleaned = True
            yield "b"

    async def stubborn(self) -> AsyncIterator[object]:
        yield "a"
        self.reached.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cleaned = True
        self.closed.set()


@pytest.mark.parametrize(
    "how", ["waiting", "swallowing", "swallowing_and_going_on", "raising_instead", "yielding_in_finally"]
)
async def test_an_endpoint_is_cancelled_whatever_it_makes_of_it(stores: Stores, look: StreamStore, how: str) -> None:
    endpoint = Endpoint()
    async with working(stores()) as worker:
        stream = await worker.start(getattr(endpoint, how))
        await endpoint.reached.wait()
        await worker.runtime.sessions.stop(KEY)
        reading = await worker.watch(stream)
        await closed(look, stream.ref)
    assert (reading.text, reading.outcome) == ("a", "stopped")
    assert endpoint.cleaned
    assert worker.faults() == []


async def test_an_endpoint_that_will_not_stop_is_left_behind(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its grace the stream ends without it; what it says later is heard by nobody."""
    monkeypatch.setattr(watchdog, "CANCEL_GRACE_SECONDS", 0.05)
    endpoint = Endpoint()
    async with working(memory, quick(keep_alive_seconds=0.1)) as worker:
        stream = await worker.start(endpoint.stubborn)
        await endpoint.reached.wait()
        await worker.runtime.sessions.stop(KEY)
        assert (await worker.watch(stream)).outcome == "stopped"
        assert not endpoint.closed.is_set()
        endpoint.release.set()
        await endpoint.closed.wait()
        await worker.idle()
        assert (await closed(memory, stream.ref)).last_seq == 2


async def test_a_cancellation_of_its_own_making_is_the_endpoints_failure(memory: MemoryStore) -> None:
    """Something the endpoint waited for was cancelled: nobody shuts down, and no other stream suffers."""

    async def endpoint() -> AsyncIterator[object]:
        yield "a"
        upstream = asyncio.get_running_loop().create_future()
        upstream.cancel()
        await upstream

    async with working(memory) as worker:
        other_model = Model("x")
        other = await worker.start(other_model, worker.request(SessionKey("ana", "other")))
        reading = await worker.tell(endpoint)
        assert (reading.outcome, reading.notices) == ("failed", [("provider_error", "None")])
        other_model.end()
        assert (await worker.watch(other)).outcome == "completed"


async def test_a_cancelled_producer_task_is_a_shutdown(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(Model("a"))
        await stream.first(5)
        assert stream.producer is not None
        stream.producer.cancel()
        stream.producer.cancel()
        reading = await worker.watch(stream)
        await closed(memory, stream.ref)
    assert (reading.outcome, reading.notices) == ("interrupted", [("shutting_down", "None")])


async def test_stop_while_the_model_is_held_back(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.hold("append")
        stream = await worker.start(Model(*["x" * 400_000] * 6))
        await wait_until_async(
            lambda: stream.backlog._capacity.waited is not None, description="the model is held back"
        )
        stream.stop()
        line.let_go("append")
        assert (await worker.watch(stream)).outcome == "stopped"


async def test_an_iterator_without_aclose(memory: MemoryStore) -> None:
    class Plain:
        def __init__(self) -> None:
            self.left = ["a", "b"]

        def __aiter__(self) -> AsyncIterator[object]:
            return self

        async def __anext__(self) -> object:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    async with working(memory) as worker:
        assert (await worker.tell(Plain)).text == "ab"


async def test_a_generator_that_never_waits_leaves_the_loop_its_turns(memory: MemoryStore) -> None:
    async def endless() -> AsyncIterator[object]:
        while True:
            yield "x"

    async with working(memory, quick(max_stream_events=3000)) as worker:
        assert (await worker.tell(endless)).notices == [("too_long", "max_stream_events")]
