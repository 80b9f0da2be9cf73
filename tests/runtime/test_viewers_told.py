"""What a process tells operators of its viewers: how many there are, now and then, and only while there are any."""

from __future__ import annotations

import pytest

from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore

from ..harness.waiting import wait_until_async
from .conftest import Stores, look, memory, stores
from .lines import Line
from .savers import eventually
from .stage import KEY, Model, quick, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

OFTEN = {"heartbeat_seconds": 0.05}


async def told(store: StreamStore, expected: dict[str, int]) -> None:
    async def is_told() -> bool:
        return await store.viewer_counts() == expected

    await eventually(is_told, f"viewers are {expected}")


async def test_viewers_here_and_elsewhere_are_told_of_and_forgotten(stores: Stores, look: StreamStore) -> None:
    async with working(stores(), quick(**OFTEN)) as writer, working(stores(), quick(**OFTEN)) as other:
        model = Model("a")
        stream = await writer.start(model)
        local = writer.view(stream)
        await wait_until_async(lambda: stream.acked, description="it is logged")
        remote = [await other.resume(KEY) for _ in range(2)]
        await told(look, {stream.ref.stream_id: 3})
        remote[0].close()
        await told(look, {stream.ref.stream_id: 2})
        remote[1].close()
        local.close()
        await told(look, {})
        model.end()
        await stream.ended()


async def test_nothing_is_said_while_nobody_views(memory: MemoryStore) -> None:
    """Heartbeats go on meanwhile; a viewer that was gone is told of once."""
    line = Line(memory)
    async with working(line, quick(**OFTEN)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await wait_until_async(lambda: line.calls["heartbeat"] >= 3, description="it is renewed")
        assert line.calls["report_viewers"] == 0
        viewer = worker.view(stream)
        await told(memory, {stream.ref.stream_id: 1})
        viewer.close()
        await told(memory, {})
        said, beats = line.calls["report_viewers"], line.calls["heartbeat"]
        await wait_until_async(lambda: line.calls["heartbeat"] >= beats + 3, description="it is renewed")
        assert line.calls["report_viewers"] == said
        model.end()
        await stream.ended()


async def test_a_store_that_takes_no_reports_hurts_nobody(memory: MemoryStore) -> None:
    line = Line(memory)
    line.broken.add("report_viewers")
    async with working(line, quick(**OFTEN)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        viewer = worker.view(stream)
        await wait_until_async(lambda: line.calls["report_viewers"] >= 2, description="it goes on trying")
        assert not worker.runtime.breaker.open
        assert worker.runtime.health().reasons == ()
        line.broken.clear()
        await told(memory, {stream.ref.stream_id: 1})
        model.end()
        await stream.ended()
        viewer.close()
