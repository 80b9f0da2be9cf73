"""A store of several servers: one that is silent holds up its own streams, and no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.values import SessionKey, StreamRef

from ..harness.redis_cluster import ClusterNode, RedisCluster
from ..harness.waiting import wait_until_async
from .lines import Line
from .savers import eventually
from .stage import Model, Reading, quick, read, saying, working

pytestmark = pytest.mark.anyio

KEYS = Keys("streamguard")


def key_on(
    cluster: RedisCluster, node: ClusterNode, *, nothing_on: ClusterNode | None = None, first: int = 0
) -> SessionKey:
    """A session of a server, of which nothing is kept on another one."""
    for number in range(first, 10_000):
        key = SessionKey(f"owner-{number}", f"session-{number}")
        apart = (KEYS.owner(key.owner), KEYS.lease_shard(StreamRef(key, "0" * 24)))
        if cluster.master_of(KEYS.session(key).session) is node and (
            nothing_on is None or all(cluster.master_of(one) is not nothing_on for one in apart)
        ):
            return key
    raise AssertionError("no session is there")


def has(text: str) -> Callable[[Reading], bool]:
    return lambda reading: text in reading.text


async def test_a_silent_server_degrades_its_own_streams_alone(own_redis_cluster: Callable[..., RedisCluster]) -> None:
    cluster = own_redis_cluster(node_timeout_seconds=60)
    silent, healthy = cluster.masters()[:2]
    settings = quick(
        command_seconds=1.0,
        append_deadline_seconds=1.0,
        registration_seconds=1.0,
        lease_seconds=10.0,
        heartbeat_seconds=1.0,
    )
    slow_model, quick_model = Model("s0 "), Model("q0 ")
    try:
        store = RedisStore(cluster.url, command_seconds=1.0)
        async with working(store, settings, clean=False) as worker:
            slow = await worker.start(slow_model, worker.request(key_on(cluster, silent)))
            other = await worker.start(quick_model, worker.request(key_on(cluster, healthy)))
            slow_view, quick_view = worker.view(slow), worker.view(other)
            slow_reading = await read(slow_view, until=has("s0"))
            quick_reading = await read(quick_view, until=has("q0"))
            later = key_on(cluster, healthy, nothing_on=silent, first=1_000)
            silent.pause()
            slow_model.say("s1 ")
            await wait_until_async(store.partly_down, description="the server is known to be silent")
            for n in range(1, 6):  # each waits for its own append, and for nobody else's
                quick_model.say(f"q{n} ")
                await read(quick_view, quick_reading, until=has(f"q{n}"))
            begun = await worker.tell(saying("new"), worker.request(later))
            assert (begun.text, begun.outcome, begun.notices) == ("new", "completed", [])
            await read(slow_view, slow_reading, until=has("s1"))
            assert slow_reading.notices == [("not_resumable", "append_deadline")]
            assert not worker.runtime._parts.breaker.open
            assert quick_reading.notices == []
            quick_model.end()
            slow_model.end()
            await read(quick_view, quick_reading)
            await read(slow_view, slow_reading)
            assert quick_reading.outcome == "completed"
            silent.resume()
    finally:
        silent.resume()


async def test_a_lost_log_is_declared_although_the_server_of_another_is_down(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(memory)
    model, other_model = Model("a"), Model("a")
    async with working(line, quick(heartbeat_seconds=0.1)) as worker:
        first = await worker.start(model, worker.request(SessionKey("ann", "1")))
        second = await worker.start(other_model, worker.request(SessionKey("ann", "2")))
        await wait_until_async(lambda: first.acked == second.acked == 1, description="they are logged")
        line.broken = {"append", "declare_lost"}
        model.say("b")
        other_model.say("b")
        await wait_until_async(lambda: first.degraded and second.degraded, description="both are degraded")
        monkeypatch.setattr(line, "partly_down", lambda: True)
        away = StoreUnavailableError("declare_lost: away", operation="declare_lost")
        line.errors["declare_lost"] = [away, None] * 10_000
        line.broken = set()

        async def declared() -> bool:
            record = await memory.meta(second.ref)
            return record is not None and record.lost

        await eventually(declared, "the second one is declared lost")
        line.errors.clear()
        model.end()
        other_model.end()
        await worker.idle()
