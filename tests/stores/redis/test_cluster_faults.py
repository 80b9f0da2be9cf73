"""What happens to a cluster while streams are written: slots move, servers are silent, masters die."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.appends import Append
from streamguard.stores.records import NewStream, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.cluster import AnyServer
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.permissions import Permissions
from streamguard.stores.redis.pipeline import Server
from streamguard.stores.redis.scripts import Scripts
from streamguard.stores.redis.session_calls import TakeSlot
from streamguard.stores.redis.slot_map import SLOTS, Place
from streamguard.stores.registrations import Occupied, Registered
from streamguard.testing._stream_store.steps import (
    LONG_SECONDS,
    a_seal,
    begin,
    closing,
    data,
    end,
    epoch_of,
    full,
    log,
    meta,
    new_stream,
    payloads,
    put,
    registered,
    try_register,
)
from streamguard.unavailable import UnavailableReason, reason_of
from streamguard.values import EventKind, SessionKey, StreamRef, StreamState

from ...harness.redis_cluster import ClusterNode, RedisCluster
from ...harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")
DATA = [(EventKind.DATA, b"a")]
Waited = Callable[[], Awaitable[bool] | bool]


@pytest.fixture
async def store(redis_cluster_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_cluster_url, command_seconds=5)
    assert await store.start() == []
    yield store
    await store.aclose()


def session_on(
    cluster: RedisCluster, node: ClusterNode, *, not_on: ClusterNode | None = None, first: int = 0
) -> SessionKey:
    """A session whose keys a node has; what is kept of it elsewhere is `not_on` another one."""
    for number in range(first, 10_000):
        key = SessionKey(f"owner-{number}", f"session-{number}")
        ref = StreamRef(key, "0" * 24)
        apart = (KEYS.owner(key.owner), KEYS.lease_shard(ref))
        if cluster.master_of(KEYS.session(key).session) is node and (
            not_on is None or all(cluster.master_of(one) is not not_on for one in apart)
        ):
            return key
    raise AssertionError("no session has its keys there")


# -- slots that move --------------------------------------------------------------------------------------------------


async def test_a_stream_goes_on_at_the_server_that_its_slot_moved_to(
    redis_cluster: RedisCluster, store: RedisStore
) -> None:
    ref = await begin(store)
    await put(store, ref, 1, b"before")
    redis_cluster.migrate(KEYS.stream(ref).meta)
    assert (await put(store, ref, 2, b"after")).status is Status.OK
    assert payloads(await log(store, ref)) == [b"before", b"after"]
    redis_cluster.migrate(KEYS.stream(ref).meta)
    await end(store, ref, 2)
    assert (await meta(store, ref)).state is StreamState.CLOSED


async def test_an_append_is_refused_while_a_streams_keys_are_apart(
    redis_cluster: RedisCluster, store: RedisStore
) -> None:
    """Then the writer asks again; it is not waited for, because others wait behind it."""
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    keys = KEYS.stream(ref)
    migration = redis_cluster.begin_migration(keys.meta)
    migration.move(keys.log)
    refused = await put(store, ref, 2, b"b")
    assert refused.status is Status.REFUSED
    assert reason_of(refused.refusal) is UnavailableReason.TRY_AGAIN
    migration.move(keys.meta)  # both are there, though the slot is not
    assert (await put(store, ref, 2, b"b")).status is Status.OK
    migration.finish()
    assert (await put(store, ref, 3, b"c")).status is Status.OK
    assert payloads(await log(store, ref)) == [b"a", b"b", b"c"]


async def test_last_events_wait_for_no_other_server(store: RedisStore) -> None:
    """With the end they would be shown only when the server of the owner's slot has answered, too."""
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    last = Append(ref, epoch_of(ref), 2, data(b"b"), refresh=False, within_seconds=LONG_SECONDS)
    assert await store.seal_and_close(closing(ref), a_seal(2), last) == (Status.NOT_SEALED, None, None)
    assert payloads(await log(store, ref)) == [b"a"]


@pytest.mark.parametrize("moved", ["the slot", "the keys"])
async def test_an_append_that_is_sent_on_has_its_time_by_the_new_server_s_clock(
    moved: str, redis_cluster: RedisCluster, store: RedisStore
) -> None:
    """The old one's may be wrong by more than an append may take."""
    assert store._cluster is not None
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    (record,) = await store.session_streams(ref.key, limit=1)
    source = store._cluster.known(KEYS.stream(ref).meta)
    assert source is not None
    source.clock.heard(int(time.time() * 1000) - 3_600_000)
    migration = redis_cluster.begin_migration(KEYS.stream(ref).meta)
    migration.move_all()
    if moved == "the slot":
        migration.finish()
    append = Append(ref, record.epoch, 2, [(EventKind.DATA, b"b")], refresh=False, within_seconds=5.0)
    (reply,) = await store.append([append])
    assert reply.status is Status.OK
    target = store._cluster.at(Place("127.0.0.1", migration.target.public_port))
    until_ms = target.clock.until(0.0)
    assert until_ms is not None
    assert abs(until_ms - time.time() * 1000) < 60_000
    migration.finish()


async def test_nobody_finds_half_a_session(redis_cluster: RedisCluster, store: RedisStore) -> None:
    """While a slot moves, some keys are at one server and some at another: whoever asks about the session waits."""
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    migration = redis_cluster.begin_migration(KEYS.stream(ref).meta)
    migration.move(KEYS.stream(ref).meta)  # the session's pointer stays: it would seem to point to nothing
    session = asyncio.create_task(store.session(ref.key))
    streams = asyncio.create_task(store.session_streams(ref.key, limit=5))
    registering = asyncio.create_task(try_register(store, new_stream(ref.key)))
    stopping = asyncio.create_task(store.stop_pending_requests(ref.key, seconds=60, limit=5))
    done, _ = await asyncio.wait([session, streams, registering, stopping], timeout=0.3)
    assert not done
    migration.finish()
    assert (await session).active is not None
    assert [one.ref for one in await streams] == [ref]
    assert isinstance(await registering, Occupied)
    assert not await stopping


# -- steps of several slots -------------------------------------------------------------------------------------------


async def test_a_slot_without_a_stream_lasts_for_a_lease(store: RedisStore) -> None:
    """As when a worker dies between the two steps of a registration."""
    lost, wanted = new_stream(SessionKey("ann", "1")), new_stream(SessionKey("ann", "2"))
    taking = TakeSlot(owner_key=KEYS.owner("ann"), stream_id=lost.ref.stream_id, lease_ms=300, limit=1, ttl_ms=60_000)
    assert (await store._redis.call("register", taking)).answer == b"taken"
    full(await try_register(store, wanted, limit=1))

    has_room: Waited = partial(_registered, store, wanted)
    await wait_until_async(has_room, description="the slot has expired")


async def _registered(store: RedisStore, new: NewStream) -> bool:
    return isinstance(await try_register(store, new, limit=1), Registered)


async def test_a_refused_registration_gives_its_slot_back(store: RedisStore) -> None:
    ref = await begin(store, SessionKey("ann", "1"))
    await try_register(store, new_stream(ref.key), limit=3)  # occupied
    await put(store, ref, 1, b"a")
    registered(await try_register(store, new_stream(SessionKey("ann", "2")), limit=2))


# -- servers that fail ------------------------------------------------------------------------------------------------


async def test_a_silent_server_holds_up_its_own_streams_alone(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    cluster = own_redis_cluster(node_timeout_seconds=60)
    silent, *others = cluster.masters()
    store = RedisStore(cluster.url, command_seconds=1.0)
    try:
        await store.start()
        slow = await begin(store, session_on(cluster, silent))
        quick = [await begin(store, session_on(cluster, node)) for node in others]
        later = new_stream(session_on(cluster, others[0], not_on=silent, first=1_000))
        silent.pause()
        waiting = asyncio.create_task(put(store, slow, 1, b"a"))
        for ref in quick:
            for seq in (1, 2, 3):
                assert (await put(store, ref, seq, b"a")).status is Status.OK
        assert not waiting.done()
        placement = store.placement()
        assert placement is not None
        assert len({placement.server_of(ref) for ref in [slow, *quick]}) == 3
        await wait_until_async(store.partly_down, description="the store knows that a part of it is down")
        await store.ping()  # the others answer
        registered(await try_register(store, later))
        silent.resume()
        with pytest.raises(StoreUnavailableError):
            await waiting
        back: Waited = partial(_appended, store, slow, 1, b"a")
        await wait_until_async(back, description="the server answers again")
        assert not store.partly_down()
    finally:
        silent.resume()
        await store.aclose()


async def test_the_time_of_an_append_counts_from_its_call(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    """Finding the server and learning its time may take long: the writer's deadline does not wait for that. A server
    that is silent at that point is known to be, as at any other."""
    cluster = own_redis_cluster(node_timeout_seconds=60)
    silent, other = cluster.masters()[:2]
    store, fresh = (RedisStore(cluster.url, command_seconds=2.0) for _ in range(2))
    try:
        await store.start()
        ref = await begin(store, session_on(cluster, silent))
        quick = await begin(store, session_on(cluster, other))
        (record,) = await store.session_streams(ref.key, limit=1)
        await fresh.session(quick.key)  # it knows where the servers are now, and what the time is at none
        silent.pause()
        append = Append(ref, record.epoch, 1, [(EventKind.DATA, b"late")], refresh=False, within_seconds=0.05)
        late = asyncio.create_task(fresh.append([append]))
        await wait_until_async(fresh.partly_down, description="more than the append's time is over")
        silent.resume()
        (reply,) = await late
        assert reply.status is Status.LATE
        assert await log(store, ref) == []
    finally:
        silent.resume()
        await store.aclose()
        await fresh.aclose()


async def test_streams_of_a_server_do_not_wait_for_one_whose_next_server_is_silent(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    """Its keys are there already, and its slot is not."""
    cluster = own_redis_cluster(node_timeout_seconds=60)
    store = RedisStore(cluster.url, command_seconds=0.5)
    try:
        await store.start()
        home = cluster.masters()[0]
        moving = await begin(store, session_on(cluster, home))
        staying = await begin(store, session_on(cluster, home, first=1_000))
        epochs = {ref: (await meta(store, ref)).epoch for ref in (staying, moving)}
        for ref in (staying, moving):  # a script with a key that is nowhere is refused while its slot is moved
            await put(store, ref, 1, b"a")
        migration = cluster.begin_migration(KEYS.stream(moving).meta)
        migration.move_all()
        migration.target.pause()
        for seq in (2, 3, 4):
            appends = [Append(ref, epoch, seq, DATA, refresh=False) for ref, epoch in epochs.items()]
            first, second = await store.append(appends)
            assert (first.status, second.status) == (Status.OK, Status.REFUSED)
            assert reason_of(second.refusal) is UnavailableReason.TIMEOUT
        migration.target.resume()
        back: Waited = partial(_appended, store, moving, 2, b"a")
        await wait_until_async(back, description="the next server answers again")
    finally:
        for node in cluster.nodes:
            node.resume()
        await store.aclose()


async def test_a_server_that_loses_its_slots_while_it_is_tried_is_no_accident(store: RedisStore) -> None:
    assert store._cluster is not None
    first, *_ = await store._redis.connections.servers("ping")
    slotless = Server(first.name, first.connections, lambda _: False)
    permissions = Permissions(
        AnyServer(store._cluster), store._redis.connections, Scripts.load(), KEYS, command_seconds=5
    )
    with pytest.raises(StoreUnavailableError):
        await permissions.lacks("ping", subscribing=False, server=slotless)


async def test_a_server_that_comes_and_goes_is_one_place_for_writers() -> None:
    """Each place has a writer of its own, for as long as the process lives."""
    store, ref = RedisStore("redis+cluster://127.0.0.1:1"), new_stream().ref
    cluster, placement = store._cluster, store.placement()
    assert cluster is not None
    assert placement is not None
    found = []
    for port in (1, 2, 1, 2):
        cluster._take([Place("127.0.0.1", port)] * SLOTS)
        found.append(placement.server_of(ref))
    assert found[:2] == found[2:]
    assert len(set(found)) == 2
    await store.aclose()


async def _appended(store: RedisStore, ref: StreamRef, seq: int, payload: bytes) -> bool:
    try:
        reply = await put(store, ref, seq, payload)
    except StoreUnavailableError:
        return False
    return reply.status in (Status.OK, Status.DUPLICATE)


@pytest.mark.slow
async def test_a_store_recovers_by_itself_from_a_master_that_died(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    """Its replica has everything, and goes on; nothing is lost or written twice."""
    cluster = own_redis_cluster(replicas=1, node_timeout_seconds=1.0)
    store = RedisStore(cluster.url, command_seconds=1.0)
    try:
        await store.start()
        master = cluster.masters()[0]
        ref = await begin(store, session_on(cluster, master))
        await put(store, ref, 1, b"a")
        cluster.wait_until_replicated()
        cluster.kill(master)

        goes_on: Waited = partial(_appended, store, ref, 2, b"b")
        await wait_until_async(goes_on, description="the replica has taken over", timeout=30)
        assert payloads(await log(store, ref)) == [b"a", b"b"]
        registered(await try_register(store, new_stream(session_on(cluster, cluster.masters()[0]))))
    finally:
        await store.aclose()


async def test_a_cluster_is_found_though_the_first_servers_named_are_silent(redis_cluster: RedisCluster) -> None:
    """They take connections, and answer nothing: three of them must not be all that is asked in the time of a call."""
    node = redis_cluster.masters()[0]
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        places = [f"127.0.0.1:{one.getsockname()[1]}" for one in silent]
        store = RedisStore(f"redis+cluster://{','.join(places)},127.0.0.1:{node.public_port}", command_seconds=2.0)
        try:
            assert (await store.session(new_stream().ref.key)).last_id is None
            async with store.subscribe_worker("someone", lambda _: None):
                pass
        finally:
            await store.aclose()
