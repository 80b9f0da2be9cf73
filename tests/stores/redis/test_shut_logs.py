"""What a stream's writer has to learn with its next append shuts the log: then Redis itself refuses XADDs.

Each clause of that has a bug that takes it away, and the same test finds it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import redis

from streamguard.stores.records import NewStream, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.scripts import Scripts
from streamguard.testing._stream_store.steps import (
    Hints,
    a_seal,
    closing,
    end,
    epoch_of,
    log,
    losing,
    meta,
    new_stream,
    payloads,
    put,
    seal,
    take,
    tombstone,
    try_register,
)
from streamguard.values import StreamRef

from ...harness.redis import RedisServer
from ...harness.waiting import wait_until

pytestmark = pytest.mark.anyio

SHUTS_OWN = "shut(log_key, epoch)\n"


async def take_over(store: RedisStore, new: NewStream) -> None:
    assert (await take(store, new.ref, force=True)).status is Status.OK


async def seal_it(store: RedisStore, new: NewStream) -> None:
    await seal(store, new.ref, 2)


async def close_it(store: RedisStore, new: NewStream) -> None:
    await end(store, new.ref, 2)


async def close_with_more(store: RedisStore, new: NewStream) -> None:
    await seal(store, new.ref, 2)
    assert (await store.close(closing(new.ref, b"closing"))).status is Status.OK


async def lose(store: RedisStore, new: NewStream) -> None:
    assert (await store.declare_lost(losing(new))).status is Status.OK


async def lose_and_end(store: RedisStore, new: NewStream) -> None:
    assert (await store.declare_lost(losing(new, terminal=tombstone()))).status is Status.OK


async def stop(store: RedisStore, new: NewStream) -> None:
    await store.request_stop(new.ref)


async def watch(store: RedisStore, new: NewStream) -> None:
    async with store.subscribe(new.ref, Hints()):
        pass


async def erase(store: RedisStore, new: NewStream) -> None:
    await store.erase(new.ref.key, mark_seconds=1)


class Event(NamedTuple):
    """Something that the writer has to learn."""

    happens: Callable[[RedisStore, NewStream], Awaitable[None]]
    bug: tuple[str, str, str]
    """What takes the clause away: script, line, and what it reads instead."""


EVENTS = {
    "taken over": Event(take_over, ("take_over", "  shut(log_key, digits(next_epoch))\n", "")),
    "sealed": Event(seal_it, ("seal", SHUTS_OWN + "redis", "redis")),
    "closed": Event(close_it, ("close", SHUTS_OWN + "-- What", "-- What")),
    "closed with more events": Event(close_with_more, ("close", SHUTS_OWN + "-- What", "-- What")),
    "lost": Event(lose, ("declare_lost", "  shut(log_key, stored_epoch)\nelse", "else")),
    "lost, with its terminal record": Event(
        lose_and_end, ("declare_lost", "  shut(log_key, stored_epoch)\n  redis", "  redis")
    ),
    "asked to stop": Event(stop, ("request_stop", SHUTS_OWN + "tell", "tell")),
    "watched": Event(watch, ("mark_watched", "then shut(log_key, epoch) end", "then end")),
    "erased": Event(erase, ("erase", "meta_key, log_prefix .. id,", "meta_key,")),
}


@pytest.fixture
async def make(redis_url: str) -> AsyncIterator[Callable[[Scripts | None], Awaitable[RedisStore]]]:
    stores = []

    async def make(scripts: Scripts | None = None) -> RedisStore:
        store = RedisStore(redis_url, command_seconds=5, scripts=scripts)  # this machine may be busy
        await store.start()
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.aclose()


@pytest.fixture
def client(redis_server: RedisServer, redis_database: int) -> redis.Redis:
    return redis_server.client(redis_database)


def add(client: redis.Redis, ref: StreamRef, seq: int, epoch: int = 1) -> bool:
    """A writer's plain XADD of one event; whether Redis took it."""
    name = Keys("streamguard").stream(ref).log
    command = ("XADD", name, "NOMKSTREAM", f"{epoch_of(ref, epoch)}-{seq}", "d", b"x")
    if client.exists(name):
        try:
            client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py's
        except redis.ResponseError:
            return False
        return True
    return client.execute_command(*command) is not None  # type: ignore[no-untyped-call] # redis-py's


async def running(store: RedisStore, client: redis.Redis) -> NewStream:
    """A stream with an event of each kind: one added by the script, and one by itself."""
    new = new_stream()
    await try_register(store, new)
    assert not add(client, new.ref, 1)
    assert (await put(store, new.ref, 1, b"x")).status is Status.OK
    assert add(client, new.ref, 2)
    return new


@pytest.mark.parametrize("bug", [False, True], ids=["", "and a bug that forgets it"])
@pytest.mark.parametrize("what", EVENTS)
async def test_what_the_writer_must_learn_shuts_the_log(
    make: Callable[..., Awaitable[RedisStore]], client: redis.Redis, what: str, bug: bool
) -> None:
    event = EVENTS[what]
    store = await make(Scripts.load().replacing(*event.bug) if bug else None)
    new = await running(store, client)
    await event.happens(store, new)
    there = client.xlen(Keys("streamguard").stream(new.ref).log)
    taken = [seq for seq in range(1, there + 3) if add(client, new.ref, seq)]
    assert bool(taken) is bug


async def test_an_append_that_may_be_made_opens_the_log_again(
    make: Callable[..., Awaitable[RedisStore]], client: redis.Redis
) -> None:
    """After a stop, a watch, a takeover. What was added meanwhile by itself is counted, and repeated without harm."""
    store = await make()
    new = await running(store, client)
    ref = new.ref
    for shut, epoch in ((stop, 1), (watch, 1), (take_over, 2)):
        last = (await meta(store, ref)).last_seq
        await shut(store, new)
        assert not add(client, ref, last + 1, epoch)
        assert (await put(store, ref, last + 1, b"x", b"x", epoch=epoch)).status is Status.OK
        assert add(client, ref, last + 3, epoch)
        repeated = await put(store, ref, last + 3, b"x", epoch=epoch)
        assert (repeated.status, repeated.last_seq) == (Status.DUPLICATE, last + 3)
        assert (await put(store, ref, last + 5, b"x", epoch=epoch)).status is Status.GAP
    assert [event.seq for event in await log(store, ref)] == list(range(1, 12))


async def test_everybody_counts_the_events_that_were_added_by_themselves(
    make: Callable[..., Awaitable[RedisStore]], client: redis.Redis
) -> None:
    store = await make()
    ref = (await running(store, client)).ref
    found = await meta(store, ref)
    assert (found.first_seq, found.last_seq) == (1, 2)
    (beat,) = await store.heartbeat([(ref, epoch_of(ref))], lease_seconds=60, ttl_seconds=60)
    assert (beat.status, beat.last_seq) == (Status.OK, 2)
    for last in (1, 3):
        status, _ = await store.seal(ref, epoch_of(ref), a_seal(last))
        assert status is Status.GAP
    taken = await take(store, ref, force=True)
    assert taken.meta is not None
    assert (taken.meta.last_seq, taken.meta.last_epoch) == (2, epoch_of(ref))
    assert (await put(store, ref, 2, b"x")).status is Status.FENCED
    assert (await put(store, ref, 2, b"y", epoch=2)).status is Status.FENCED
    assert (await put(store, ref, 3, b"y", epoch=2)).status is Status.OK
    await seal(store, ref, 3, epoch=2)
    assert (await store.close(closing(ref, b"z", epoch=2))).last_seq == 5
    assert payloads(await log(store, ref))[:4] == [b"x", b"x", b"y", b"z"]


@pytest.mark.parametrize("last", [1, 2], ids=["the record's number", "the log's"])
async def test_a_log_that_was_evicted_is_gone_whatever_the_record_counts(
    make: Callable[..., Awaitable[RedisStore]], client: redis.Redis, last: int
) -> None:
    store = await make()
    new = await running(store, client)
    client.delete(Keys("streamguard").stream(new.ref).log)
    assert not add(client, new.ref, last + 1)
    assert (await put(store, new.ref, last + 1, b"x")).status is Status.GONE
    (beat,) = await store.heartbeat([(new.ref, epoch_of(new.ref))], lease_seconds=60, ttl_seconds=60)
    assert beat.status is Status.GONE


@pytest.mark.parametrize("kept", ["snapshot", "append-only file", "rewritten append-only file"])
async def test_a_shut_log_stays_shut_over_a_restart(own_redis: Callable[..., RedisServer], kept: str) -> None:
    server = own_redis(aof=kept != "snapshot")
    store = RedisStore(server.url, command_seconds=5)
    new = await running(store, server.client())
    await take_over(store, new)
    await store.aclose()
    if kept == "snapshot":
        server.client().save()
    elif kept == "rewritten append-only file":
        server.client().bgrewriteaof()
        wait_until(lambda: is_rewritten(server), description="the append-only file is rewritten")
    server.restart()
    assert not add(server.client(), new.ref, 3)
    await store.start()
    assert (await put(store, new.ref, 3, b"x", epoch=2)).status is Status.OK
    assert [event.seq for event in await log(store, new.ref)] == [1, 2, 3]
    await store.aclose()


def is_rewritten(server: RedisServer) -> bool:
    state = server.client().info("persistence")
    return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]
