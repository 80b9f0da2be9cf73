"""Clauses of the quota store contract about reservations that nobody renews, and about finding them."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...quota.records import ReservationState, Settlement
from ...quota.store import QuotaStore
from .clauses import Clauses
from .steps import ROUNDING_SECONDS, all_due, conflicts, counters, fresh_owner, fresh_ref, refs, reserved, tokens

RESERVED, COMMITTED, EXPIRED = ReservationState.RESERVED, ReservationState.COMMITTED, ReservationState.EXPIRED


class ExpireClauses(Clauses):
    async def test_a_reservation_nobody_renews_holds_nothing_back(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        await reserved(store, tokens(100), 100, owner=ref.key.owner)
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 100)]

    async def test_a_reservation_nobody_renews_is_expired(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        found = await store.find(ref)
        assert found is not None
        assert (found.state, found.charged, found.expires_in_seconds) == (EXPIRED, {}, 0)

    async def test_a_renewed_reservation_is_kept(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        for _ in range(3):
            await self.advance(store.hold_seconds * 0.6)
            assert await store.renew([ref]) == [RESERVED]
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 90)]

    async def test_a_reservation_lasts_its_time_from_its_renewal(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.advance(store.hold_seconds * 0.5)
        await store.renew([ref])
        found = await store.find(ref)
        assert found is not None
        assert store.hold_seconds * 0.6 < found.expires_in_seconds <= store.hold_seconds + ROUNDING_SECONDS
        await self.expiry(store)
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 0)]

    async def test_a_repeated_reservation_renews_nothing(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.advance(store.hold_seconds * 0.6)
        await reserved(store, tokens(100), 90, ref=ref)
        found = await store.find(ref)
        assert found is not None
        assert found.expires_in_seconds <= store.hold_seconds * 0.4

    async def test_renewing_many_answers_for_each(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        kept, other, committed, expired = [await reserved(store, tokens(100), 1, owner=owner) for _ in range(4)]
        elsewhere = await reserved(store, tokens(100), 1)
        await store.commit(committed)
        await self.advance(store.hold_seconds * 0.6)
        await store.renew([kept, elsewhere, other])
        await self.advance(store.hold_seconds * 0.6)
        asked = [committed, kept, elsewhere, expired, fresh_ref(owner), other, kept]
        unknown = ReservationState.UNKNOWN
        assert await store.renew(asked) == [COMMITTED, RESERVED, RESERVED, EXPIRED, unknown, RESERVED, RESERVED]
        assert await store.renew([]) == []

    async def test_an_expired_reservation_is_not_brought_back(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        assert await store.renew([ref]) == [EXPIRED]
        await reserved(store, tokens(100), 100, owner=ref.key.owner)

    async def test_a_late_commit_charges_once(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        charged = {"tokens": 12}
        assert await store.commit(ref, charged) == Settlement(COMMITTED, charged, changed=True, late=True)
        assert await store.commit(ref, charged) == Settlement(COMMITTED, charged, late=True)
        assert (await store.commit(ref, {"tokens": 13})).conflict
        assert await counters(store, ref.key.owner, tokens(100)) == [(12, 0)]

    async def test_a_release_after_expiry_changes_nothing(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        assert await store.release(ref) == Settlement(EXPIRED)
        assert await conflicts(store, ref.key.owner) == 0
        assert (await store.commit(ref, {"tokens": 12})).charged == {"tokens": 12}

    async def test_what_has_not_expired_is_left_as_it_is(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        assert await store.expire(ref) == Settlement(RESERVED)
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 90)]

    async def test_who_sees_an_expiry_first_is_told_so(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        assert await store.expire(ref) == Settlement(EXPIRED, changed=True)
        assert await store.expire(ref) == Settlement(EXPIRED)

    async def test_expiring_what_is_settled_changes_nothing(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await store.commit(ref, {"tokens": 12})
        await self.expiry(store)
        assert await store.expire(ref) == Settlement(COMMITTED, {"tokens": 12})


class DueClauses(Clauses):
    async def test_what_is_held_is_not_due(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        assert await all_due(store, ref.key.owner) == []

    async def test_what_is_renewed_is_not_due(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        for _ in range(2):
            await self.advance(store.hold_seconds * 0.6)
            await store.renew([ref])
        assert await all_due(store, ref.key.owner) == []
        await self.expiry(store)
        assert refs(await all_due(store, ref.key.owner)) == [ref]

    async def test_what_has_expired_is_due(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        (found,) = await all_due(store, ref.key.owner)
        assert (found.ref, found.state, found.amounts) == (ref, EXPIRED, {"tokens": 90})

    async def test_what_expired_under_anothers_eyes_is_due(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        await store.status(ref.key.owner, [tokens(100)])
        await store.renew([ref])
        await store.release(ref)
        assert refs(await all_due(store, ref.key.owner)) == [ref]

    async def test_what_is_claimed_is_not_listed_to_others(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        assert refs(await all_due(store, ref.key.owner)) == [ref]
        assert await all_due(store, ref.key.owner) == []

    async def test_a_claim_runs_out(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await self.expiry(store)
        claim = store.hold_seconds
        assert refs(await all_due(store, ref.key.owner, claim_seconds=claim)) == [ref]
        await self.expiry(store)
        assert refs(await all_due(store, ref.key.owner, claim_seconds=claim)) == [ref]

    async def test_what_is_only_looked_at_is_claimed_by_nobody(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        expired, renewed, settled = [await reserved(store, tokens(100), 9, owner=owner) for _ in range(3)]
        await self.advance(store.hold_seconds * 0.6)
        await store.renew([renewed])
        await store.release(settled)
        await self.advance(store.hold_seconds * 0.6)
        for _ in range(2):
            shown = refs(await store.due(limit=1_000, claim_seconds=0))
            assert [ref for ref in shown if ref.key.owner == owner] == [expired]
        assert expired in refs(await all_due(store, owner))
        assert expired not in refs(await store.due(limit=1_000, claim_seconds=0))

    async def test_what_was_attended_to_is_not_due(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        expired, charged = [await reserved(store, tokens(100), 9, owner=owner) for _ in range(2)]
        await self.expiry(store)
        await store.expire(expired)
        await store.commit(charged)
        assert await all_due(store, owner) == []

    async def test_what_was_settled_is_never_due(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        committed, released = [await reserved(store, tokens(100), 9, owner=owner) for _ in range(2)]
        await store.commit(committed)
        await store.release(released)
        await self.expiry(store)
        assert await all_due(store, owner) == []

    async def test_a_list_of_what_is_due_is_bounded(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        made = {await reserved(store, tokens(100), 9, owner=owner) for _ in range(5)}
        await self.expiry(store)
        assert len(await store.due(limit=3, claim_seconds=0.001)) <= 3
        await self.advance(1)
        assert set(refs(await all_due(store, owner))) == made
