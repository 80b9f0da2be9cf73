"""Clauses of the store contract about work owed for closed streams."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

from ...stores.records import Close, OutboxEntry, Status
from ...stores.store import StreamStore
from ...values import START, Persisted, QuotaState, StreamRef
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    ROUNDING_SECONDS,
    a_terminal,
    begin,
    closing,
    end,
    epoch_of,
    losing,
    meta,
    new_stream,
    seal,
    tombstone,
    unknown_ref,
)

PLENTY = 100_000
"""More than any store holds while the suite runs."""

PAYLOAD = b'{"save":"\x00\xff"}'


async def owing(
    store: StreamStore, *, due: float = 0.0, payload: bytes = PAYLOAD, retention: float = LONG_SECONDS
) -> StreamRef:
    """A closed stream with work owed, due in `due` seconds."""
    ref = await begin(store)
    await seal(store, ref)
    await store.enqueue(ref, due_seconds=due)
    assert (await store.close(closing(ref, owed=payload, retention=retention))).status is Status.OK
    return ref


async def claimed(store: StreamStore, *refs: StreamRef, seconds: float = LONG_SECONDS) -> list[OutboxEntry]:
    """Claim whatever is due; those of it that are of `refs`, in the order given."""
    return [owed for owed in await store.claim_due(limit=PLENTY, claim_seconds=seconds) if owed.ref in refs]


async def listed(store: StreamStore, ref: StreamRef, *, dead: bool = False) -> OutboxEntry | None:
    return next((owed for owed in await store.outbox_entries(dead=dead, limit=PLENTY) if owed.ref == ref), None)


class OutboxClauses(Clauses):
    # -- claiming ------------------------------------------------------------------------------------------------------

    async def test_what_is_owed_is_claimed_when_due_with_its_payload(self, store: StreamStore) -> None:
        ref = await owing(store, due=self.short_seconds)
        assert await claimed(store, ref) == []
        await self.advance(self.short_seconds * 1.5)
        (owed,) = await claimed(store, ref)
        assert (owed.ref, owed.payload, owed.attempts, owed.reason, owed.dead) == (ref, PAYLOAD, 0, None, False)
        assert LONG_SECONDS / 2 < owed.due_seconds <= LONG_SECONDS + ROUNDING_SECONDS

    async def test_a_claimed_entry_is_given_to_nobody_else_until_the_claim_ends(self, store: StreamStore) -> None:
        ref = await owing(store)
        assert len(await claimed(store, ref, seconds=self.short_seconds)) == 1
        assert await claimed(store, ref) == []
        await self.advance(self.short_seconds * 1.5)
        assert len(await claimed(store, ref)) == 1
        assert await claimed(store, ref) == []

    async def test_of_many_that_claim_at_once_each_entry_goes_to_one(self, store: StreamStore) -> None:
        refs = [await owing(store) for _ in range(12)]
        await self.advance(self.short_seconds / 4)
        batches = await asyncio.gather(*(claimed(store, *refs) for _ in range(4)))
        given = [owed.ref for batch in batches for owed in batch]
        assert len(given) == len(set(given))
        # Who lost every race may have come too early for what nobody took.
        given += [owed.ref for owed in await claimed(store, *refs)]
        assert sorted(ref.stream_id for ref in given) == sorted(ref.stream_id for ref in refs)

    async def test_the_oldest_are_claimed_first(self, store: StreamStore) -> None:
        third = await owing(store, due=self.short_seconds)
        first = await owing(store, due=self.short_seconds / 4)
        second = await owing(store, due=self.short_seconds / 2)
        await self.advance(self.short_seconds * 1.5)
        assert [owed.ref for owed in await claimed(store, first, second, third)] == [first, second, third]

    async def test_no_more_are_claimed_than_asked_and_the_others_stay_due(self, store: StreamStore) -> None:
        refs = {await owing(store) for _ in range(5)}
        await self.advance(self.short_seconds / 4)
        assert await store.claim_due(limit=0, claim_seconds=60) == []
        batch = await store.claim_due(limit=2, claim_seconds=LONG_SECONDS)
        assert len(batch) == 2
        found = {owed.ref for owed in batch}
        assert refs <= found | {owed.ref for owed in await claimed(store, *refs - found)}

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

    async def test_many_that_are_not_ready_do_not_hide_one_that_is(self, store: StreamStore) -> None:
        for _ in range(10):
            await store.enqueue(await begin(store), due_seconds=0)
            await store.enqueue(unknown_ref(), due_seconds=0)
        await self.advance(self.short_seconds / 4)
        ref = await owing(store)
        await self.advance(self.short_seconds / 4)
        found: list[StreamRef] = []
        while batch := await store.claim_due(limit=1, claim_seconds=LONG_SECONDS):
            found += [owed.ref for owed in batch]
        assert ref in found

    async def test_owing_again_moves_the_due_time_only_later(self, store: StreamStore) -> None:
        ref = await owing(store)
        await store.enqueue(ref, due_seconds=LONG_SECONDS)
        assert await claimed(store, ref) == []
        await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref) == []
        listing = await listed(store, ref)
        assert listing is not None
        assert LONG_SECONDS / 2 < listing.due_seconds <= LONG_SECONDS + ROUNDING_SECONDS

    async def test_owing_again_ends_no_claim(self, store: StreamStore) -> None:
        ref = await owing(store)
        assert len(await claimed(store, ref)) == 1
        await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref) == []

    # -- trying again ------------------------------------------------------------------------------------------------

    async def test_a_postponed_entry_comes_back_with_its_failures(self, store: StreamStore) -> None:
        ref = await owing(store)
        assert len(await claimed(store, ref)) == 1
        wait = self.short_seconds
        assert await store.retry_later(ref, due_seconds=wait, reason="timeout é", ttl_seconds=60) is Status.OK
        assert await claimed(store, ref) == []
        await self.advance(self.short_seconds * 1.5)
        (owed,) = await claimed(store, ref)
        assert (owed.payload, owed.attempts, owed.reason) == (PAYLOAD, 1, "timeout é")
        assert (
            await store.retry_later(ref, due_seconds=0, reason="no_binding", ttl_seconds=60, count=False) is Status.OK
        )
        await self.advance(self.short_seconds / 4)
        (owed,) = await claimed(store, ref)
        assert (owed.attempts, owed.reason) == (1, "no_binding")

    async def test_postponing_renews_the_life_of_its_stream(self, store: StreamStore) -> None:
        ref = await owing(store, retention=self.short_seconds)
        assert await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=LONG_SECONDS) is Status.OK
        await self.advance(self.short_seconds * 1.5)
        assert len(await claimed(store, ref)) == 1
        assert (await store.session(ref.key)).last_id == ref.stream_id
        assert [event.seq for event in await store.read(ref, START, max_bytes=1 << 20)] == [1]

    async def test_what_is_owed_ends_with_its_stream(self, store: StreamStore) -> None:
        living = await owing(store, retention=self.short_seconds)
        dead = await owing(store, retention=LONG_SECONDS)
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

    async def test_nothing_is_postponed_where_nothing_is_owed(self, store: StreamStore) -> None:
        running, closed = await begin(store), await begin(store)
        await end(store, closed)
        for ref in (running, closed, unknown_ref()):
            assert await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=60) is Status.GONE
            assert await store.dead_letter(ref, reason="r", ttl_seconds=60) is Status.GONE
            assert await store.requeue(ref) is Status.GONE
            assert await listed(store, ref) is None
            assert await listed(store, ref, dead=True) is None
            assert await claimed(store, ref) == []

    async def test_what_is_left_to_others_is_no_attempt(self, store: StreamStore) -> None:
        """And says for how long everybody has left it, until somebody tries it."""
        ref = await owing(store)
        wait = self.short_seconds
        assert await store.release_claim(ref, due_seconds=wait, reason="unknown") == 0
        assert await claimed(store, ref) == []
        await self.advance(wait * 1.5)
        (owed,) = await claimed(store, ref)
        assert (owed.attempts, owed.reason) == (0, "unknown")
        left = await store.release_claim(ref, due_seconds=0, reason="unknown")
        assert left is not None
        assert left >= wait
        await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=60)
        assert await store.release_claim(ref, due_seconds=0, reason="unknown") == 0

    async def test_leaving_work_to_others_does_not_keep_its_stream(self, store: StreamStore) -> None:
        ref = await owing(store, retention=self.short_seconds)
        assert await store.release_claim(ref, due_seconds=0, reason="unknown") == 0
        await self.advance(self.short_seconds * 1.5)
        assert await store.release_claim(ref, due_seconds=0, reason="unknown") is None
        assert await claimed(store, ref) == []

    async def test_nothing_is_left_to_others_where_nothing_is_owed(self, store: StreamStore) -> None:
        running, dead = await begin(store), await owing(store)
        await store.dead_letter(dead, reason="r", ttl_seconds=60)
        for ref in (running, dead, unknown_ref()):
            assert await store.release_claim(ref, due_seconds=0, reason="unknown") is None
        await store.requeue(dead)
        assert await store.release_claim(dead, due_seconds=60, reason="unknown") == 0

    # -- giving up ---------------------------------------------------------------------------------------------------

    async def test_a_dead_letter_is_kept_and_not_tried_again(self, store: StreamStore) -> None:
        ref = await owing(store)
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

    async def test_a_revived_dead_letter_is_due_at_once(self, store: StreamStore) -> None:
        ref = await owing(store)
        await store.dead_letter(ref, reason="too_often", ttl_seconds=60)
        assert await store.requeue(ref) is Status.OK
        assert await listed(store, ref, dead=True) is None
        (owed,) = await claimed(store, ref)
        assert (owed.payload, owed.attempts, owed.reason, owed.dead) == (PAYLOAD, 0, "too_often", False)

    async def test_what_is_given_up_is_not_saved_until_it_is_tried_again(self, store: StreamStore) -> None:
        ref = await owing(store)
        assert (await meta(store, ref)).persisted is Persisted.PENDING
        for _ in range(2):
            await store.dead_letter(ref, reason="r", ttl_seconds=60)
            assert (await meta(store, ref)).persisted is Persisted.NO
        for _ in range(2):
            assert await store.requeue(ref) is Status.OK
            assert (await meta(store, ref)).persisted is Persisted.PENDING
        await store.update_meta(ref, persisted=Persisted.NO)
        assert await store.requeue(ref) is Status.OK
        assert (await meta(store, ref)).persisted is Persisted.NO

    async def test_a_dead_letter_of_something_else_says_nothing_of_a_save(self, store: StreamStore) -> None:
        for persisted in (Persisted.YES, Persisted.NO, Persisted.NOT_ASKED):
            ref = await owing(store)
            await store.update_meta(ref, persisted=persisted)
            await store.dead_letter(ref, reason="r", ttl_seconds=60)
            assert (await meta(store, ref)).persisted is persisted
            assert await store.requeue(ref, saves=False) is Status.OK
            assert (await meta(store, ref)).persisted is persisted

    async def test_reviving_what_is_no_dead_letter_ends_no_claim(self, store: StreamStore) -> None:
        ref = await owing(store)
        await store.retry_later(ref, due_seconds=0, reason="timeout", ttl_seconds=60)
        await self.advance(self.short_seconds / 4)
        assert len(await claimed(store, ref)) == 1
        assert await store.requeue(ref) is Status.OK
        assert await claimed(store, ref) == []
        listing = await listed(store, ref)
        assert listing is not None
        assert (listing.attempts, listing.reason) == (1, "timeout")

    # -- the end of it -----------------------------------------------------------------------------------------------

    async def test_a_discharged_entry_is_gone_and_its_stream_says_why(self, store: StreamStore) -> None:
        living, dead = await owing(store), await owing(store)
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

    async def test_a_discharged_stream_is_kept_for_its_retention(self, store: StreamStore) -> None:
        ref = await owing(store)
        assert await store.complete(ref, retention_seconds=self.short_seconds) is Status.OK
        record = await meta(store, ref)
        assert (record.persisted, record.quota) == (Persisted.PENDING, QuotaState.SETTLED)
        await self.advance(self.short_seconds * 1.5)
        assert await store.meta(ref) is None

    async def test_a_discharge_before_the_close_leaves_to_it_what_is_owed(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, ref)
        await store.enqueue(ref, due_seconds=0)
        short = self.short_seconds
        assert await store.complete(ref, persisted=Persisted.YES, retention_seconds=short) is Status.OK
        assert (await meta(store, ref)).persisted is Persisted.YES
        await self.advance(self.short_seconds * 1.5)
        assert (await store.close(closing(ref, owed=PAYLOAD))).status is Status.OK
        assert len(await claimed(store, ref)) == 1

    async def test_erasing_a_session_erases_what_it_owes(self, store: StreamStore) -> None:
        living, dead = await owing(store), await owing(store)
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

    # -- for operators -----------------------------------------------------------------------------------------------

    async def test_listings_are_in_order_and_in_pages(self, store: StreamStore) -> None:
        living = {await owing(store, due=LONG_SECONDS) for _ in range(5)}
        dead = {await owing(store) for _ in range(5)}
        for ref in dead:
            await store.dead_letter(ref, reason="r", ttl_seconds=60)
        for kind, wanted in ((False, living), (True, dead)):
            found: list[OutboxEntry] = []
            after: StreamRef | None = None
            while page := await store.outbox_entries(dead=kind, limit=2, after=after):
                assert len(page) <= 2
                found += page
                after = page[-1].ref
            ids = [owed.ref.stream_id for owed in found]
            assert ids == sorted(set(ids))
            assert wanted <= {owed.ref for owed in found}
            assert {owed.dead for owed in found} == {kind}
        assert not dead & {owed.ref for owed in await store.outbox_entries(dead=False, limit=PLENTY)}

    async def test_a_listing_says_when_and_changes_nothing(self, store: StreamStore) -> None:
        ref = await owing(store, due=LONG_SECONDS)
        for _ in range(2):
            listing = await listed(store, ref)
            assert listing is not None
            assert listing.payload == PAYLOAD
            assert LONG_SECONDS / 2 < listing.due_seconds <= LONG_SECONDS + ROUNDING_SECONDS
        overdue = await owing(store)
        await self.advance(self.short_seconds)
        listing = await listed(store, overdue)
        assert listing is not None
        assert listing.due_seconds < 0
        assert len(await claimed(store, overdue)) == 1

    async def test_an_empty_payload_is_one(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, ref)
        await store.enqueue(ref, due_seconds=0)
        await store.close(Close(ref, epoch_of(ref), (), a_terminal(), LONG_SECONDS, b""))
        await self.advance(self.short_seconds / 4)
        assert [owed.payload for owed in await claimed(store, ref)] == [b""]
