"""What a look has to leave is not read again by every look."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamguard.reconcile.orphans import DEFER_OVER, LATER_SECONDS, OrphanSweep
from streamguard.reconcile.results import Result
from streamguard.stores.records import NewStream, StreamMeta
from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.steps import fresh_key, new_stream
from streamguard.values import StreamRef
from tests.runtime.stage import expired, quick, working

pytestmark = pytest.mark.anyio


class CountingStore(RedisStore):
    """Counts the records that are read one by one."""

    records_read = 0

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        self.records_read += 1
        return await super().meta(ref)


async def left_behind(store: RedisStore, protocol: str, count: int) -> Sequence[StreamRef]:
    refs = []
    for _ in range(count):
        ref = new_stream(fresh_key()).ref
        await store.register(NewStream(ref, "m", protocol, "b", ""), lease_seconds=0.001, ttl_seconds=600.0, limit=None)
        refs.append(ref)
    return refs


@pytest.mark.parametrize("many", [True, False])
async def test_streams_of_a_later_version_are_read_once_in_a_while(redis_url: str, many: bool) -> None:
    store = CountingStore(redis_url, command_seconds=5.0)
    count = 3 * DEFER_OVER if many else 3
    async with working(store, quick()) as worker:
        refs = await left_behind(store, "tomorrow", count)
        await expired(store, refs[-1])
        sweep = OrphanSweep(worker.runtime)
        first = await sweep.run_once()
        assert [one.reason for one in first] == ["unknown_protocol"] * count
        store.records_read = 0
        (orphan,) = await left_behind(store, "plain", 1)
        await expired(store, orphan)
        second = await sweep.run_once()
        assert [one.ref for one in second if one.result is Result.DONE] == [orphan]
        assert store.records_read <= (1 if many else 1 + count)
        assert LATER_SECONDS <= 15.0, "a worker of the later version ends them soon"
        for ref in refs:  # nothing of them was changed
            assert (await store.session(ref.key)).active_id == ref.stream_id
