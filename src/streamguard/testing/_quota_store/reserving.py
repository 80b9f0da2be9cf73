"""Clauses of the quota store contract about reserving."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio

import pytest

from ...errors import QuotaConflictError
from ...quota.records import Admitted, RefusalReason, Refused, ReservationState
from ...quota.store import QuotaStore
from .clauses import Clauses
from .steps import (
    RACERS,
    ROUNDING_SECONDS,
    asked,
    conflicts,
    counters,
    fresh_owner,
    fresh_ref,
    insistently,
    requests,
    reserved,
    tokens,
)


class ReserveClauses(Clauses):
    async def test_starting_gives_texts_for_the_operator(self, store: QuotaStore) -> None:
        warnings = await store.start()
        assert [warning for warning in warnings if not warning.strip()] == []

    async def test_amounts_that_fit_are_reserved(self, store: QuotaStore) -> None:
        ref = fresh_ref()
        answer = await asked(store, ref, {"tokens": 30, "requests": 1}, tokens(100), requests(5))
        assert isinstance(answer, Admitted)
        made = answer.reservation
        assert (made.ref, made.state, made.charged, made.late) == (ref, ReservationState.RESERVED, {}, False)
        assert made.amounts == {"tokens": 30, "requests": 1}
        assert 0 < made.expires_in_seconds <= store.hold_seconds + ROUNDING_SECONDS

    async def test_an_admission_says_how_the_owner_stands(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await store.commit(await reserved(store, tokens(100), 20, owner=owner))
        answer = await asked(store, fresh_ref(owner), {"requests": 1, "tokens": 30}, requests(5), tokens(100))
        assert [(one.quota, one.used, one.reserved, one.remaining) for one in answer.standings] == [
            (requests(5), 0, 1, 4),
            (tokens(100), 20, 30, 50),
        ]

    async def test_what_is_reserved_counts_at_once(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await reserved(store, tokens(100), 30, owner=owner)
        assert await counters(store, owner, tokens(100)) == [(0, 30)]
        await reserved(store, tokens(100), 40, owner=owner)
        assert await counters(store, owner, tokens(100)) == [(0, 70)]

    async def test_the_last_bit_may_be_reserved(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await reserved(store, tokens(100), 60, owner=owner)
        assert isinstance(await asked(store, fresh_ref(owner), 40, tokens(100)), Admitted)

    async def test_nothing_over_the_limit_is_admitted(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await store.commit(await reserved(store, tokens(100), 30, owner=owner))
        await reserved(store, tokens(100), 40, owner=owner)
        assert isinstance(await asked(store, fresh_ref(owner), 31, tokens(100)), Refused)

    async def test_a_refusal_reserves_nothing(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await reserved(store, requests(1), 1, owner=owner)
        ref = fresh_ref(owner)
        assert isinstance(await asked(store, ref, {"tokens": 30, "requests": 1}, tokens(100), requests(1)), Refused)
        assert await counters(store, owner, tokens(100), requests(1)) == [(0, 0), (0, 1)]
        assert await store.find(ref) is None

    async def test_a_refused_stream_may_ask_again(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        first, ref = await reserved(store, tokens(100), 90, owner=owner), fresh_ref(owner)
        assert isinstance(await asked(store, ref, 20, tokens(100)), Refused)
        await store.release(first)
        assert isinstance(await asked(store, ref, 30, tokens(100)), Admitted)

    async def test_every_quota_must_have_room(self, store: QuotaStore) -> None:
        owner, quotas = fresh_owner(), (tokens(100), requests(2))
        for amount, expected in ((90, Admitted), (20, Refused), (10, Admitted), (0, Refused)):
            answer = await asked(store, fresh_ref(owner), {"tokens": amount, "requests": 1}, *quotas)
            assert type(answer) is expected

    async def test_a_refusal_names_the_quota_in_the_way(self, store: QuotaStore) -> None:
        owner, quotas = fresh_owner(), (requests(5), tokens(100))
        await reserved(store, tokens(100), 90, owner=owner)
        answer = await asked(store, fresh_ref(owner), {"tokens": 20, "requests": 1}, *quotas)
        assert isinstance(answer, Refused)
        assert answer.quota == tokens(100)
        assert [(one.quota, one.used, one.reserved) for one in answer.standings] == [
            (requests(5), 0, 0),
            (tokens(100), 0, 90),
        ]

    async def test_a_refusal_says_when_to_ask_again(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await store.commit(await reserved(store, tokens(100), 50, owner=owner))
        await reserved(store, tokens(100), 40, owner=owner)
        (standing,) = (await store.status(owner, [tokens(100)])).standings
        for amount, reason in ((11, RefusalReason.HELD), (51, RefusalReason.SPENT), (101, RefusalReason.TOO_LARGE)):
            answer = await asked(store, fresh_ref(owner), amount, tokens(100))
            assert isinstance(answer, Refused)
            assert answer.reason is reason
            if reason is RefusalReason.TOO_LARGE:
                assert answer.retry_after_seconds is None
            else:
                assert answer.retry_after_seconds is not None
                assert 0 < answer.retry_after_seconds <= standing.resets_in_seconds
                at_the_reset = answer.retry_after_seconds > standing.resets_in_seconds - 60
                assert at_the_reset is (reason is RefusalReason.SPENT)

    async def test_a_repeated_reservation_is_one(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        ref = await reserved(store, tokens(100), 30, owner=owner)
        again = await asked(store, ref, 30, tokens(100))
        assert isinstance(again, Admitted)
        assert again.reservation.state is ReservationState.RESERVED
        assert await counters(store, owner, tokens(100)) == [(0, 30)]

    async def test_a_repeated_reservation_needs_no_room(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        ref = await reserved(store, tokens(100), 90, owner=owner)
        assert isinstance(await asked(store, ref, 90, tokens(100)), Admitted)
        assert isinstance(await asked(store, ref, 90, tokens(5)), Admitted)

    async def test_a_repeated_reservation_gets_its_outcome(self, store: QuotaStore) -> None:
        quota = tokens(100)
        committed, released = [await reserved(store, quota, 30) for _ in range(2)]
        await store.commit(committed, {"tokens": 7})
        await store.release(released)
        for ref, state in ((committed, ReservationState.COMMITTED), (released, ReservationState.RELEASED)):
            again = await asked(store, ref, 30, quota)
            assert isinstance(again, Admitted)
            assert again.reservation.state is state
            assert await counters(store, ref.key.owner, quota) == [(7 if state is ReservationState.COMMITTED else 0, 0)]

    async def test_a_reservation_of_other_amounts_is_a_conflict(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        ref = await reserved(store, tokens(100), 30, owner=owner)
        for amounts, quota in (({"tokens": 31}, tokens(100)), ({"requests": 30}, requests(100))):
            with pytest.raises(QuotaConflictError):
                await asked(store, ref, amounts, quota)
        assert await counters(store, owner, tokens(100), requests(100)) == [(0, 30), (0, 0)]
        assert await conflicts(store, owner) == 2

    async def test_nothing_can_be_reserved_of_nothing(self, store: QuotaStore) -> None:
        assert isinstance(await asked(store, fresh_ref(), 0, tokens(0)), Admitted)
        assert isinstance(await asked(store, fresh_ref(), 1, tokens(0)), Refused)

    async def test_a_limit_may_change(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        await reserved(store, tokens(100), 90, owner=owner)
        assert isinstance(await asked(store, fresh_ref(owner), 10, tokens(50)), Refused)
        assert isinstance(await asked(store, fresh_ref(owner), 110, tokens(200)), Admitted)

    async def test_reservations_at_once_fill_the_limit_exactly(self, store: QuotaStore) -> None:
        owner, quota = fresh_owner(), tokens(37)
        answers = await asyncio.gather(
            *(insistently(asked, store, fresh_ref(owner), 1, quota) for _ in range(5 * RACERS + 10))
        )
        assert sum(isinstance(answer, Admitted) for answer in answers) == 37
        assert await counters(store, owner, quota) == [(0, 37)]

    async def test_of_the_same_reservation_at_once_one_is_made(self, store: QuotaStore) -> None:
        ref, quota = fresh_ref(), tokens(100)
        answers = await asyncio.gather(*(insistently(asked, store, ref, 30, quota) for _ in range(RACERS)))
        assert all(isinstance(answer, Admitted) for answer in answers)
        assert await counters(store, ref.key.owner, quota) == [(0, 30)]
