"""Clauses of the quota store contract about amounts and ids that can never be, errors, and calls broken off."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import pytest

from ...errors import ConfigurationError, QuotaConflictError, QuotaError, QuotaInvalidError
from ...quota.limits import MAX_AMOUNT, MAX_ID_BYTES, MAX_OWNER_BYTES, Quota
from ...quota.records import Admitted
from ...quota.store import QuotaStore
from ...values import SessionKey, StreamRef
from .clauses import Clauses
from .steps import LONG, asked, conflicts, counters, fresh_owner, fresh_ref, insistently, requests, reserved, tokens

BAD_AMOUNTS: Final[tuple[Any, ...]] = (
    *(float("nan"), float("inf"), 1.5, 1.0, -1, -(2**63), 2**53, 2**63, 10**30),
    *(True, False, "1", "", b"1", None, [1]),
)

BROKEN_OFF_AFTER_SECONDS = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008)
"""When a call is cancelled: before its first step, and somewhere on its way."""

TOO_LONG = ("x" * (MAX_ID_BYTES + 1), "😀" * (MAX_ID_BYTES // 4) + "é", "half \ud800 a pair")


class DoubtClauses(Clauses):
    async def test_bad_amounts_are_never_reserved(self, store: QuotaStore) -> None:
        owner = fresh_owner()
        for amount in BAD_AMOUNTS:
            with pytest.raises(QuotaInvalidError):
                await store.reserve(fresh_ref(owner), {"tokens": amount}, [tokens(100)])
        assert await counters(store, owner, tokens(100)) == [(0, 0)]
        assert await store.held(owner) == []

    async def test_bad_amounts_are_never_charged(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        for amount in BAD_AMOUNTS:
            with pytest.raises(QuotaInvalidError):
                await store.commit(ref, {"tokens": amount})
        assert await counters(store, ref.key.owner, tokens(100)) == [(0, 30)]
        assert await conflicts(store, ref.key.owner) == 0

    async def test_amounts_are_of_the_units_that_are_counted(self, store: QuotaStore) -> None:
        ref = fresh_ref()
        for amounts in ({}, {"requests": 1}, {"tokens": 1, "requests": 1}, {"Tokens": 1}, {"tokens": 1, "": 1}):
            with pytest.raises(QuotaInvalidError):
                await store.reserve(ref, amounts, [tokens(100)])
        assert await counters(store, ref.key.owner, tokens(100), requests(5)) == [(0, 0), (0, 0)]

    async def test_quotas_are_given_and_differ(self, store: QuotaStore) -> None:
        ref = fresh_ref()
        for quotas in ([], [tokens(100), tokens(200)], [Quota(1, LONG, f"u{n}") for n in range(9)]):
            with pytest.raises(ConfigurationError):
                await store.reserve(ref, {quota.unit: 1 for quota in quotas}, quotas)
            with pytest.raises(ConfigurationError):
                await store.status(ref.key.owner, quotas)

    async def test_the_largest_amounts_are_exact(self, store: QuotaStore) -> None:
        owner, quota = fresh_owner(), tokens(MAX_AMOUNT)
        first = await reserved(store, quota, MAX_AMOUNT - 1, owner=owner)
        second = await reserved(store, quota, 1, owner=owner)
        assert await counters(store, owner, quota) == [(0, MAX_AMOUNT)]
        assert not isinstance(await asked(store, fresh_ref(owner), 1, quota), Admitted)
        await store.commit(second)
        answer = await store.commit(first, {"tokens": MAX_AMOUNT - 2})
        assert answer.charged == {"tokens": MAX_AMOUNT - 2}
        assert await counters(store, owner, quota) == [(MAX_AMOUNT - 1, 0)]

    async def test_sums_past_the_largest_amount_stay_there(self, store: QuotaStore) -> None:
        owner, quota = fresh_owner(), tokens(MAX_AMOUNT)
        made = [await reserved(store, quota, 1, owner=owner) for _ in range(3)]
        for ref in made:
            await store.commit(ref, {"tokens": MAX_AMOUNT})
        assert await counters(store, owner, quota) == [(MAX_AMOUNT, 0)]
        assert (await store.audit(owner, [quota])).drift == 0

    async def test_the_longest_ids_are_fine(self, store: QuotaStore) -> None:
        for one in ("x" * MAX_ID_BYTES, "😀" * (MAX_ID_BYTES // 4)):
            unique = fresh_owner().ljust(32, "-")
            longest = one * (MAX_OWNER_BYTES // MAX_ID_BYTES)
            ref = StreamRef(SessionKey(unique + longest[32:] if one.isascii() else unique + longest[8:], one), one)
            await reserved(store, tokens(100), 30, ref=ref)
            assert [held.ref for held in await store.held(ref.key.owner)] == [ref]
            assert (await store.commit(ref)).changed

    async def test_ids_that_can_never_be_are_invalid(self, store: QuotaStore) -> None:
        for one in TOO_LONG:
            for ref in (
                StreamRef(SessionKey(one * 2, "session"), "stream"),
                StreamRef(SessionKey("owner", one), "stream"),
                StreamRef(SessionKey("owner", "session"), one),
            ):
                for call in (store.commit, store.release, store.expire, store.find):
                    with pytest.raises(QuotaInvalidError):
                        await call(ref)
                with pytest.raises(QuotaInvalidError):
                    await store.reserve(ref, {"tokens": 1}, [tokens(100)])
                with pytest.raises(QuotaInvalidError):
                    await store.renew([ref])
            for question in (store.status, store.audit):
                with pytest.raises(QuotaInvalidError):
                    await question(one * 2, [tokens(100)])
            with pytest.raises(QuotaInvalidError):
                await store.held(one * 2)

    async def test_an_error_names_what_was_asked(self, store: QuotaStore) -> None:
        ref = await reserved(store, tokens(100), 30)
        long = StreamRef(SessionKey("x" * (MAX_OWNER_BYTES + 1), "session"), "stream")
        calls: tuple[tuple[str, type[QuotaError], Callable[[], Awaitable[object]]], ...] = (
            ("reserve", QuotaConflictError, lambda: asked(store, ref, 31, tokens(100))),
            ("reserve", QuotaInvalidError, lambda: asked(store, ref, -1, tokens(100))),
            ("commit", QuotaInvalidError, lambda: store.commit(ref, {"tokens": -1})),
            ("release", QuotaInvalidError, lambda: store.release(long)),
            ("renew", QuotaInvalidError, lambda: store.renew([long])),
            ("status", QuotaInvalidError, lambda: store.status(long.key.owner, [tokens(1)])),
        )
        for operation, kind, call in calls:
            with pytest.raises(kind) as caught:
                await call()
            assert (caught.value.operation, caught.value.retryable) == (operation, False)

    async def test_a_reservation_that_was_broken_off_can_be_repeated(self, store: QuotaStore) -> None:
        owner, quota = fresh_owner(), tokens(100)
        for number, seconds in enumerate(BROKEN_OFF_AFTER_SECONDS, 1):
            ref = fresh_ref(owner)
            await _broken_off(seconds, asked(store, ref, 10, quota))
            assert isinstance(await insistently(asked, store, ref, 10, quota), Admitted)
            assert await counters(store, owner, quota) == [(0, 10 * number)]

    async def test_a_commit_that_was_broken_off_can_be_repeated(self, store: QuotaStore) -> None:
        owner, quota = fresh_owner(), tokens(100)
        for number, seconds in enumerate(BROKEN_OFF_AFTER_SECONDS, 1):
            ref = await reserved(store, quota, 20, owner=owner)
            await _broken_off(seconds, store.commit(ref, {"tokens": 10}))
            assert (await insistently(store.commit, ref, {"tokens": 10})).charged == {"tokens": 10}
            assert await counters(store, owner, quota) == [(10 * number, 0)]


async def _broken_off(seconds: float, call: Awaitable[object]) -> None:
    """Begin a call and cancel it after `seconds`."""
    task = asyncio.ensure_future(call)
    if seconds:
        await asyncio.wait({task}, timeout=seconds)
    else:
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
