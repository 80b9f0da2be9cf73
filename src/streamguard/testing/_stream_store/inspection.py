"""Clauses of the store contract about the listing of active streams."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.store import StreamStore
from ...values import StreamRef, StreamState
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    ROUNDING_SECONDS,
    begin,
    end,
    losing,
    meta,
    new_stream,
    put,
    seal,
    tombstone,
)

PLENTY = 100_000
"""More than any store holds while the suite runs."""


async def active_of(store: StreamStore, *refs: StreamRef) -> list[StreamRef]:
    """Those of `refs` that are listed as active, in the order listed."""
    return [found.ref for found in await store.active_streams(limit=PLENTY) if found.ref in refs]


class ActiveStreamClauses(Clauses):
    """What the listing of active streams promises."""

    async def test_streams_are_active_until_they_are_closed(self, store: StreamStore) -> None:
        running, sealed, closed = [await begin(store) for _ in range(3)]
        await put(store, running, 1, b"a", b"b")
        await store.request_stop(running)
        await seal(store, sealed)
        await end(store, closed)
        found = {meta.ref: meta for meta in await store.active_streams(limit=PLENTY)}
        assert (running in found, sealed in found, closed in found) == (True, True, False)
        assert (found[running].state, found[sealed].state) == (StreamState.OPEN, StreamState.SEALED)
        assert (found[running].last_seq, found[running].stop_requested) == (2, True)
        assert LONG_SECONDS / 2 < found[running].lease_seconds <= LONG_SECONDS + ROUNDING_SECONDS

    async def test_a_lost_stream_is_active_until_its_tombstone(self, store: StreamStore) -> None:
        lost = new_stream()
        await store.declare_lost(losing(lost))
        assert await active_of(store, lost.ref) == [lost.ref]
        await store.declare_lost(losing(lost, terminal=tombstone()))
        assert await active_of(store, lost.ref) == []

    async def test_active_streams_whose_lease_ends_first_come_first(self, store: StreamStore) -> None:
        late = await begin(store, lease=LONG_SECONDS)
        expired = await begin(store, lease=self.short_seconds)
        soon = await begin(store, lease=LONG_SECONDS / 2)
        await self.advance(self.short_seconds * 1.5)
        assert await active_of(store, late, expired, soon) == [expired, soon, late]
        assert (await meta(store, expired)).lease_seconds < 0
        first = await store.active_streams(limit=1)
        assert len(first) == 1
        assert first[0].lease_seconds < 0
        assert await store.active_streams(limit=0) == []

    async def test_listing_active_streams_changes_nothing(self, store: StreamStore) -> None:
        ref = await begin(store, lease=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        before = await meta(store, ref)
        assert await active_of(store, ref) == await active_of(store, ref) == [ref]
        after = await meta(store, ref)
        assert (after.epoch, after.state) == (before.epoch, before.state)
        assert ref in await store.expired_leases(limit=PLENTY)

    async def test_streams_that_expired_are_not_active_and_hide_no_other(self, store: StreamStore) -> None:
        vanishing = [await begin(store, ttl=self.short_seconds, lease=self.short_seconds / 4) for _ in range(8)]
        ref = await begin(store)
        await self.advance(self.short_seconds * 1.5)
        assert await active_of(store, *vanishing, ref) == [ref]
