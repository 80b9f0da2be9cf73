"""The outbox in a cluster whose masters are not all there: what is owed on the others is settled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamguard.observations import Signal
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.values import Persisted, SessionKey, StreamRef

from ..harness.redis_cluster import RedisCluster
from ..harness.waiting import wait_until_async
from ..runtime.savers import Messages, meta_of, saving_to
from ..runtime.stage import quick, working
from .test_outbox import FAST, due, owing

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KEYS = Keys("streamguard")


def key_where(condition: Callable[[StreamRef], bool], first: int) -> SessionKey:
    for number in range(first, first + 10_000):
        key = SessionKey("ann", f"chat-{number}")
        if condition(StreamRef(key, "0" * 24)):
            return key
    raise AssertionError("no session is there")


async def test_saves_owed_on_other_masters_are_made_while_one_is_away(
    own_redis_cluster: Callable[..., RedisCluster],
) -> None:
    """Those whose record is on it, or whose part of the outbox, wait until it is back."""
    cluster = own_redis_cluster(aof=True, config={"cluster-require-full-coverage": "no", "appendfsync": "always"})
    dying = cluster.masters()[0]

    def has_record(ref: StreamRef) -> bool:
        return cluster.master_of(KEYS.stream(ref).meta) is dying

    def has_entry(ref: StreamRef) -> bool:
        return cluster.master_of(KEYS.outbox_shard(ref)) is dying

    def elsewhere(ref: StreamRef) -> bool:
        return not has_record(ref) and not has_entry(ref)

    store, look, messages = RedisStore(cluster.url), RedisStore(cluster.url), Messages()
    try:
        await look.start()
        async with working(store, quick(**FAST), bindings=saving_to(messages)) as worker:
            there = [
                (await owing(worker, messages, key_where(one, n * 10_000))).ref for n, one in enumerate([elsewhere] * 5)
            ]
            waiting = [
                (await owing(worker, messages, key_where(one, n * 10_000))).ref
                for n, one in enumerate([has_record, has_entry] * 3, 5)
            ]
            await due(look, *there, *waiting)
            dying.kill()
            worker.runtime.supervise("outbox", OutboxWorker(worker.runtime).run)

            def recovered() -> set[StreamRef | None]:
                return {one.ref for one in worker.signals(Signal.SAVE_RECOVERED)}

            await wait_until_async(lambda: recovered() == {*there}, description="the others' saves are made")
            for ref in there:
                assert (await meta_of(look, ref)).persisted is Persisted.YES
            dying.start()
            everything = {*there, *waiting}
            await wait_until_async(lambda: recovered() == everything, description="all saves are made", timeout=60)
    finally:
        await look.aclose()
