"""A real Redis behind a proxy that refuses, hangs, cuts, and loses single replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from streamguard.cursor import Cursor
from streamguard.errors import FaultError
from streamguard.faults import FaultCode
from streamguard.settings import Settings
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async
from .lines import Line
from .stage import KEY, Model, Reading, closed, log_of, payloads, quick, read, terminals, working

pytestmark = pytest.mark.anyio

DIGESTS = Scripts.load().digests


@pytest.fixture
def proxy(redis_server: RedisServer, redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def direct(redis_url: str) -> StreamStore:
    return RedisStore(redis_url)


def behind(proxy: FaultProxy, redis_url: str, settings: Settings) -> StreamStore:
    database = int(redis_url.rpartition("/")[2])
    return RedisStore(proxy.redis_url(database), command_seconds=settings.command_seconds)


def called(script: str) -> bytes:
    """What a call of a script contains."""
    return DIGESTS[script]


@pytest.mark.promise("I1")
@pytest.mark.parametrize("script", ["register", "append", "close"])
@pytest.mark.parametrize("fate", ["reply", "request"])
async def test_one_lost_exchange(
    proxy: FaultProxy, redis_url: str, direct: StreamStore, script: str, fate: str
) -> None:
    """Carried out or not, it is asked again: each event once, one terminal, nobody notices."""
    settings = quick(registration_seconds=1.0, append_deadline_seconds=2.0)
    async with working(behind(proxy, redis_url, settings), settings) as worker:
        (proxy.lose_reply if fate == "reply" else proxy.lose_request)(called(script))
        model = Model("a", "b", "c")
        stream = await worker.start(model)
        await stream.first(5)
        model.end()
        reading = await worker.watch(stream)
        assert (reading.text, reading.ids, reading.outcome) == ("abc", [1, 2, 3, 4], "completed")
        meta = await closed(direct, stream.ref)
        assert (meta.lost, meta.epoch, meta.ordinal) == (False, stream.epoch, 1)
        assert payloads(await log_of(direct, stream.ref)) == [b"a", b"b", b"c"]
    assert proxy.replies_lost + proxy.requests_lost == 1
    await direct.aclose()


@pytest.mark.parametrize("fault", ["refuse", "hang"])
async def test_redis_gone_in_mid_stream(proxy: FaultProxy, redis_url: str, direct: StreamStore, fault: str) -> None:
    """The answer completes, with one notice; afterwards the log says that it is not the whole."""
    settings = quick()
    async with working(behind(proxy, redis_url, settings), settings) as worker:
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        into = await read(viewer, Reading(), until=lambda r: r.ids == [1])
        getattr(proxy, fault)()
        model.say("b")
        await read(viewer, into, until=lambda r: "b" in r.text)
        model.say("c")
        with pytest.raises(FaultError) as refused:
            await worker.runtime.sessions.resume(KEY, None)
        assert refused.value.fault.status == 503
        proxy.forward()
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the breaker closed")
        model.end()
        reading = await read(viewer, into)
        assert (reading.text, reading.ids, reading.outcome) == ("abc", [1], "completed")
        assert [code for code, _ in reading.notices] == ["not_resumable"]
        await worker.idle()
        with pytest.raises(FaultError) as refused:
            await worker.runtime.sessions.resume(KEY, None)
        assert (refused.value.fault.status, refused.value.fault.reason) == (409, "not_registered")
        (terminal,) = terminals(await log_of(direct, stream.ref))
        assert (terminal.outcome, terminal.reason) == (Outcome.COMPLETED, "log_lost")
    await direct.aclose()


@pytest.mark.promise("I2")
@pytest.mark.parametrize("said", [["b"], ["b", "c", "d"]], ids=["one event", "several"])
@pytest.mark.parametrize("where", ["on the way", "at the server"])
async def test_what_was_shown_as_not_logged_is_never_logged(
    own_redis: Callable[..., RedisServer], said: list[str], where: str
) -> None:
    """An append waits, in the network or in a server that stands still, until its writer has given the log up; then it
    arrives. A viewer elsewhere that comes back with the last cursor would see those events again."""
    server = own_redis()
    settings = quick()
    direct = RedisStore(server.url)
    with FaultProxy(server.port) as proxy:
        async with (
            working(behind(proxy, server.url, settings), settings) as one,
            working(RedisStore(server.url), quick(append_deadline_seconds=5.0)) as two,
        ):
            model = Model("a")
            stream = await one.start(model)
            viewer = one.view(stream)
            into = await read(viewer, Reading(), until=lambda r: r.ids == [1])
            cursor = Cursor(stream.ref.stream_id, stream.epoch, 1)
            (proxy.hang if where == "on the way" else server.pause)()
            model.say(*said)
            await read(viewer, into, until=lambda r: r.text == "a" + "".join(said))
            assert (into.ids, stream.degraded) == ([1], True)
            (proxy.forward if where == "on the way" else server.resume)()

            refused: list[FaultError] = []

            async def is_refused() -> bool:
                """Until the store was told, there is nothing more to see."""
                assert payloads(await log_of(direct, stream.ref)) == [b"a"]
                try:
                    await two.runtime.sessions.resume(KEY, cursor)
                except FaultError as exc:
                    refused.append(exc)
                return len(refused) > 0

            told: Callable[[], Awaitable[bool] | bool] = is_refused
            await wait_until_async(told, description="the store knows that the log is lost")
            assert (refused[-1].fault.status, refused[-1].fault.reason) == (409, "not_registered")
            model.end()
            await read(viewer, into)
            assert (into.ids, into.outcome) == ([1], "completed")
            await one.idle()
            assert payloads(await log_of(direct, stream.ref)) == [b"a"]
    await direct.aclose()


async def test_a_first_event_shown_as_not_logged_is_never_logged(own_redis: Callable[..., RedisServer]) -> None:
    """Its client waits no longer for it than for its registration, and nor does the store."""
    server = own_redis()
    settings = quick(registration_seconds=0.2, append_deadline_seconds=10.0)
    direct = RedisStore(server.url)
    with FaultProxy(server.port) as proxy:
        async with working(behind(proxy, server.url, settings), settings) as worker:
            model = Model()
            stream = await worker.start(model)
            proxy.hang()
            model.say("a")
            viewer = worker.view(stream)
            into = await read(viewer, Reading(), until=lambda r: r.text == "a")
            assert (into.ids, stream.log.degraded_reason) == ([], "append_deadline")
            proxy.forward()
            model.end()
            await read(viewer, into)
            await worker.idle()
            assert payloads(await log_of(direct, stream.ref)) == []
    await direct.aclose()


async def test_cut_connections_in_mid_stream(proxy: FaultProxy, redis_url: str, direct: StreamStore) -> None:
    """Writers, followers and listeners connect again; viewers on both workers see every event once."""
    settings = quick(append_deadline_seconds=2.0)
    async with (
        working(behind(proxy, redis_url, settings), settings) as one,
        working(behind(proxy, redis_url, settings), settings) as two,
    ):
        model = Model("0")
        stream = await one.start(model)
        await stream.first(5)
        readings = [asyncio.create_task(one.watch(stream)), asyncio.create_task(read(await two.resume()))]
        for n in range(1, 6):
            proxy.cut()
            model.say(str(n))
            await wait_until_async(lambda n=n: stream.acked == n + 1, description="it is logged")  # type: ignore[misc]
        model.end()
        for reading in await asyncio.gather(*readings):
            assert (reading.text, reading.ids, reading.over) == ("012345", [1, 2, 3, 4, 5, 6, 7], True)
        await closed(direct, stream.ref)
    await direct.aclose()


@pytest.mark.parametrize("fault", ["refuse", "hang"])
async def test_redis_down_at_start(proxy: FaultProxy, redis_url: str, direct: StreamStore, fault: str) -> None:
    settings = quick()
    getattr(proxy, fault)()
    async with (
        contextlib.aclosing(behind(proxy, redis_url, settings)) as store,
        working(line := Line(store), settings) as worker,
    ):
        assert worker.observed, "the operator is warned"
        model = Model("a")
        stream = await worker.start(model)
        assert stream.degraded
        asked = line.calls["register"]
        with pytest.raises(FaultError) as refused:
            await worker.open(worker.request(on_store_failure="fail"))
        assert refused.value.fault.code is FaultCode.STORE_UNAVAILABLE
        assert line.calls["register"] == asked, "the breaker spares the wait"
        proxy.forward()
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the breaker closed")
        model.end()
        assert (await worker.watch(stream)).text == "a"
        await worker.idle()
        assert (await closed(direct, stream.ref)).lost
    await direct.aclose()


async def test_a_restart_without_memory(own_redis: Callable[[], RedisServer]) -> None:
    """Loss beyond what the store survives is reported: to viewers here in-band, to others as a refused resume."""
    server = own_redis()
    settings = quick(append_deadline_seconds=3.0, registration_seconds=1.0)
    async with (
        working(RedisStore(server.url, command_seconds=1.0), settings) as one,
        working(RedisStore(server.url, command_seconds=1.0), settings) as two,
    ):
        model = Model("a")
        stream = await one.start(model)
        await stream.first(5)
        viewer = one.view(stream)
        into = await read(viewer, Reading(), until=lambda r: r.ids == [1])
        remote = asyncio.create_task(read(await two.resume()))
        server.restart(empty=True)
        model.say("b")
        await wait_until_async(lambda: stream.degraded, description="the log is gone")
        model.end()
        reading = await read(viewer, into)
        assert (reading.text, reading.ids, reading.outcome) == ("ab", [1], "completed")
        assert reading.notices == [("not_resumable", "log_gone")]
        seen = await remote
        assert not seen.over
        # It looked before the log's end was declared, or after.
        assert seen.cut in ("cursor_ahead", "not_registered", "stream_gone")
        await one.idle()
        log = await log_of(two.runtime.store, stream.ref)
        assert [kind for _, kind, _ in log] == [EventKind.TERMINAL]
