"""Clauses of the store contract about viewers."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from dataclasses import replace

from ...stores.store import StreamStore
from ...values import new_message_id, new_stream_id
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    begin,
    end,
    meta,
    new_stream,
    registered,
    seal,
    try_register,
    unknown_ref,
)

PLENTY = 100_000


class ViewerReportClauses(Clauses):
    """What workers tell each other of viewers."""

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
