"""Clocks that differ, jump and are set back: when a stream began, and when its session was erased."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

import streamguard
from streamguard.saving.stream_start import StreamStart
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Erasure, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.store import StreamStore
from streamguard.testing._stream_store.steps import (
    begin,
    epoch_of,
    fresh_key,
    losing,
    new_stream,
    put,
    registered,
    seal,
    take,
    tombstone,
    try_register,
)
from streamguard.values import SessionKey

from ..harness.redis import RedisServer
from ..harness.sources import python_files
from ..harness.waiting import wait_until_async
from .conftest import Stores, look, memory, stores
from .lines import Line
from .savers import Messages, eventually, meta_of, saving_to, stored_in
from .stage import KEY, Model, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

READ_THE_WALL_CLOCK = {
    "cli/audit.py",  # the time of a record, for people
    "client/responses.py",  # until when a `Retry-After` says to wait, which may be a date
    "event_times.py",  # to put lines of several processes side by side
    "faults.py",  # a fault's timestamp, for people
    "messages/memory.py",
    "quota/memory.py",
    "stores/memory/store.py",  # the clock of a store that is this process's own
    "stores/redis/server_facts.py",  # compares it with Redis's, for the operator
    "telemetry/audit/json_lines.py",  # when records were lost, for people
    "telemetry/audit/trail.py",  # a record's time, for people
    "telemetry/metrics/reading.py",  # what Prometheus subtracts from its own `time()`
    "telemetry/sentry/breadcrumbs.py",  # when something happened, for people
    "telemetry/sentry/spans.py",  # as the next
    "telemetry/tracing/observer.py",  # where spans begin and end, beside those of the host
    "web/access/anonymous.py",  # the age of cookies; a day is no matter of seconds
}


def test_nothing_but_stores_of_one_process_reads_the_wall_clock() -> None:
    """Whatever reads it will be compared with a store's clock some day."""
    package = Path(streamguard.__file__).parent
    reads = re.compile(r"\btime\.time(_ns)?\b|\b(datetime|date)\.(now|utcnow|today)\b|^from time import", re.MULTILINE)
    found = {path.relative_to(package).as_posix() for path in python_files(package) if reads.search(path.read_text())}
    assert found == READ_THE_WALL_CLOCK


@pytest.fixture(params=[-10.0, 0.0, 10.0, "jumping"])
def worker_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's wall clock, off against Redis's; or ten seconds ahead and behind in turn."""
    true, turn = time.time, 0

    def shifted() -> float:
        nonlocal turn
        turn += 1
        return true() + (request.param if request.param != "jumping" else (10.0, -10.0)[turn % 2])

    monkeypatch.setattr(time, "time", shifted)
    monkeypatch.setattr(time, "time_ns", lambda: int(shifted() * 1e9))


@pytest.mark.usefixtures("worker_clock")
async def test_a_first_reply_after_an_erasure_is_saved(stores: Stores, look: StreamStore) -> None:
    messages = Messages()
    async with working(stores(), quick(), bindings=saving_to(messages)) as worker:
        for text in ("one", "two", "three"):
            await worker.tell(saying(text))
            await worker.idle()
            (stored,) = await stored_in(messages)
            assert stored.message.parts == ({"type": "text", "text": text},)
            await worker.runtime.sessions.erase(KEY)
            await messages.delete_session(KEY)


@pytest.mark.usefixtures("worker_clock")
async def test_a_slow_save_brings_nothing_back_that_was_erased(stores: Stores) -> None:
    messages = Messages()
    async with working(stores(), quick(save_visible_seconds=0.05), bindings=saving_to(messages)) as worker:
        messages.hold("open_session")
        stream = await worker.start(saying("secret"))
        await stream.ended()
        await worker.runtime.sessions.erase(KEY)
        messages.let_go("open_session")
        await worker.runtime.idle()
        assert await stored_in(messages) == []


@pytest.mark.usefixtures("worker_clock")
@pytest.mark.parametrize("erased", ["before it began", "after it began"])
async def test_a_stream_the_store_never_heard_of_is_compared_by_its_age(
    memory: MemoryStore, redis_url: str, erased: str
) -> None:
    """It was never registered; the store is back when its reply is to be saved."""
    store = RedisStore(redis_url, command_seconds=2.0)
    line, messages = Line(store), Messages()
    async with working(line, quick(), bindings=saving_to(messages)) as worker:
        if erased == "before it began":
            await store.erase(KEY, mark_seconds=60)
            await eventually(lambda: is_past(store), "that was a while ago")
        line.broken = {"register", "declare_lost"}
        model = Model("secret")
        stream = await worker.start(model)
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the store is back")
        assert (stream.degraded, stream.log.created_at) == (True, None)
        if erased == "after it began":
            await store.erase(KEY, mark_seconds=60)
        model.end()
        await stream.ended()
        line.broken = set()
        await worker.idle()
        assert bool(await stored_in(messages)) is (erased == "before it began")
        assert ((await store.meta(stream.ref)) is not None) is (erased == "before it began")
    await store.aclose()


async def is_past(store: StreamStore) -> bool:
    erasure = await store.erasure(KEY)
    return erasure is not None and erasure.seconds_ago > 0.2


async def test_a_writer_knows_when_its_stream_began_from_the_store(stores: Stores, look: StreamStore) -> None:
    """A stream's beginning is the store's to tell, in its record and to its writer alike."""
    async with working(stores()) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        meta = await meta_of(look, stream.ref)
        assert stream.log.created_at == meta.created_at
        assert 0 <= meta.age_seconds < 60
        model.end()
        await stream.ended()


# -- the store's own clock is set back, or a replica with a slower one takes over --------------------------------------


class Wall:
    """A store's wall clock, and the way to set it."""

    def __init__(self, store: StreamStore, set_back: Callable[[int], object]) -> None:
        self.store = store
        self.set = set_back
        """By so many microseconds, from the true time."""


@pytest.fixture(params=["memory", "redis"])
async def wall(request: pytest.FixtureRequest) -> AsyncIterator[Wall]:
    if request.param == "memory":
        shift = [0]
        yield Wall(MemoryStore(wall_us=lambda: time.time_ns() // 1_000 + shift[0]), lambda us: shift.insert(0, us))
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    database: int = request.getfixturevalue("redis_database")
    client = server.client(database)
    now = "t[1] * 1000000 + t[2]"
    shifted = f"{now} + tonumber(redis.call('GET', 'shift') or 0)"
    scripts = {name: source.replace(now, shifted) for name, source in Scripts.load().sources.items()}
    store = RedisStore(server.database_url(database), command_seconds=5, scripts=Scripts(scripts))
    await store.start()
    yield Wall(store, lambda us: client.set("shift", us, ex=60))
    client.delete("shift")
    await store.aclose()


HOUR_US = 3_600_000_000


async def test_epochs_rise_though_the_clock_was_set_back(wall: Wall) -> None:
    store = wall.store
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    epochs = [epoch_of(ref)]
    for shift in (-HOUR_US, -2 * HOUR_US, 0, HOUR_US, -HOUR_US):
        wall.set(shift)
        taken = await take(store, ref, force=True)
        assert taken.meta is not None
        epochs.append(taken.meta.epoch)
    assert epochs == sorted(set(epochs))
    assert (await put(store, ref, 2, b"b", epoch=len(epochs))).status is Status.OK


async def test_what_was_erased_stays_so_though_the_clock_was_set_back(wall: Wall) -> None:
    store, key = wall.store, fresh_key()
    for shift in (0, -HOUR_US, -2 * HOUR_US):
        began = registered(await try_register(store, new_stream(key))).created_at
        wall.set(shift)
        await store.erase(key, mark_seconds=60)
        erasure = await store.erasure(key)
        assert erasure is not None
        assert began <= erasure.at


async def test_what_begins_after_an_erasure_is_later_though_the_clock_was_set_back(wall: Wall) -> None:
    store, key = wall.store, fresh_key()
    wall.set(HOUR_US)
    await store.erase(key, mark_seconds=60)
    for shift in (0, -HOUR_US):
        wall.set(shift)
        erasure = await store.erasure(key)
        began = registered(await try_register(store, new_stream(key)))
        assert erasure is not None
        assert began.created_at > erasure.at
        assert began.age_seconds >= 0
        await seal(store, began.ref)


async def test_of_two_lost_streams_the_younger_is_the_sessions_last(wall: Wall) -> None:
    """However their writers' clocks stand: only how long ago each began is told."""
    store, key = wall.store, SessionKey("ana", "ages")
    younger, older = new_stream(key, age=5), new_stream(key, age=50)
    for new in (younger, older):
        assert (await store.declare_lost(losing(new, terminal=tombstone()))).status is Status.OK
    assert (await store.session(key)).last_id == younger.ref.stream_id


async def test_without_the_stores_word_ages_are_compared() -> None:
    now = asyncio.get_running_loop().time()
    told = Erasure(at=1_000.0, seconds_ago=10.0)
    assert StreamStart(None, now - 11).precedes(told)
    assert not StreamStart(None, now - 9).precedes(told)
    assert StreamStart(1_000.0).precedes(told)
    assert not StreamStart(1_000.000001, now - 100).precedes(told)
