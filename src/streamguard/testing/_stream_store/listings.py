"""Clauses of the store contract about what operators are shown."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from dataclasses import replace

from ...stores.store import StreamStore
from ...values import SessionKey, StreamRef, StreamState, new_message_id, new_stream_id
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    ROUNDING_SECONDS,
    begin,
    end,
    fresh_key,
    losing,
    meta,
    new_stream,
    put,
    registered,
    seal,
    tombstone,
    try_register,
    unknown_ref,
)

PLENTY = 100_000
"""More than any store holds while the suite runs."""


async def active_of(store: StreamStore, *refs: StreamRef) -> list[StreamRef]:
    """Those of `refs` that are listed as active, in the order listed."""
    return [found.ref for found in await store.active_streams(limit=PLENTY) if found.ref in refs]


class ListingClauses(Clauses):
    # -- active streams ------------------------------------------------------------------------------------------------

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

    # -- viewers -------------------------------------------------------------------------------------------------------

    async def test_viewers_are_counted_over_all_workers_as_they_last_said(self, store: StreamStore) -> None:
        one, two = new_message_id(), new_message_id()
        first, second = new_stream_id(), new_stream_id()
        await store.report_viewers(one, {first: 2, second: 1}, seconds=LONG_SECONDS)
        await store.report_viewers(two, {first: 1}, seconds=LONG_SECONDS)
        found = await store.viewer_counts()
        assert (found[first], found[second]) == (3, 1)
        await store.report_viewers(one, {second: 5}, seconds=LONG_SECONDS)
        found = await store.viewer_counts()
        assert (found[first], found[second]) == (1, 5)
        await store.report_viewers(one, {}, seconds=LONG_SECONDS)
        await store.report_viewers(two, {}, seconds=LONG_SECONDS)
        assert not {first, second} & (await store.viewer_counts()).keys()

    async def test_viewers_of_a_worker_that_says_no_more_are_forgotten(self, store: StreamStore) -> None:
        silent, lively = new_message_id(), new_message_id()
        stream = new_stream_id()
        await store.report_viewers(silent, {stream: 2}, seconds=self.short_seconds)
        await store.report_viewers(lively, {stream: 1}, seconds=LONG_SECONDS)
        await self.advance(self.short_seconds * 1.5)
        assert (await store.viewer_counts())[stream] == 1
        await store.report_viewers(lively, {stream: 4}, seconds=LONG_SECONDS)
        assert (await store.viewer_counts())[stream] == 4
        await store.report_viewers(lively, {}, seconds=LONG_SECONDS)

    async def test_a_stream_tells_how_long_ago_it_was_viewed_elsewhere(self, store: StreamStore) -> None:
        watched, other = [await begin(store) for _ in range(2)]
        assert (await meta(store, watched)).viewed_seconds is None
        await store.note_viewed([watched])
        await self.advance(self.short_seconds)
        seen = (await meta(store, watched)).viewed_seconds
        assert seen is not None
        assert self.short_seconds / 2 <= seen < LONG_SECONDS
        await store.note_viewed([watched, other])
        for ref in (watched, other):
            again = (await meta(store, ref)).viewed_seconds
            assert again is not None
            assert 0 <= again < seen

    async def test_what_is_not_open_is_viewed_without_a_trace(self, store: StreamStore) -> None:
        sealed, ended, unknown = await begin(store), await begin(store), unknown_ref()
        await seal(store, sealed)
        await end(store, ended)
        await store.note_viewed([sealed, unknown, ended])
        await store.note_viewed([])
        assert await store.meta(unknown) is None
        assert [(await meta(store, ref)).viewed_seconds for ref in (sealed, ended)] == [None, None]

    async def test_for_how_long_a_stream_may_go_unwatched_is_on_record(self, store: StreamStore) -> None:
        bounded = replace(new_stream(), abandon_after_seconds=2.5)
        assert registered(await try_register(store, bounded)).abandon_after_seconds == 2.5
        assert (await meta(store, bounded.ref)).abandon_after_seconds == 2.5
        assert (await meta(store, await begin(store))).abandon_after_seconds is None

    # -- a session's streams -------------------------------------------------------------------------------------------

    async def test_a_sessions_streams_are_listed_latest_first(self, store: StreamStore) -> None:
        key = fresh_key()
        refs = []
        for _ in range(3):
            refs.append(await begin(store, key))
            await end(store, refs[-1])
        refs.append(await begin(store, key))
        await begin(store)
        found = await store.session_streams(key, limit=PLENTY)
        assert [one.ref for one in found] == refs[::-1]
        assert [one.ordinal for one in found] == [4, 3, 2, 1]
        assert [one.ref for one in await store.session_streams(key, limit=2)] == refs[:1:-1]
        assert await store.session_streams(key, limit=0) == []

    async def test_streams_that_were_never_registered_come_last(self, store: StreamStore) -> None:
        key = fresh_key()
        registered = await begin(store, key)
        await end(store, registered)
        lost = new_stream(key)
        await store.declare_lost(losing(lost, terminal=tombstone()))
        assert [one.ref for one in await store.session_streams(key, limit=PLENTY)] == [registered, lost.ref]

    async def test_only_a_sessions_own_streams_are_listed_while_they_last(self, store: StreamStore) -> None:
        ref = await begin(store)
        await end(store, ref, retention=self.short_seconds)
        second = await begin(store, ref.key)
        assert await store.session_streams(unknown_ref().key, limit=PLENTY) == []
        assert await store.session_streams(SessionKey(ref.key.owner + "x", ref.key.session_id), limit=PLENTY) == []
        await self.advance(self.short_seconds * 1.5)
        assert [one.ref for one in await store.session_streams(ref.key, limit=1)] == [second]
        await store.erase(ref.key, mark_seconds=60)
        assert await store.session_streams(ref.key, limit=PLENTY) == []
