"""For how long something has been owed, which no entry tells: its due time moves with each attempt."""

from __future__ import annotations

import pytest

from streamguard.reconcile.measuring import LISTED, OutboxWaits
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status
from streamguard.testing._stream_store.steps import begin, closing, seal
from streamguard.values import StreamRef
from tests.runtime.savers import eventually

pytestmark = pytest.mark.anyio

KEPT_SECONDS = 600.0
OLD_SECONDS = 0.03


async def owing(store: MemoryStore) -> StreamRef:
    """A closed stream that owes a save, due in a while."""
    ref = await begin(store)
    await store.enqueue(ref, due_seconds=KEPT_SECONDS)
    await seal(store, ref)
    assert (await store.close(closing(ref, owed=b"{}"))).status is Status.OK
    return ref


async def test_an_entry_that_is_tried_again_and_again_grows_old() -> None:
    store, waits = MemoryStore(), OutboxWaits()
    assert await waits.oldest_seconds(store, await store.depths()) == 0
    ref = await owing(store)
    assert await waits.oldest_seconds(store, await store.depths()) == 0
    ages: list[float] = []

    async def is_old() -> bool:
        await store.retry_later(ref, due_seconds=KEPT_SECONDS, reason="timeout", ttl_seconds=KEPT_SECONDS)
        ages.append(await waits.oldest_seconds(store, await store.depths()))
        return ages[-1] > OLD_SECONDS

    await eventually(is_old, "the entry has been there for a while")
    await owing(store)
    assert await waits.oldest_seconds(store, await store.depths()) >= ages[-1], "the younger one does not hide it"
    await store.complete(ref, retention_seconds=KEPT_SECONDS)
    assert await waits.oldest_seconds(store, await store.depths()) < ages[-1]


async def test_too_many_to_tell_apart_are_as_old_as_the_backlog() -> None:
    store, waits = MemoryStore(), OutboxWaits()
    first = await owing(store)
    assert await waits.oldest_seconds(store, await store.depths()) == 0
    for _ in range(LISTED):
        await owing(store)
    ages: list[float] = []

    async def is_old() -> bool:
        ages.append(await waits.oldest_seconds(store, await store.depths()))
        return ages[-1] > OLD_SECONDS

    await eventually(is_old, "the backlog has been there for a while")
    await store.complete(first, retention_seconds=KEPT_SECONDS)
    assert await waits.oldest_seconds(store, await store.depths()) < ages[-1]
