"""Clauses of the quota store contract about committing and releasing: each reservation ends once."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

from ...quota.records import ReservationState, Settlement
from ...quota.store import QuotaStore
from .clauses import Clauses
from .steps import RACERS, asked, conflicts, counters, fresh_ref, insistently, requests, reserved, tokens

COMMITTED, RELEASED, UNKNOWN = ReservationState.COMMITTED, ReservationState.RELEASED, ReservationState.UNKNOWN


class SettleClauses(Clauses):
    async def test_a_commit_charges_what_was_consumed(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        answer = await store.commit(ref, {"tokens": 12})
        assert answer == Settlement(COMMITTED, {"tokens": 12}, changed=True)
        ((used, _),) = await counters(store, ref.key.owner, tokens(100))
        assert used == 12

    async def test_a_commit_frees_the_rest(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        await store.commit(ref, {"tokens": 12})
        (standing,) = (await store.status(ref.key.owner, [tokens(100)])).standings
        assert (standing.reserved, standing.remaining) == (0, 100 - standing.used)
        await reserved(store, tokens(100), 50, owner=ref.key.owner)

    async def test_unknown_consumption_is_charged_as_reserved(self, store: QuotaStore) -> None:
        ref = fresh_ref()
        await asked(store, ref, {"tokens": 30, "requests": 1}, tokens(100), requests(5))
        assert (await store.commit(ref)).charged == {"tokens": 30, "requests": 1}
        assert await counters(store, ref.key.owner, tokens(100), requests(5)) == [(30, 0), (1, 0)]

    async def test_a_unit_that_is_not_named_is_charged_as_reserved(self, store: QuotaStore) -> None:
        ref = fresh_ref()
        await asked(store, ref, {"tokens": 30, "requests": 1}, tokens(100), requests(5))
        answer = await store.commit(ref, {"tokens": 0, "output_tokens": 4})
        assert answer.charged == {"tokens": 0, "requests": 1}
        assert await counters(store, ref.key.owner, tokens(100), requests(5)) == [(0, 0), (1, 0)]

    async def test_more_than_was_reserved_is_charged(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        assert (await store.commit(ref, {"tokens": 130})).charged == {"tokens": 130}
        (standing,) = (await store.status(ref.key.owner, [tokens(100)])).standings
        assert (standing.used, standing.reserved, standing.remaining) == (130, 0, 0)

    async def test_a_repeated_commit_charges_once(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        await store.commit(ref, {"tokens": 12})
        assert await store.commit(ref, {"tokens": 12}) == Settlement(COMMITTED, {"tokens": 12})
        assert await counters(store, ref.key.owner, tokens(100)) == [(12, 0)]
        assert await conflicts(store, ref.key.owner) == 0

    async def test_a_commit_of_something_else_is_a_conflict(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        await store.commit(ref, {"tokens": 12})
        for amounts in ({"tokens": 13}, None):
            assert await store.commit(ref, amounts) == Settlement(COMMITTED, {"tokens": 12}, conflict=True)
        assert await counters(store, ref.key.owner, tokens(100)) == [(12, 0)]
        assert await conflicts(store, ref.key.owner) == 2

    async def test_a_release_charges_nothing(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 90)
        assert await store.release(ref) == Settlement(RELEASED, changed=True)
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 0)]
        await reserved(store, tokens(100), 100, owner=ref.key.owner)

    async def test_a_repeated_release_changes_nothing(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        await reserved(store, tokens(100), 30, owner=ref.key.owner)
        await store.release(ref)
        assert await store.release(ref) == Settlement(RELEASED)
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 30)]
        assert await conflicts(store, ref.key.owner) == 0

    async def test_a_commit_after_a_release_is_a_conflict(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        await store.release(ref)
        assert await store.commit(ref, {"tokens": 12}) == Settlement(RELEASED, conflict=True)
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 0)]
        assert await conflicts(store, ref.key.owner) == 1

    async def test_a_release_after_a_commit_is_a_conflict(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        await store.commit(ref, {"tokens": 12})
        assert await store.release(ref) == Settlement(COMMITTED, {"tokens": 12}, conflict=True)
        assert await counters(store, ref.key.owner, tokens(100)) == [(12, 0)]
        assert await conflicts(store, ref.key.owner) == 1

    async def test_what_was_never_reserved_cannot_be_settled(self, store: QuotaStore) -> None:
        known = await reserved(store, tokens(100), 30)
        for ref in (fresh_ref(), fresh_ref(known.key.owner)):
            assert await store.commit(ref, {"tokens": 12}) == Settlement(UNKNOWN)
            assert await store.release(ref) == Settlement(UNKNOWN)
            assert await store.expire(ref) == Settlement(UNKNOWN)
            assert await store.renew([ref]) == [UNKNOWN]
            assert await store.find(ref) is None
        assert await counters(store, known.key.owner, tokens(100)) == [(0, 30)]

    async def test_what_was_settled_can_be_found(self, store: QuotaStore) -> None:
        committed, released = [await reserved(store, tokens(100), 30) for _ in range(2)]
        await store.commit(committed, {"tokens": 12})
        await store.release(released)
        for ref, state, charged in ((committed, COMMITTED, {"tokens": 12}), (released, RELEASED, {})):
            found = await store.find(ref)
            assert found is not None
            assert (found.ref, found.state, found.charged, found.expires_in_seconds) == (ref, state, charged, 0)
            assert found.amounts == {"tokens": 30}

    async def test_of_settlements_at_once_one_counts(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(1_000), 30)
        answers = await asyncio.gather(
            *(insistently(store.commit, ref, {"tokens": number}) for number in range(1, RACERS + 1)),
            *(insistently(store.release, ref) for _ in range(RACERS)),
        )
        assert len({(answer.state, tuple(answer.charged.items())) for answer in answers}) == 1
        assert sum(answer.changed for answer in answers) <= 1  # none, when the one that did was told to ask again
        first = answers[0]
        assert await counters(store, ref.key.owner, tokens(1_000)) == [(first.charged.get("tokens", 0), 0)]
