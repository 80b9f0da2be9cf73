"""The Redis store while Redis, or the way to it, fails: nothing is written twice, lost in silence or waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.appends import Append
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.registrations import Registered
from streamguard.testing._stream_store.steps import (
    a_seal,
    begin,
    closing,
    data,
    epoch_of,
    log,
    losing,
    meta,
    new_stream,
    payloads,
    put,
    registered,
    seal,
    tombstone,
    try_register,
)
from streamguard.values import EventKind, StreamRef

from ...harness.proxy import FaultProxy
from ...harness.redis import RedisServer

pytestmark = pytest.mark.anyio

TIMEOUT_SECONDS = 0.3


@pytest.fixture
async def store(proxy: FaultProxy, redis_database: int) -> AsyncIterator[RedisStore]:
    store = RedisStore(proxy.redis_url(redis_database), command_seconds=TIMEOUT_SECONDS)
    assert await store.start() == []
    yield store
    await store.aclose()


# -- lost replies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [True, False], ids=["connection cut", "silence"])
async def test_an_append_whose_reply_was_lost_is_repeated_without_harm(
    store: RedisStore, proxy: FaultProxy, cut: bool
) -> None:
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    proxy.lose_reply(b"payload-2", cut=cut)
    with pytest.raises(StoreUnavailableError):
        await put(store, ref, 2, b"payload-2", b"c")
    assert (await put(store, ref, 2, b"payload-2", b"c")).status is Status.DUPLICATE
    assert (await put(store, ref, 2, b"payload-2", b"c", b"d")).status is Status.OK
    assert payloads(await log(store, ref)) == [b"a", b"payload-2", b"c", b"d"]


async def test_an_append_that_never_arrived_is_repeated_and_written_once(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await begin(store)
    proxy.lose_request(b"payload-1")
    with pytest.raises(StoreUnavailableError):
        await put(store, ref, 1, b"payload-1")
    assert (await put(store, ref, 1, b"payload-1")).status is Status.OK
    assert payloads(await log(store, ref)) == [b"payload-1"]


async def test_a_registration_whose_reply_was_lost_is_repeated(store: RedisStore, proxy: FaultProxy) -> None:
    new = new_stream()
    proxy.lose_reply(new.ref.stream_id.encode())
    with pytest.raises(StoreUnavailableError):
        await try_register(store, new)
    written = await meta(store, new.ref)
    answer = await try_register(store, new)
    assert isinstance(answer, Registered)
    assert (answer.meta.ordinal, answer.meta.epoch) == (1, written.epoch)


async def test_an_end_whose_replies_were_lost_is_repeated(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await begin(store)
    stream_id = ref.stream_id.encode()
    proxy.lose_reply(stream_id)
    with pytest.raises(StoreUnavailableError):
        await store.seal(ref, epoch_of(ref), a_seal())
    status, standing = await store.seal(ref, epoch_of(ref), a_seal())
    assert (status, standing) == (Status.SEALED, a_seal())
    proxy.lose_reply(stream_id)
    with pytest.raises(StoreUnavailableError):
        await store.close(closing(ref, b"z"))
    assert (await store.close(closing(ref, b"z"))).status is Status.DUPLICATE
    assert [event.kind for event in await log(store, ref)] == [EventKind.CLOSING, EventKind.TERMINAL]


async def test_a_tombstone_whose_reply_was_lost_is_repeated(store: RedisStore, proxy: FaultProxy) -> None:
    new = new_stream()
    proxy.lose_reply(new.ref.stream_id.encode())
    with pytest.raises(StoreUnavailableError):
        await store.declare_lost(losing(new, terminal=tombstone()))
    assert (await store.declare_lost(losing(new, terminal=tombstone()))).status is Status.DUPLICATE
    assert len(await log(store, new.ref)) == 1


async def test_closing_stands_though_its_index_entry_could_not_be_removed(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await begin(store)
    await seal(store, ref)
    proxy.lose_request(b"ZREM")
    assert (await store.close(closing(ref))).status is Status.OK
    assert await store.expired_leases(limit=10) == []


# -- unknown scripts --------------------------------------------------------------------------------------------------


async def test_scripts_the_server_forgot_are_loaded_again(
    store: RedisStore, redis_server: RedisServer, redis_database: int
) -> None:
    refs = [await begin(store) for _ in range(3)]
    redis_server.client(redis_database).script_flush()
    replies = await store.append([Append(ref, epoch_of(ref), 1, data(b"a", b"b"), False) for ref in refs])
    assert [(reply.status, reply.last_seq) for reply in replies] == [(Status.OK, 2)] * 3
    redis_server.client(redis_database).script_flush()
    assert (await meta(store, refs[0])).last_seq == 2
    assert registered(await try_register(store, new_stream())).ordinal == 1


# -- no answer --------------------------------------------------------------------------------------------------------


async def test_a_hanging_server_costs_no_more_than_the_command_timeout(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await begin(store)
    proxy.hang()
    began = time.monotonic()
    outcomes = await asyncio.gather(
        *(put(store, ref, 1, b"a") for _ in range(3)),
        *(store.meta(ref) for _ in range(5)),
        _watch(store, ref),
        return_exceptions=True,
    )
    assert time.monotonic() - began < TIMEOUT_SECONDS * 3
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 9
    proxy.forward()
    assert (await put(store, ref, 1, b"a")).status in (Status.OK, Status.DUPLICATE)
    assert payloads(await log(store, ref)) == [b"a"]
    await _watch(store, ref)


async def _watch(store: RedisStore, ref: StreamRef) -> None:
    async with store.subscribe(ref, lambda hint: None):
        pass


async def test_an_unreachable_server_is_a_warning_at_start_and_an_error_later(
    redis_database: int, proxy: FaultProxy
) -> None:
    proxy.refuse()
    store = RedisStore(proxy.redis_url(redis_database), command_seconds=TIMEOUT_SECONDS)
    try:
        (warning,) = await store.start()
        assert f"127.0.0.1:{proxy.port}" in warning
        began = time.monotonic()
        for call in (store.ping, lambda: begin(store), lambda: _watch(store, new_stream().ref)):
            with pytest.raises(StoreUnavailableError):
                await call()
        assert time.monotonic() - began < TIMEOUT_SECONDS * 4
        proxy.forward()
        await store.ping()
    finally:
        await store.aclose()


async def test_a_restarted_server_costs_nothing_when_the_store_was_idle(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis(aof=True)
    store = RedisStore(server.url)
    try:
        ref = await begin(store)
        await put(store, ref, 1, b"a")
        await asyncio.to_thread(server.restart)  # the loop sees the connection close meanwhile
        assert (await put(store, ref, 2, b"b")).status is Status.OK
        assert payloads(await log(store, ref)) == [b"a", b"b"]
        await asyncio.to_thread(server.restart, empty=True)
        assert (await put(store, ref, 3, b"c")).status is Status.GONE
        assert await store.meta(ref) is None
    finally:
        await store.aclose()


# -- a server that is none --------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[tuple[RedisStore, list[int]]]:
    """A store whose server gives `reply` to whatever it is sent, and how often it was connected to."""
    connections = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[0] += 1
        while await reader.read(1 << 16):
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisStore(f"redis://127.0.0.1:{port}", command_seconds=30)
    try:
        yield store, connections
    finally:
        await store.aclose()
        server.close()


async def test_what_is_no_redis_is_an_error_at_once() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (store, connections):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.ping()
        assert connections == [2]  # what else such a connection brings is nobody's answer


async def test_a_reply_too_many_is_nobodys_answer() -> None:
    async with answering(b"+OK\r\n+WRONG\r\n") as (store, connections):
        for _ in range(3):
            await store.release_slot("owner", "stream")  # one command
        assert connections == [3]


# -- cancelling -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_append_leaves_the_store_usable_and_in_order(store: RedisStore, proxy: FaultProxy) -> None:
    ref = await begin(store)
    other = await begin(store)
    first = 1
    proxy.delay(0.03)  # so that no reply comes before the cancellation
    for round_ in range(10):
        task = asyncio.create_task(put(store, ref, first, b"%d" % first, b"%d" % (first + 1)))
        behind = asyncio.create_task(put(store, other, round_ + 1, b"%d" % round_))
        for _ in range(round_):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await behind).status is Status.OK
        assert (await put(store, ref, first, b"%d" % first, b"%d" % (first + 1))).last_seq == first + 1
        first += 2
    proxy.forward()
    assert payloads(await log(store, ref)) == [b"%d" % number for number in range(1, first)]
    assert payloads(await log(store, other)) == [b"%d" % number for number in range(10)]


async def test_concurrent_appends_are_carried_out_in_the_order_asked(store: RedisStore) -> None:
    ref = await begin(store)
    replies = await asyncio.gather(*(put(store, ref, seq, b"%d" % seq) for seq in range(1, 101)))
    assert [reply.status for reply in replies] == [Status.OK] * 100
