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
    epoch_of,
    meta,
    seal,
    unknown_ref,
)

PLENTY = 100_000
"""More than any store holds while the suite runs."""

PAYLOAD = b'{"save":"\x00\xff"}'


async def enqueued(
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
        ref = await enqueued(store, due=self.short_seconds)
        assert await claimed(store, ref) == []
        await self.advance(self.short_seconds * 1.5)
        (owed,) = await claimed(store, ref)
        assert (owed.ref, owed.payload, owed.attempts, owed.reason, owed.dead) == (ref, PAYLOAD, 0, None, False)
        assert LONG_SECONDS / 2 < owed.due_seconds <= LONG_SECONDS + ROUNDING_SECONDS

    async def test_a_claimed_entry_is_given_to_nobody_else_until_the_claim_ends(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        assert len(await claimed(store, ref, seconds=self.short_seconds)) == 1
        assert await claimed(store, ref) == []
        await self.advance(self.short_seconds * 1.5)
        assert len(await claimed(store, ref)) == 1
        assert await claimed(store, ref) == []

    async def test_of_many_that_claim_at_once_each_entry_goes_to_one(self, store: StreamStore) -> None:
        refs = [await enqueued(store) for _ in range(12)]
        await self.advance(self.short_seconds / 4)
        batches = await asyncio.gather(*(claimed(store, *refs) for _ in range(4)))
        given = [owed.ref for batch in batches for owed in batch]
        assert len(given) == len(set(given))
        # Who lost every race may have come too early for what nobody took.
        given += [owed.ref for owed in await claimed(store, *refs)]
        assert sorted(ref.stream_id for ref in given) == sorted(ref.stream_id for ref in refs)

    async def test_the_oldest_are_claimed_first(self, store: StreamStore) -> None:
        third = await enqueued(store, due=self.short_seconds * 5)  # a slow store's steps bring it nearer to the others
        first = await enqueued(store, due=self.short_seconds / 4)
        second = await enqueued(store, due=self.short_seconds / 2)
        await self.advance(self.short_seconds * 5.5)
        assert [owed.ref for owed in await claimed(store, first, second, third)] == [first, second, third]

    async def test_no_more_are_claimed_than_asked_and_the_others_stay_due(self, store: StreamStore) -> None:
        refs = {await enqueued(store) for _ in range(5)}
        await self.advance(self.short_seconds / 4)
        assert await store.claim_due(limit=0, claim_seconds=60) == []
        batch = await store.claim_due(limit=2, claim_seconds=LONG_SECONDS)
        assert len(batch) == 2
        found = {owed.ref for owed in batch}
        assert refs <= found | {owed.ref for owed in await claimed(store, *refs - found)}

    async def test_many_that_are_not_ready_do_not_hide_one_that_is(self, store: StreamStore) -> None:
        for _ in range(10):
            await store.enqueue(await begin(store), due_seconds=0)
            await store.enqueue(unknown_ref(), due_seconds=0)
        await self.advance(self.short_seconds / 4)
        ref = await enqueued(store)
        await self.advance(self.short_seconds / 4)
        found: list[StreamRef] = []
        while batch := await store.claim_due(limit=1, claim_seconds=LONG_SECONDS):
            found += [owed.ref for owed in batch]
        assert ref in found

    async def test_enqueueing_again_ends_no_claim(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        assert len(await claimed(store, ref)) == 1
        await store.enqueue(ref, due_seconds=0)
        await self.advance(self.short_seconds / 4)
        assert await claimed(store, ref) == []

    # -- trying again ------------------------------------------------------------------------------------------------

    async def test_a_retried_entry_comes_back_with_its_failures(self, store: StreamStore) -> None:
        ref = await enqueued(store)
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

    async def test_a_retry_renews_the_life_of_its_stream(self, store: StreamStore) -> None:
        ref = await enqueued(store, retention=self.short_seconds)
        assert await store.retry_later(ref, due_seconds=0, reason="r", ttl_seconds=LONG_SECONDS) is Status.OK
        await self.advance(self.short_seconds * 1.5)
        assert len(await claimed(store, ref)) == 1
        assert (await store.session(ref.key)).last_id == ref.stream_id
        assert [event.seq for event in await store.read(ref, START, max_bytes=1 << 20)] == [1]

    async def test_a_released_claim_is_no_attempt(self, store: StreamStore) -> None:
        """And says for how long everybody has left it, until somebody tries it."""
        ref = await enqueued(store)
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

    async def test_a_released_claim_does_not_keep_its_stream(self, store: StreamStore) -> None:
        ref = await enqueued(store, retention=self.short_seconds)
        assert await store.release_claim(ref, due_seconds=0, reason="unknown") == 0
        await self.advance(self.short_seconds * 1.5)
        assert await store.release_claim(ref, due_seconds=0, reason="unknown") is None
        assert await claimed(store, ref) == []

    async def test_no_claim_is_released_where_nothing_is_owed(self, store: StreamStore) -> None:
        running, dead = await begin(store), await enqueued(store)
        await store.dead_letter(dead, reason="r", ttl_seconds=60)
        for ref in (running, dead, unknown_ref()):
            assert await store.release_claim(ref, due_seconds=0, reason="unknown") is None
        await store.requeue(dead)
        assert await store.release_claim(dead, due_seconds=60, reason="unknown") == 0

    # -- giving up ---------------------------------------------------------------------------------------------------

    async def test_what_is_given_up_is_not_saved_until_it_is_tried_again(self, store: StreamStore) -> None:
        ref = await enqueued(store)
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
            ref = await enqueued(store)
            await store.update_meta(ref, persisted=persisted)
            await store.dead_letter(ref, reason="r", ttl_seconds=60)
            assert (await meta(store, ref)).persisted is persisted
            assert await store.requeue(ref, saves=False) is Status.OK
            assert (await meta(store, ref)).persisted is persisted

    # -- the end of it -----------------------------------------------------------------------------------------------

    async def test_a_completed_stream_is_kept_for_its_retention(self, store: StreamStore) -> None:
        ref = await enqueued(store)
        assert await store.complete(ref, retention_seconds=self.short_seconds) is Status.OK
        record = await meta(store, ref)
        assert (record.persisted, record.quota) == (Persisted.PENDING, QuotaState.SETTLED)
        await self.advance(self.short_seconds * 1.5)
        assert await store.meta(ref) is None

    async def test_completing_before_the_close_leaves_to_it_what_is_owed(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, ref)
        await store.enqueue(ref, due_seconds=0)
        short = self.short_seconds
        assert await store.complete(ref, persisted=Persisted.YES, retention_seconds=short) is Status.OK
        assert (await meta(store, ref)).persisted is Persisted.YES
        await self.advance(self.short_seconds * 1.5)
        assert (await store.close(closing(ref, owed=PAYLOAD))).status is Status.OK
        assert len(await claimed(store, ref)) == 1

    # -- for operators -----------------------------------------------------------------------------------------------

    async def test_an_empty_payload_is_one(self, store: StreamStore) -> None:
        ref = await begin(store)
        await seal(store, ref)
        await store.enqueue(ref, due_seconds=0)
        await store.close(Close(ref, epoch_of(ref), (), a_terminal(), LONG_SECONDS, b""))
        await self.advance(self.short_seconds / 4)
        assert [owed.payload for owed in await claimed(store, ref)] == [b""]
