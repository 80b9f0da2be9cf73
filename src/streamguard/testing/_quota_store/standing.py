"""Clauses of the quota store contract about owners, their windows and how they stand."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

from ...quota.records import ReservationState
from ...quota.store import QuotaStore
from ...values import SessionKey, StreamRef
from .clauses import Clauses
from .steps import LONG, ROUNDING_SECONDS, asked, counters, fresh_owner, fresh_ref, refs, requests, reserved, tokens

ALIKE = ("id", "ID", "id ", "íd", "i\u0301d", "id\n", "id:", "{id}", "a\0b", "a", '"', "[1]")
"""Ids that an encoding may take for one another."""


class StandingClauses(Clauses):
    async def test_owners_are_counted_apart(self, store: QuotaStore) -> None:
        unique = fresh_owner()
        for owner in (f"{one}{unique}{one}" for one in ALIKE):
            assert await counters(store, owner, tokens(100)) == [(0, 0)]
            await reserved(store, tokens(100), 90, owner=owner)

    async def test_streams_are_told_apart_by_session_too(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        pairs = [(one, "stream") for one in ALIKE] + [("ab", "c"), ("a", "bc"), ("session", "ID"), ("session", "id")]
        streams = [StreamRef(SessionKey(owner, session_id), stream_id) for session_id, stream_id in pairs]
        for ref in streams:
            await reserved(store, tokens(100), 1, ref=ref)
        assert await counters(store, owner, tokens(100)) == [(0, len(streams))]
        assert {held.ref for held in await store.held(owner)} == set(streams)
        await store.release(streams[0])
        assert await store.renew(streams[1:]) == [ReservationState.RESERVED] * (len(streams) - 1)

    async def test_an_unknown_owner_has_used_nothing(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        status = await store.status(owner, [tokens(100), requests(5)])
        assert [(one.used, one.reserved, one.remaining) for one in status.standings] == [(0, 0, 100), (0, 0, 5)]
        assert (status.pending_release, await store.held(owner)) == (0, [])

    async def test_units_are_counted_apart(self, store: QuotaStore) -> None:
        ref = fresh_ref()
        await asked(store, ref, {"tokens": 30, "requests": 1}, tokens(100), requests(5))
        await store.commit(ref, {"tokens": 12})
        assert await counters(store, ref.key.owner, requests(5), tokens(100)) == [(1, 0), (12, 0)]

    async def test_windows_of_one_unit_are_counted_apart(self, store: QuotaStore) -> None:
        owner, short, long = fresh_owner(), self.short(1_000), tokens(1_000)
        await self.next_window(store, owner, short)
        first = fresh_ref(owner)
        await asked(store, first, 30, short, long)
        await store.commit(first, {"tokens": 12})
        await reserved(store, short, 5, owner=owner)
        assert await counters(store, owner, short, long) == [(12, 5), (12, 0)]

    async def test_a_window_ends_within_its_period(self, store: QuotaStore) -> None:
        owner, short = fresh_owner(), self.short(100)
        first, second = (await store.status(owner, [short, tokens(100)])).standings
        assert 0 < first.resets_in_seconds <= self.window_seconds + ROUNDING_SECONDS
        assert 0 < second.resets_in_seconds <= LONG.total_seconds() + ROUNDING_SECONDS
        await self.advance(1)
        (later,) = (await store.status(owner, [short])).standings
        assert (first.resets_in_seconds - later.resets_in_seconds) % self.window_seconds >= 0.9

    async def test_a_new_window_begins_with_nothing_used(self, store: QuotaStore) -> None:
        owner, short, long = fresh_owner(), self.short(100), tokens(100)
        ref = fresh_ref(owner)
        await asked(store, ref, 90, short, long)
        await store.commit(ref)
        await self.next_window(store, owner, short)
        assert await counters(store, owner, short, long) == [(0, 0), (90, 0)]
        await reserved(store, short, 100, owner=owner)

    async def test_a_new_window_begins_with_nothing_reserved(self, store: QuotaStore) -> None:
        owner, short = fresh_owner(), self.short(100)
        ref = await reserved(store, short, 90, owner=owner)
        await self.next_window(store, owner, short)
        await store.renew([ref])
        assert await counters(store, owner, short) == [(0, 0)]
        await reserved(store, short, 100, owner=owner)

    async def test_a_reply_counts_in_the_window_it_began_in(self, store: QuotaStore) -> None:
        owner, short = fresh_owner(), self.short(100)
        committed, released = [await reserved(store, short, 30, owner=owner) for _ in range(2)]
        await self.next_window(store, owner, short)
        await reserved(store, short, 5, owner=owner)
        assert (await store.commit(committed, {"tokens": 12})).charged == {"tokens": 12}
        await store.release(released)
        assert await counters(store, owner, short) == [(0, 5)]

    async def test_what_is_held_is_listed_soonest_to_expire_first(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        made = []
        for _ in range(4):
            made.append(await reserved(store, tokens(100), 9, owner=owner))
            await self.advance(store.hold_seconds * 0.05)
        await store.renew(made[:1])
        await store.commit(made[2])
        held = await store.held(owner)
        assert refs(held) == [made[1], made[3], made[0]]
        assert {(one.state, one.amounts["tokens"]) for one in held} == {(ReservationState.RESERVED, 9)}
        assert refs(await store.held(owner, limit=2)) == [made[1], made[3]]

    async def test_what_has_expired_is_not_held(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 9)
        await self.expiry(store)
        assert await store.held(ref.key.owner) == []

    async def test_what_nobody_renews_is_pending_release(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        left, kept, settled = [await reserved(store, tokens(100), 9, owner=owner) for _ in range(3)]
        assert (await store.status(owner, [tokens(100)])).pending_release == 0
        await self.advance(store.hold_seconds * 0.9)
        await store.renew([kept])
        await store.release(settled)
        assert (await store.status(owner, [tokens(100)])).pending_release == 1
        await store.release(left)
        assert (await store.status(owner, [tokens(100)])).pending_release == 0

    async def test_counters_agree_with_the_reservations(self, store: QuotaStore) -> None:
        owner, quotas = fresh_owner(), (tokens(1_000), self.short(1_000, "requests"))
        made = [fresh_ref(owner) for _ in range(6)]
        for ref in made:
            await asked(store, ref, {"tokens": 30, "requests": 1}, *quotas)
        await store.commit(made[0], {"tokens": 50})
        await store.release(made[1])
        await self.advance(store.hold_seconds * 0.6)
        await store.renew(made[2:4])
        await self.advance(store.hold_seconds * 0.6)
        await store.commit(made[4], {"tokens": 7})
        audit = await store.audit(owner, quotas)
        assert (audit.drift, audit.conflicts) == (0, 0)
        first, _ = audit.windows
        assert (first.quota, first.used, first.reserved) == (quotas[0], 57, 60)
