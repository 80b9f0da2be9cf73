"""Clauses of the store contract about the outbox, as its listings show it."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...stores.records import OutboxEntry, Status
from ...stores.store import StreamStore
from ...values import Persisted, QuotaState, StreamRef
from .clauses import Clauses
from .outbox import PAYLOAD, PLENTY, claimed, enqueued, listed
from .steps import (
    LONG_SECONDS,
    ROUNDING_SECONDS,
    begin,
    closing,
    end,
    losing,
    meta,
    new_stream,
    seal,
    tombstone,
    unknown_ref,
)


class OutboxListingClauses(Clauses):
    """What operators see of the outbox, whatever workers do."""

    async def test_streams_that_are_not_closed_yet_are_nobodys_work(self, store: StreamStore) -> None:
        ref = await begin(store)
        await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref, seconds=self.short_seconds) == []
        assert await listed(store, ref) is None
        await seal(store, ref)
        await store.close(closing(ref, owed=PAYLOAD))
        assert await claimed(store, ref) == []  # moved ahead
        await self.advance(self.short_seconds * 1.5)
        assert len(await claimed(store, ref)) == 1

    async def test_entries_without_record_or_payload_are_removed(self, store: StreamStore) -> None:
        unknown, nothing_owed = unknown_ref(), await begin(store)
        await store.enqueue(unknown, due_seconds=0)
        await store.enqueue(nothing_owed, due_seconds=0)
        await end(store, nothing_owed)
        lost = new_stream()
        await store.enqueue(lost.ref, due_seconds=0)
        await store.declare_lost(losing(lost, terminal=tombstone()))
        await self.advance(self.short_seconds / 4)
        refs = (unknown, nothing_owed, lost.ref)
        assert await claimed(store, *refs, seconds=self.short_seconds / 4) == []
        await self.advance(self.short_seconds)
        assert await claimed(store, *refs) == []
        assert [await listed(store, ref) for ref in refs] == [None] * 3

    async def test_enqueueing_again_moves_the_due_time_only_later(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        await store.enqueue(ref, due_seconds=LONG_SECONDS)
        assert await claimed(store, ref) == []
        await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref) == []
        listing = await listed(store, ref)
        assert listing is not None
        assert LONG_SECONDS / 2 < listing.due_seconds <= LONG_SECONDS + ROUNDING_SECONDS

    async def test_what_is_owed_ends_with_its_stream(self, store: StreamStore) -> None:
        living = await enqueued(store, retention=self.short_seconds)
        dead = await enqueued(store, retention=LONG_SECONDS)
        assert await store.dead_letter(dead, reason="r", ttl_seconds=self.short_seconds) is Status.OK
        await self.advance(self.short_seconds * 1.5)
        assert await listed(store, living) is None
        assert await listed(store, dead, dead=True) is None
        assert await claimed(store, living, dead) == []
        for ref in (living, dead):
            assert await store.meta(ref) is None
            assert await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=60) is Status.GONE
            assert await store.dead_letter(ref, reason="r", ttl_seconds=60) is Status.GONE
            assert await store.requeue(ref) is Status.GONE
            assert await store.complete(ref, retention_seconds=60) is Status.GONE
            assert await store.meta(ref) is None
        assert await claimed(store, living, dead) == []

    async def test_nothing_is_retried_where_nothing_is_owed(self, store: StreamStore) -> None:
        running, closed = await begin(store), await begin(store)
        await end(store, closed)
        for ref in (running, closed, unknown_ref()):
            assert await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=60) is Status.GONE
            assert await store.dead_letter(ref, reason="r", ttl_seconds=60) is Status.GONE
            assert await store.requeue(ref) is Status.GONE
            assert await listed(store, ref) is None
            assert await listed(store, ref, dead=True) is None
            assert await claimed(store, ref) == []

    async def test_a_dead_letter_is_kept_and_not_tried_again(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=60)
        assert await store.dead_letter(ref, reason="too_often", ttl_seconds=60) is Status.OK
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref) == []
        assert await listed(store, ref) is None
        assert await listed(store, ref, dead=True) == OutboxEntry(ref, PAYLOAD, 2, 0.0, "too_often", True)
        assert await store.dead_letter(ref, reason="too_often", ttl_seconds=60) is Status.OK
        assert await store.retry_later(ref, due_seconds=0, reason="late", ttl_seconds=60) is Status.GONE
        await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref) == []
        assert await listed(store, ref, dead=True) == OutboxEntry(ref, PAYLOAD, 2, 0.0, "too_often", True)

    async def test_a_requeued_dead_letter_is_due_at_once(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        await store.dead_letter(ref, reason="too_often", ttl_seconds=60)
        assert await store.requeue(ref) is Status.OK
        assert await listed(store, ref, dead=True) is None
        (owed,) = await claimed(store, ref)
        assert (owed.payload, owed.attempts, owed.reason, owed.dead) == (PAYLOAD, 0, "too_often", False)

    async def test_requeueing_what_is_no_dead_letter_ends_no_claim(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=60)
        await self.advance(self.short_seconds / 4)
        assert len(await claimed(store, ref)) == 1
        assert await store.requeue(ref) is Status.OK
        assert await claimed(store, ref) == []
        listing = await listed(store, ref)
        assert listing is not None
        assert (listing.attempts, listing.reason) == (1, "timeout")

    async def test_a_completed_entry_is_gone_and_its_stream_says_why(self, store: StreamStore) -> None:
        living, dead = await enqueued(store), await enqueued(store)
        await store.dead_letter(dead, reason="r", ttl_seconds=60)
        for ref in (living, dead):
            for _ in range(2):
                status = await store.complete(ref, persisted=Persisted.YES, quota=QuotaState.NONE, retention_seconds=60)
                assert status is Status.OK
            record = await meta(store, ref)
            assert (record.persisted, record.quota) == (Persisted.YES, QuotaState.NONE)
            assert await store.retry_later(ref, due_seconds=0, reason="late", ttl_seconds=60) is Status.GONE
            assert await store.dead_letter(ref, reason="late", ttl_seconds=60) is Status.GONE
            assert await store.requeue(ref) is Status.GONE
            await store.enqueue(ref, due_seconds=0)
            await self.advance(self.short_seconds / 4)
            assert await listed(store, ref) is None
            assert await listed(store, ref, dead=True) is None
            assert await claimed(store, ref) == []

    async def test_erasing_a_session_erases_what_it_owes(self, store: StreamStore) -> None:
        living, dead = await enqueued(store), await enqueued(store)
        await store.dead_letter(dead, reason="r", ttl_seconds=60)
        for ref in (living, dead):
            await store.erase(ref.key, mark_seconds=60)
            await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        for ref in (living, dead):
            assert await listed(store, ref) is None
            assert await listed(store, ref, dead=True) is None
            assert await store.retry_later(ref, due_seconds=0, reason="late", ttl_seconds=60) is Status.GONE
            assert await store.requeue(ref) is Status.GONE
            assert await store.complete(ref, retention_seconds=60) is Status.GONE
        assert await claimed(store, living, dead) == []

    async def test_listings_are_in_order_and_in_pages(self, store: StreamStore) -> None:
        living = {await enqueued(store, due=LONG_SECONDS * (5 - number)) for number in range(5)}
        dead = {await enqueued(store) for _ in range(5)}
        for ref in dead:
            await store.dead_letter(ref, reason="r", ttl_seconds=60)
        for kind, wanted in ((False, living), (True, dead)):
            found: list[OutboxEntry] = []
            after: str | None = None
            while True:
                page = await store.outbox_page(dead=kind, limit=2, after=after)
                assert len(page.entries) <= 2
                assert (page.next is None) is (page.left == 0)
                found += page.entries
                after = page.next
                if after is None:
                    break
            refs = [owed.ref for owed in found]
            assert len(set(refs)) == len(refs)
            assert wanted <= set(refs)
            if not kind:
                at = {owed.ref: owed.due_seconds for owed in await store.outbox_entries(dead=False, limit=PLENTY)}
                times = [at[ref] for ref in refs]
                assert times == sorted(times)
            assert {owed.dead for owed in found} == {kind}
        assert not dead & {owed.ref for owed in await store.outbox_entries(dead=False, limit=PLENTY)}

    async def test_an_entry_that_goes_between_two_pages_hides_no_other(self, store: StreamStore) -> None:
        waiting = {await enqueued(store, due=LONG_SECONDS * (number + 1)) for number in range(5)}
        found: list[StreamRef] = []
        after: str | None = None
        while True:
            page = await store.outbox_page(dead=False, limit=2, after=after)
            found += [owed.ref for owed in page.entries]
            after = page.next
            if after is None:
                break
            if found[-1:] and found[-1] in waiting:  # where the next page begins
                assert await store.complete(found[-1], retention_seconds=60) is Status.OK
        assert waiting <= set(found)

    async def test_an_entry_is_found_by_its_streams_id(self, store: StreamStore) -> None:
        living, dead, closed = await enqueued(store), await enqueued(store), await begin(store)
        await store.dead_letter(dead, reason="too_often", ttl_seconds=60)
        await end(store, closed)
        for ref, kind in ((living, False), (dead, True)):
            for key in (None, ref.key):
                found = await store.outbox_entry(ref.stream_id, key=key)
                assert found is not None
                assert (found.ref, found.dead, found.payload) == (ref, kind, PAYLOAD)
            assert await store.outbox_entry(ref.stream_id, key=unknown_ref().key) is None
        for ref in (closed, unknown_ref()):
            for key in (None, ref.key):
                assert await store.outbox_entry(ref.stream_id, key=key) is None

    async def test_no_page_begins_where_none_ended(self, store: StreamStore) -> None:
        try:
            await store.outbox_page(dead=False, limit=1, after="nowhere")
        except ValueError:
            return
        raise AssertionError("a page began nowhere")

    async def test_a_listing_says_when_and_changes_nothing(self, store: StreamStore) -> None:
        ref = await enqueued(store, due=LONG_SECONDS)
        for _ in range(2):
            listing = await listed(store, ref)
            assert listing is not None
            assert listing.payload == PAYLOAD
            assert LONG_SECONDS / 2 < listing.due_seconds <= LONG_SECONDS + ROUNDING_SECONDS
        overdue = await enqueued(store)
        await self.advance(self.short_seconds)
        listing = await listed(store, overdue)
        assert listing is not None
        assert listing.due_seconds < 0
        assert len(await claimed(store, overdue)) == 1
