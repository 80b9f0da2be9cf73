"""What other workers want of a stream reaches the worker that writes it, over one channel for all of its streams.

Heartbeats are half a minute apart here, so that only the channel can be what told a quiet stream's writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

import pytest

from streamguard.observations import Signal
from streamguard.runtime import LiveStream, Runtime
from streamguard.settings import Settings
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore, subscriptions
from streamguard.stores.store import StreamStore
from streamguard.stores.worker_hints import MISSED_HINTS, WorkerHint
from streamguard.values import Outcome, SessionKey, new_stream_id

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .stage import KEY, Model, Worker, closed, log_of, payloads, quick, working

pytestmark = pytest.mark.anyio


def calm(**overrides: object) -> Settings:
    """Settings with which no heartbeat comes in a test, and no lease runs out."""
    values: dict[str, object] = {"heartbeat_seconds": 30.0, "lease_seconds": 90.0, "live_ttl_seconds": 600.0}
    values["registration_seconds"] = 2.0
    return quick(**(values | overrides))


async def speaking(worker: Worker, model: Model, key: SessionKey = KEY) -> LiveStream:
    """A stream with one event, that says nothing more by itself."""
    stream = await worker.start(model, worker.request(key))
    await stream.first(5)
    await wait_until_async(lambda: stream.acked == 1, description="it is logged")
    return stream


async def subscribed(server: RedisServer, worker: Worker) -> None:
    """Wait until the store knows the worker's channel."""
    client, channel = server.client(), f"streamguard:w:{worker.runtime.worker}"
    await wait_until_async(lambda: channel.encode() in client.pubsub_channels("*:w:*"), description="it listens")


@pytest.fixture
async def direct(redis_url: str) -> AsyncIterator[RedisStore]:
    """The test's own way to the store."""
    store = RedisStore(redis_url, command_seconds=5)
    await store.start()
    yield store
    await store.aclose()


def behind(proxy: FaultProxy, database: int) -> RedisStore:
    return RedisStore(proxy.redis_url(database), command_seconds=2.0)


# -- what it costs -----------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_worker_has_one_channel_and_no_task_for_each_stream(
    direct: RedisStore, redis_url: str, redis_server: RedisServer
) -> None:
    client = redis_server.client()
    async with working(RedisStore(redis_url, command_seconds=5), calm(max_streams_per_owner=50)) as worker:
        await subscribed(redis_server, worker)
        tasks = len(asyncio.all_tasks())
        models = [Model("a") for _ in range(30)]
        for number, model in enumerate(models):
            youngest = await speaking(worker, model, SessionKey("ana", f"chat-{number}"))

        async def lasting() -> bool:
            meta = await direct.meta(youngest.ref)
            return meta is not None and meta.age_seconds > 0.4

        are_lasting: Callable[[], Awaitable[bool] | bool] = lasting
        await wait_until_async(are_lasting, description="all are older than streams were that subscribed")
        assert client.pubsub_channels() == [f"streamguard:w:{worker.runtime.worker}".encode()]
        assert len(asyncio.all_tasks()) < tasks + 40, "each has its producer alone"
        for model in models:
            model.end()
        await worker.idle()


async def test_every_runtime_is_another_worker(memory: MemoryStore) -> None:
    async with working(memory) as one, working(memory) as two:
        assert len({one.runtime.worker, two.runtime.worker, Runtime(memory, quick()).worker}) == 3


# -- stops -------------------------------------------------------------------------------------------------------------


async def test_a_stop_asked_elsewhere_ends_a_quiet_stream(stores: Stores) -> None:
    async with working(stores(), calm()) as one, working(stores(), calm()) as two:
        stream = await speaking(one, Model("a"))
        assert await two.runtime.sessions.stop(KEY) is not None
        assert (await one.watch(stream)).outcome == "stopped"


async def test_a_stop_that_overtakes_the_registrations_reply_is_heard(memory: MemoryStore) -> None:
    """The store has the stream, and its worker does not know so yet."""
    line = Line(memory)
    async with working(line, calm()) as one, working(memory, calm()) as two:
        line.hold("register", after=True)
        model = Model("a")
        starting = asyncio.create_task(one.start(model))
        await wait_until_async(lambda: line.waiting["register"] == 1, description="it is registered")
        assert await two.runtime.sessions.stop(KEY) is not None
        await asyncio.sleep(0)  # the hint is delivered
        line.let_go("register")
        stream = await starting
        assert (await one.watch(stream)).outcome == "stopped"
        assert model.calls == 0
        meta = await closed(memory, stream.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.STOPPED


@pytest.mark.long
async def test_a_stop_asked_while_the_subscription_is_down_is_heard_when_it_is_back(
    direct: RedisStore, proxy: FaultProxy, redis_server: RedisServer, redis_database: int
) -> None:
    async with working(behind(proxy, redis_database), calm()) as one:
        await subscribed(redis_server, one)
        stream = await speaking(one, Model("a"))
        name = one.runtime.worker.encode()
        proxy.lose_request(lambda request: b"SUBSCRIBE" in request and name in request, times=2)
        redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_until_async(lambda: proxy.requests_lost > 0, description="it cannot subscribe again")
        await direct.request_stop(stream.ref)
        assert (await one.watch(stream)).outcome == "stopped"
        assert proxy.requests_lost == 2


async def test_a_stop_is_heard_with_a_heartbeat_while_nothing_can_be_subscribed_to(
    direct: RedisStore, proxy: FaultProxy, redis_database: int
) -> None:
    async with working(behind(proxy, redis_database), quick()) as one:
        name = one.runtime.worker.encode()
        proxy.lose_request(lambda request: b"SUBSCRIBE" in request and name in request, times=-1)
        proxy.cut()
        stream = await speaking(one, Model("a"))
        await wait_until_async(lambda: proxy.requests_lost > 0, description="it cannot subscribe again")
        await direct.request_stop(stream.ref)
        assert (await one.watch(stream)).outcome == "stopped"


async def test_a_stop_asked_while_the_subscription_is_silent_is_heard(
    direct: RedisStore,
    proxy: FaultProxy,
    redis_server: RedisServer,
    redis_database: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half open: no message and no reset arrives. The connection is found to be dead, and all streams are looked at."""
    monkeypatch.setattr(subscriptions, "_IDLE_SECONDS", 0.1)
    async with working(behind(proxy, redis_database), calm(readiness_probe_seconds=60.0)) as one:
        await subscribed(redis_server, one)
        stream = await speaking(one, Model("a"))
        connections = proxy.connections
        proxy.lose_reply(lambda request: request == b"*1\r\n$4\r\nPING\r\n", cut=False)
        await wait_until_async(lambda: proxy.replies_lost > 0 or proxy.connections > connections, description="silent")
        await direct.request_stop(stream.ref)
        assert (await one.watch(stream)).outcome == "stopped"


async def test_after_a_restart_of_redis_a_stop_is_heard(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(aof=True, config={"appendfsync": "always"})
    settings = calm(append_deadline_seconds=10.0, command_seconds=2.0)
    async with (
        working(RedisStore(server.url, command_seconds=2.0), settings) as one,
        working(RedisStore(server.url, command_seconds=2.0), settings) as two,
    ):
        await subscribed(server, one)
        stream = await speaking(one, Model("a"))
        server.restart()
        await subscribed(server, one)
        await wait_until_async(lambda: not two.runtime.breaker.open, description="the store is back")
        await two.runtime.sessions.stop(KEY)
        assert (await one.watch(stream)).outcome == "stopped"


# -- takeovers and erasures --------------------------------------------------------------------------------------------


@pytest.mark.promise("I5")
async def test_a_writer_that_lives_learns_that_it_was_replaced_and_says_nothing_more(
    stores: Stores, look: StreamStore
) -> None:
    async with working(stores(), calm()) as one, working(stores(), calm()) as two:
        model = Model("a")
        stream = await speaking(one, model)
        taken = await look.take_over(stream.ref, lease_seconds=60, force=True, worker=two.runtime.worker)
        assert taken.meta is not None
        await asyncio.wait_for(model.left.wait(), 20)
        await wait_until_async(lambda: stream.superseded, description="it knows")
        await two.runtime.takeover.end(taken.meta, Outcome.STOPPED)
        await one.idle()
        meta = await closed(look, stream.ref)
        assert (meta.epoch, meta.worker) == (taken.meta.epoch, two.runtime.worker)
        assert payloads(await log_of(look, stream.ref)) == [b"a"]
        assert one.signals(Signal.STREAM_SUPERSEDED) != []


@pytest.mark.long
async def test_a_takeover_that_was_missed_is_learnt_after_the_reconnection(
    direct: RedisStore, proxy: FaultProxy, redis_server: RedisServer, redis_database: int
) -> None:
    async with working(behind(proxy, redis_database), calm()) as one:
        await subscribed(redis_server, one)
        streams = [await speaking(one, Model("a"), SessionKey("ana", f"chat-{n}")) for n in range(3)]
        name = one.runtime.worker.encode()
        proxy.lose_request(lambda request: b"SUBSCRIBE" in request and name in request, times=2)
        redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_until_async(lambda: proxy.requests_lost > 0, description="it cannot subscribe again")
        for stream in streams[:2]:
            assert (await direct.take_over(stream.ref, lease_seconds=60, force=True)).status is Status.OK
        await wait_until_async(lambda: all(one.superseded for one in streams[:2]), description="it knows")
        assert not streams[2].superseded
        streams[2].stop()
        await one.idle()


async def test_a_writer_learns_that_its_session_was_erased(stores: Stores, look: StreamStore) -> None:
    async with working(stores(), calm()) as one:
        stream = await speaking(one, Model("a"))
        await look.erase(KEY, mark_seconds=60)
        await wait_until_async(lambda: stream.degraded, description="it knows")
        assert stream.log.degraded_reason == "log_gone"
        stream.stop()
        await one.idle()


async def settled() -> None:
    """Whatever is ready to run has run: the memory store answers at once."""
    for _ in range(100):
        await asyncio.sleep(0)


# -- hints that mean nothing -------------------------------------------------------------------------------------------


async def test_hints_about_other_streams_are_ignored(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, calm()) as worker:
        ended = await worker.start(Model("a"))
        ended.stop()
        await worker.idle()
        stream = await speaking(worker, Model("b"), SessionKey("ana", "chat-2"))
        hear, beats = worker.runtime._parts.worker_channel.hear, line.calls["heartbeat"]
        for _ in range(1000):
            hear(WorkerHint(new_stream_id(), 1, True))
            hear(WorkerHint(ended.ref.stream_id, ended.epoch, True))
            hear(WorkerHint(stream.ref.stream_id, stream.epoch))
        await settled()
        assert line.calls["heartbeat"] == beats
        assert not stream.is_ending
        stream.stop()


async def test_doubt_about_many_streams_costs_one_heartbeat(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, calm(max_streams_per_owner=50)) as worker:
        streams = [await speaking(worker, Model("a"), SessionKey("ana", f"chat-{n}")) for n in range(20)]
        hear = worker.runtime._parts.worker_channel.hear
        await wait_until_async(lambda: line.calls["listen"] == 1, description="it listens")
        for hints in ([MISSED_HINTS] * 100, [WorkerHint(one.ref.stream_id, one.epoch + 1) for one in streams] * 5):
            beats = line.calls["heartbeat"]
            for hint in hints:
                hear(hint)
            await wait_until_async(lambda: line.calls["heartbeat"] > beats, description="a heartbeat")  # noqa: B023
            await settled()
            assert line.calls["heartbeat"] == beats + 1
        assert not any(stream.is_ending for stream in streams), "the store says that all is well"
        for stream in streams:
            stream.stop()


@pytest.mark.long
async def test_looks_at_single_streams_put_off_no_heartbeat(memory: MemoryStore) -> None:
    """Leases are renewed on time, however many hints come."""
    line = Line(memory)
    async with working(line, quick(lease_seconds=15.0, heartbeat_seconds=0.2)) as worker:
        doubted = await speaking(worker, Model("a"))
        other = await speaking(worker, Model("a"), SessionKey("ana", "chat-2"))
        leases: list[float] = []

        async def renewed() -> bool:
            worker.runtime._parts.worker_channel.hear(WorkerHint(doubted.ref.stream_id, doubted.epoch + 1))
            meta = await memory.meta(other.ref)
            assert meta is not None
            assert meta.lease_seconds > 0
            leases.append(meta.lease_seconds)
            return sum(later > earlier for earlier, later in pairwise(leases)) == 3

        is_renewed: Callable[[], Awaitable[bool] | bool] = renewed
        await wait_until_async(is_renewed, description="the other lease was renewed three times")
        for stream in (doubted, other):
            stream.stop()


async def test_streams_are_forgotten_by_their_ids_too(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line, calm(registration_seconds=0.2)) as worker:
        stream = await speaking(worker, Model("a"))
        named, ref = worker.runtime.streams.named, stream.ref
        assert named(ref.stream_id) is stream
        stream.stop()
        await worker.idle()
        assert named(ref.stream_id) is None
        line.broken = {"register"}
        request = worker.request(on_store_failure="fail")
        with pytest.raises(Exception, match="store_unavailable"):
            await worker.open(request)
        assert worker.runtime.streams._expected == {}
