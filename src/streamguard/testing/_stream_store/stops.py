"""Clauses of the store contract about stops that come before the answer they mean is registered."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.store import StreamStore
from ...values import SessionKey
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    begin,
    end,
    fresh_key,
    full,
    meta,
    new_stream,
    registered,
    seal,
    sibling,
    try_register,
)

__all__ = ["StopClauses"]

EARLIER = 1_000.0
"""How long ago a request arrived that was there before any stop of its clause."""


async def stop(store: StreamStore, key: SessionKey, *, seconds: float = LONG_SECONDS, limit: int = 8) -> bool:
    return await store.stop_pending_requests(key, seconds=seconds, limit=limit)


async def is_stopped(store: StreamStore, key: SessionKey, *, arrived: float = EARLIER) -> bool:
    """Whether a stream of that session is registered as stopped. It is ended again."""
    record = registered(await try_register(store, new_stream(key), arrived=arrived))
    assert (await meta(store, record.ref)).stop_requested is record.stop_requested
    await end(store, record.ref)
    return record.stop_requested


class StopClauses(Clauses):
    async def test_a_stop_means_a_request_that_arrived_before_it(self, store: StreamStore) -> None:
        key = fresh_key()
        assert await stop(store, key)
        assert await is_stopped(store, key)

    async def test_registering_a_stopped_stream_again_gives_the_same_answer(self, store: StreamStore) -> None:
        new = new_stream()
        await stop(store, new.ref.key)
        for _ in range(2):
            assert registered(await try_register(store, new, arrived=EARLIER)).stop_requested

    async def test_a_stop_does_not_mean_a_request_that_arrives_after_it(self, store: StreamStore) -> None:
        key = fresh_key()
        await stop(store, key)
        assert not await is_stopped(store, key, arrived=0.0)

    async def test_how_long_ago_a_request_arrived_is_compared_on_the_stores_clock(self, store: StreamStore) -> None:
        early, late = fresh_key(), fresh_key()
        for key in (early, late):
            await stop(store, key)
        await self.advance(self.short_seconds)
        assert not await is_stopped(store, late, arrived=self.short_seconds / 4)
        assert await is_stopped(store, early, arrived=self.short_seconds * 20)

    async def test_who_asks_after_a_stop_takes_it_back(self, store: StreamStore) -> None:
        key = fresh_key()
        await stop(store, key)
        assert not await is_stopped(store, key, arrived=0.0)
        assert not await is_stopped(store, key)

    async def test_a_stop_means_every_request_that_arrived_before_it(self, store: StreamStore) -> None:
        key = fresh_key()
        await stop(store, key)
        assert [await is_stopped(store, key) for _ in range(2)] == [True, True]

    async def test_a_stop_may_be_repeated(self, store: StreamStore) -> None:
        key = fresh_key()
        for _ in range(3):
            assert await stop(store, key)
        assert await is_stopped(store, key)
        assert not await is_stopped(store, key, arrived=0.0)
        assert not await is_stopped(store, key)

    async def test_while_a_stream_runs_no_other_is_stopped(self, store: StreamStore) -> None:
        ref = await begin(store)
        assert not await stop(store, ref.key)
        assert not (await meta(store, ref)).stop_requested
        await end(store, ref)
        assert not await is_stopped(store, ref.key)

    async def test_past_its_lease_a_stream_still_runs(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert not await stop(store, ref.key)

    async def test_a_sealed_stream_does_not_run(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, ref)
        assert await stop(store, ref.key)
        assert await is_stopped(store, ref.key)

    async def test_a_stop_means_one_session_of_one_owner(self, store: StreamStore) -> None:
        key = fresh_key()
        await stop(store, key)
        assert not await is_stopped(store, sibling(key))
        assert not await is_stopped(store, SessionKey(f"{key.owner}x", key.session_id))
        assert await is_stopped(store, key)

    async def test_a_refused_registration_leaves_a_stop_as_it_is(self, store: StreamStore) -> None:
        key = fresh_key()
        await begin(store, sibling(key))
        await stop(store, key)
        full(await try_register(store, new_stream(key), limit=1))
        assert await is_stopped(store, key)

    async def test_an_erasure_takes_a_stop_with_it(self, store: StreamStore) -> None:
        key = fresh_key()
        other = sibling(key)
        await stop(store, other, limit=2)
        await stop(store, key, limit=2)
        await store.erase(key, mark_seconds=LONG_SECONDS)
        assert not await is_stopped(store, key)
        await stop(store, sibling(key), limit=2)
        assert await is_stopped(store, other), "nor does it count any longer"

    async def test_a_stop_lasts_as_long_as_it_says(self, store: StreamStore) -> None:
        short, long = fresh_key(), fresh_key()
        await stop(store, short, seconds=self.short_seconds)
        await stop(store, long, seconds=LONG_SECONDS)
        await self.advance(self.short_seconds * 1.5)
        assert not await is_stopped(store, short)
        assert await is_stopped(store, long)

    async def test_of_an_owners_sessions_so_many_are_stopped_at_once(self, store: StreamStore) -> None:
        """The latest: a stop that was just asked for is what somebody waits for."""
        key = fresh_key()
        keys = [sibling(key) for _ in range(4)]
        foreign = fresh_key()
        await stop(store, foreign, limit=2)
        for one in keys:
            await stop(store, one, limit=2)
        assert [await is_stopped(store, one) for one in keys] == [False, False, True, True]
        assert await is_stopped(store, foreign)

    async def test_a_stop_that_was_taken_back_counts_no_longer(self, store: StreamStore) -> None:
        key = fresh_key()
        first, second, third = sibling(key), sibling(key), sibling(key)
        await stop(store, first, limit=2)
        await stop(store, second, limit=2)
        await is_stopped(store, second, arrived=0.0)
        await stop(store, third, limit=2)
        assert [await is_stopped(store, one) for one in (first, second, third)] == [True, False, True]
