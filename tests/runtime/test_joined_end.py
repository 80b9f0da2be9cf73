"""A short stream's last append, its seal and its close in one exchange with Redis: what cuts in leaves no half."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from streamguard.stores.records import Seal, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, StreamState

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from .stage import KEY, Model, closed, log_of, payloads, quick, read, saying, terminals, working

pytestmark = pytest.mark.anyio

DIGESTS = Scripts.load().digests
SETTINGS = quick(registration_seconds=1.0, append_deadline_seconds=2.0, lease_seconds=5.0, heartbeat_seconds=1.0)


@pytest.fixture
def proxy(redis_server: RedisServer, redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def direct(redis_url: str) -> StreamStore:
    return RedisStore(redis_url)


def behind(proxy: FaultProxy, redis_url: str) -> StreamStore:
    return RedisStore(proxy.redis_url(int(redis_url.rpartition("/")[2])), command_seconds=SETTINGS.command_seconds)


def is_joined(request: bytes) -> bool:
    """Whether an event is appended, its stream sealed and closed in this exchange."""
    return b"only" in request and DIGESTS["close"] in request


@pytest.mark.promise("I4")
@pytest.mark.parametrize("fate", ["reply", "request"])
async def test_an_exchange_that_is_lost_is_repeated_whole(
    proxy: FaultProxy, redis_url: str, direct: StreamStore, fate: str
) -> None:
    """Carried out or not: the event once, one terminal, and the client is told what the log says."""
    async with working(behind(proxy, redis_url), SETTINGS) as worker:
        (proxy.lose_reply if fate == "reply" else proxy.lose_request)(is_joined)
        stream = await worker.start(saying("only"))
        reading = await worker.watch(stream)
        assert (reading.text, reading.ids, reading.outcome) == ("only", [1, 2], "completed")
        meta = await closed(direct, stream.ref)
        assert (meta.lost, meta.epoch) == (False, stream.epoch)
        log = await log_of(direct, stream.ref)
        assert payloads(log) == [b"only"]
        assert [terminal.outcome for terminal in terminals(log)] == [Outcome.COMPLETED]
    assert proxy.replies_lost + proxy.requests_lost == 1
    await direct.aclose()


@pytest.mark.promise("I5")
@pytest.mark.parametrize("sealed", [False, True], ids=["taken", "taken and sealed"])
async def test_whoever_took_the_stream_before_decides_how_it_ends(
    redis_url: str, direct: StreamStore, sealed: bool
) -> None:
    """The append is refused, and so are the seal and the close behind it."""
    async with working(RedisStore(redis_url), SETTINGS, clean=False) as worker:
        model = Model()
        stream = await worker.start(model)
        await model.started.wait()
        taken = await direct.take_over(stream.ref, lease_seconds=5.0, force=True)
        assert taken.meta is not None
        if sealed:
            status, _ = await direct.seal(stream.ref, taken.meta.epoch, Seal(Outcome.STOPPED, 0))
            assert status is Status.OK
        model.say("only")
        model.end()
        await stream.ended()
        assert stream.superseded
        meta = await direct.meta(stream.ref)
        assert meta is not None
        assert meta.epoch == taken.meta.epoch != stream.epoch
        assert meta.state is (StreamState.SEALED if sealed else StreamState.OPEN)
        assert meta.seal is None if not sealed else meta.seal == Seal(Outcome.STOPPED, 0)
        assert await log_of(direct, stream.ref) == []
    await direct.aclose()


@pytest.mark.promise("I4")
async def test_an_end_that_its_worker_has_not_heard_of_yet_is_one_for_all_others(
    proxy: FaultProxy, redis_url: str, direct: StreamStore
) -> None:
    """Whoever looks finds the stream closed, and reads all of it."""
    async with working(behind(proxy, redis_url), SETTINGS, clean=False) as worker:
        proxy.lose_reply(is_joined)
        stream = await worker.start(saying("only"))
        meta = await closed(direct, stream.ref)
        assert meta.seal is not None
        assert (meta.state, meta.seal.outcome, meta.seal.last_seq) == (StreamState.CLOSED, Outcome.COMPLETED, 1)
        await stream.ended()
    async with working(direct, SETTINGS) as other:
        reading = await read(await other.resume(KEY))
        assert (reading.text, reading.ids, reading.outcome) == ("only", [1, 2], "completed")


@pytest.mark.parametrize("fault", ["refuse", "hang"])
async def test_the_end_of_a_stream_without_its_log_waits_for_nothing(
    proxy: FaultProxy, redis_url: str, direct: StreamStore, fault: str
) -> None:
    """The first event's time is up long before that of the end: its viewers get both then."""
    settings = quick(registration_seconds=0.3, append_deadline_seconds=20.0, command_seconds=20.0)
    store = RedisStore(proxy.redis_url(int(redis_url.rpartition("/")[2])), command_seconds=20.0)
    async with working(store, settings, clean=False) as worker:
        model = Model()
        stream = await worker.start(model)
        await model.started.wait()
        getattr(proxy, fault)()
        begun = time.monotonic()
        model.say("only")
        model.end()
        reading = await worker.watch(stream)
        assert time.monotonic() - begun < 5.0
        assert (reading.text, reading.ids, reading.outcome) == ("only", [], "completed")
        assert reading.notices == [("not_resumable", "append_deadline")]
        proxy.forward()
        await closed(direct, stream.ref)
    await direct.aclose()
