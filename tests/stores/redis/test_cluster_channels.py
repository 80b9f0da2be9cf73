"""Channels on a cluster of three masters: one connection hears of streams on all of them, and outlives its server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.redis import RedisStore, subscriptions
from streamguard.stores.redis.keys import Keys
from streamguard.stores.store import StreamStore
from streamguard.stores.worker_hints import MISSED_HINTS
from streamguard.testing._stream_store.steps import Hints, new_stream, put, registered, try_register
from streamguard.testing._stream_store.worker_hints import WorkerHints, fresh_worker
from streamguard.values import SessionKey, StreamRef

from ...harness.redis_cluster import ClusterNode, RedisCluster
from ...harness.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")
BUSY = """
local function now() local time = redis.call('TIME') return time[1] * 1000000 + time[2] end
local over = now() + ARGV[1]
while now() < over do end
"""
"""Keeps a server busy for so many microseconds."""


@pytest.fixture
async def store(redis_cluster_url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis_cluster_url, command_seconds=5)
    await store.start()
    yield store
    await store.aclose()


@pytest.fixture
async def other(redis_cluster_url: str) -> AsyncIterator[RedisStore]:
    """Another process."""
    store = RedisStore(redis_cluster_url, command_seconds=5)
    await store.start()
    yield store
    await store.aclose()


async def one_on_each(store: StreamStore, cluster: RedisCluster, worker: str) -> list[StreamRef]:
    """A stream of the worker on each master."""
    found: dict[int, StreamRef] = {}
    while len(found) < len(cluster.masters()):
        new = replace(new_stream(), worker=worker)
        found.setdefault(cluster.master_of(KEYS.stream(new.ref).meta).port, new.ref)
        if found[cluster.master_of(KEYS.stream(new.ref).meta).port] is new.ref:
            registered(await try_register(store, new))
    return list(found.values())


def hearing(nodes: Sequence[ClusterNode], channel: bytes) -> list[ClusterNode]:
    """Those of the servers that somebody is subscribed at."""
    return [node for node in nodes if channel in node.client().pubsub_channels()]


async def test_a_worker_hears_of_its_streams_on_every_master(
    redis_cluster: RedisCluster, store: RedisStore, other: RedisStore
) -> None:
    worker, hints = fresh_worker(), WorkerHints()
    async with store.subscribe_worker(worker, hints):
        assert len(hearing(redis_cluster.masters(), KEYS.worker(worker))) == 1
        refs = await one_on_each(store, redis_cluster, worker)
        for ref in refs:
            await other.request_stop(ref)
        for ref in refs:
            await hints.of(ref, lambda hint: hint.stop_requested, description=f"the stop of {ref.stream_id}")


async def test_a_viewer_hears_of_streams_on_every_master(
    redis_cluster: RedisCluster, store: RedisStore, other: RedisStore
) -> None:
    for ref in await one_on_each(store, redis_cluster, ""):
        hints = Hints()
        async with other.subscribe(ref, hints):
            await put(store, ref, 1, b"a")
            await hints.until(lambda seen: any(hint.events for hint in seen), description="the event")


@pytest.mark.long
async def test_a_worker_whose_server_is_silent_listens_at_another(
    own_redis_cluster: Callable[..., RedisCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told that it may have missed something, and then of the streams on all masters again."""
    monkeypatch.setattr(subscriptions, "_IDLE_SECONDS", 0.1)
    cluster = own_redis_cluster()
    store = RedisStore(cluster.url, command_seconds=5)
    await store.start()
    try:
        worker, hints = fresh_worker(), WorkerHints()
        async with store.subscribe_worker(worker, hints):
            refs = await one_on_each(store, cluster, worker)
            (node,) = hearing(cluster.masters(), KEYS.worker(worker))
            node.pause()
            try:
                await hints.until(lambda seen: MISSED_HINTS in seen, description="the doubt")
            finally:
                node.resume()
            for ref in refs:
                await store.request_stop(ref)
                await hints.of(ref, lambda hint: hint.stop_requested, description=f"the stop of {ref.stream_id}")
    finally:
        await store.aclose()


async def test_a_worker_leaves_a_server_that_was_taken_out_of_the_cluster(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    """Such a server goes on to answer, but hears nothing of the others any more."""
    cluster = own_redis_cluster(masters=2)
    kept, removed = cluster.masters()
    store = RedisStore(cluster.url, command_seconds=5)
    await store.start()
    try:
        worker, hints = fresh_worker(), WorkerHints()
        new = new_stream()
        while cluster.master_of(KEYS.stream(new.ref).meta) is not removed:
            new = new_stream(SessionKey("ann", secrets.token_hex(4)))
        kept.pause()
        async with store.subscribe_worker(worker, hints):
            kept.resume()
            assert hearing(cluster.masters(), KEYS.worker(worker)) == [removed]
            remove(cluster, removed)
            is_found: Callable[[], Awaitable[bool] | bool] = partial(answers, store, new.ref)
            await wait_until_async(is_found, description="the store knows which server has the slot now")
            await hints.until(lambda seen: MISSED_HINTS in seen, description="the doubt")
            registered(await try_register(store, replace(new, worker=worker)))
            await store.request_stop(new.ref)
            await hints.of(new.ref, lambda hint: hint.stop_requested, description="the stop")
    finally:
        kept.resume()
        await store.aclose()


async def test_a_worker_does_not_come_back_to_a_server_that_was_taken_out(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    """Though the URL names it, and it answers sooner than those of the cluster."""
    cluster = own_redis_cluster(masters=2)
    kept, removed = cluster.masters()
    channel, new = KEYS.worker(worker := fresh_worker()), new_stream()
    remove(cluster, removed)
    store = RedisStore(cluster.url, command_seconds=5)
    await store.start()
    try:
        assert await store.session(new.ref.key) is not None
        hints = WorkerHints()
        async with store.subscribe_worker(worker, hints):
            assert hearing([kept, removed], channel) == [kept]
            registered(await try_register(store, replace(new, worker=worker)))
            await asyncio.to_thread(cut_and_busy, kept)
            await hints.until(lambda seen: MISSED_HINTS in seen, description="the doubt")
            assert hearing([kept, removed], channel) == [kept]
            await store.request_stop(new.ref)
            await hints.of(new.ref, lambda hint: hint.stop_requested, description="the stop")
    finally:
        await store.aclose()


def cut_and_busy(node: ClusterNode) -> None:
    """Cut all who are subscribed at a node, which then answers nobody for a moment."""
    steps = node.client().pipeline(transaction=False)
    steps.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call] # redis-py
    steps.eval(BUSY, 0, 300_000)
    steps.execute()


def remove(cluster: RedisCluster, node: ClusterNode) -> None:
    """Give the slots of a node, in which there are no keys, to the other one, and let each forget the other.

    The other one's epoch becomes the highest before: while its own were lower, the node would take the slots back with
    whatever it says meanwhile.
    """
    other = cluster.another_master(node)
    cluster.wait_until_epochs_known()
    other.command("CLUSTER", "BUMPEPOCH")
    taking = other.client().pipeline(transaction=False)
    for slots in node.slots:
        for slot in slots:
            taking.execute_command("CLUSTER", "SETSLOT", slot, "NODE", other.node_id)  # type: ignore[no-untyped-call] # redis-py
    taking.execute_command("CLUSTER", "FORGET", node.node_id)  # type: ignore[no-untyped-call] # redis-py
    taking.execute()
    node.command("CLUSTER", "RESET", "HARD")
    wait_until(lambda: other.sees_every_slot, description="the other one has every slot")


async def answers(store: StreamStore, ref: StreamRef) -> bool:
    try:
        await store.session(ref.key)
    except StoreUnavailableError:
        return False
    return True
