"""A Redis that answers and refuses: what is told of the answers that lose their log says why, also to an operator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.observations import Signal
from streamguard.stores.redis import RedisStore
from streamguard.unavailable import UnavailableReason, reason_of

from ..harness.redis import RedisServer
from ..harness.waiting import wait_until_async
from .stage import KEY, Model, quick, saying, working

pytestmark = pytest.mark.anyio

REFUSALS: dict[UnavailableReason, tuple[tuple[str, ...], tuple[str, ...]]] = {
    UnavailableReason.OUT_OF_MEMORY: (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    UnavailableReason.READ_ONLY: (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    UnavailableReason.TOO_FEW_REPLICAS: (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
    ),
    UnavailableReason.FORBIDDEN: (("ACL", "SETUSER", "default", "-xadd"), ("ACL", "SETUSER", "default", "+xadd")),
}
"""Why a server refuses appends, what makes it do so, and what ends that."""


@pytest.mark.parametrize("spoken", [True, False], ids=["in mid-stream", "at the first event"])
@pytest.mark.parametrize("reason", REFUSALS)
async def test_why_appends_are_refused_is_told(
    own_redis: Callable[..., RedisServer], reason: UnavailableReason, *, spoken: bool
) -> None:
    server = own_redis()
    refuse, allow = REFUSALS[reason]
    async with (
        aclosing(RedisStore(server.url)) as store,
        working(store, quick(registration_seconds=0.3, append_deadline_seconds=0.4)) as worker,
    ):
        model = Model("a") if spoken else Model()
        stream = await worker.start(model)
        if spoken:
            await stream.first(5)
        server.command(*refuse)
        model.say("b")
        await wait_until_async(lambda: stream.degraded, description="the log is given up")
        (opened,) = worker.signals(Signal.BREAKER_OPENED)
        (degraded,) = worker.signals(Signal.STREAM_DEGRADED)
        for told in (opened, degraded):
            assert isinstance(told.error, StoreUnavailableError)
            assert reason_of(told.error) is reason
            assert told.error.operation == "append"
        assert worker.runtime.breaker.reason is reason
        server.command(*allow)
        await wait_until_async(lambda: not worker.runtime.breaker.open, description="the breaker closed")
        model.end()
        assert (await worker.watch(stream)).text == ("ab" if spoken else "b")
        await worker.idle()
        assert (await worker.tell(saying("c"))).ids == [1, 2]
        assert (await store.session(KEY)).active_id is None


async def test_why_a_heartbeat_is_refused_is_kept(own_redis: Callable[..., RedisServer]) -> None:
    """What refuses a heartbeat counts as the store's trouble, with its reason."""
    server = own_redis()
    async with aclosing(RedisStore(server.url)) as store, working(store) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        server.command("REPLICAOF", "127.0.0.1", "1")
        (reply,) = await store.heartbeat([(stream.ref, stream.epoch)], lease_seconds=5.0, ttl_seconds=60.0)
        assert reply.refusal is not None
        assert (reply.refusal.operation, reply.refusal.reason) == ("heartbeat", UnavailableReason.READ_ONLY)
        server.command("REPLICAOF", "NO", "ONE")
        model.end()
        await worker.watch(stream)
        await worker.idle()
