"""Clauses of the store contract about idempotency keys."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

from ...stores.records import ClaimState, RequestClaim
from ...stores.store import StreamStore
from ...values import SessionKey
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    fresh_key,
    unknown_ref,
)


def a_claim(owner: str, fingerprint: str = "f" * 64) -> RequestClaim:
    return RequestClaim(unknown_ref(SessionKey(owner, "session \u2028")), fingerprint)


async def claim_it(
    store: StreamStore,
    claim: RequestClaim,
    *,
    key: str = "key",
    ttl: float = LONG_SECONDS,
    expected: RequestClaim | None = None,
) -> RequestClaim:
    return await store.claim_request(claim.ref.key.owner, key, claim, ttl_seconds=ttl, expected=expected)


class RequestClaimClauses(Clauses):
    """What claims of idempotency keys promise."""

    async def test_the_first_claim_of_a_request_stands(self, store: StreamStore) -> None:
        owner = fresh_key().owner
        first, second = a_claim(owner), a_claim(owner, "0" * 64)
        assert await claim_it(store, first) == first
        assert await claim_it(store, first) == first
        assert await claim_it(store, second) == first
        assert await claim_it(store, first) == first

    async def test_keys_and_owners_have_claims_of_their_own(self, store: StreamStore) -> None:
        owner, other = fresh_key().owner, fresh_key().owner
        claims = [a_claim(owner), a_claim(owner), a_claim(other)]
        hostile = "k:{}*\x00 é"
        assert await claim_it(store, claims[0]) == claims[0]
        assert await claim_it(store, claims[1], key=hostile) == claims[1]
        assert await claim_it(store, claims[2]) == claims[2]
        assert await claim_it(store, a_claim(owner)) == claims[0]
        assert await claim_it(store, a_claim(owner), key=hostile) == claims[1]

    async def test_of_many_that_claim_a_request_at_once_one_stands(self, store: StreamStore) -> None:
        claims = [a_claim("the same owner") for _ in range(5)]
        key = claims[0].ref.stream_id
        standing = await asyncio.gather(*(claim_it(store, claim, key=key) for claim in claims))
        assert len(set(standing)) == 1
        assert standing[0] in claims

    async def test_an_expected_claim_is_replaced_by_one(self, store: StreamStore) -> None:
        owner = fresh_key().owner
        first, second, third = (a_claim(owner) for _ in range(3))
        assert await claim_it(store, first) == first
        assert await claim_it(store, second, expected=third) == first
        assert await claim_it(store, second, expected=first) == second
        assert await claim_it(store, second, expected=first) == second  # asked again
        assert await claim_it(store, third, expected=first) == second
        for other in (replace(second, fingerprint="0"), replace(second, state=ClaimState.BEGUN)):
            assert await claim_it(store, third, expected=other) == second
        nobodys = a_claim(owner)
        assert await claim_it(store, nobodys, key="free", expected=first) == nobodys

    async def test_a_claim_begins_once(self, store: StreamStore) -> None:
        owner = fresh_key().owner
        claimed, rival = a_claim(owner), a_claim(owner)
        begun = replace(claimed, state=ClaimState.BEGUN)
        assert await claim_it(store, claimed) == claimed
        assert await claim_it(store, begun) == claimed  # not without the claim that it expects
        assert await claim_it(store, begun, expected=claimed) == begun
        assert await claim_it(store, begun, expected=claimed) == begun  # asked again
        assert await claim_it(store, rival, expected=claimed) == begun
        assert not await store.release_request(owner, "key", claimed)
        assert await store.release_request(owner, "key", begun)

    async def test_a_claim_of_a_request_stands_for_its_time(self, store: StreamStore) -> None:
        owner = fresh_key().owner
        first, second = a_claim(owner), a_claim(owner)
        await claim_it(store, first, ttl=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert await claim_it(store, second, ttl=self.short_seconds) == second
        assert await claim_it(store, second, ttl=LONG_SECONDS) == second
        assert await claim_it(store, second, ttl=self.short_seconds) == second  # never shorter
        await self.advance(self.short_seconds * 1.5)
        assert await claim_it(store, first) == second

    async def test_a_claim_that_is_taken_back_leaves_the_key_free(self, store: StreamStore) -> None:
        owner = fresh_key().owner
        first, second = a_claim(owner), a_claim(owner)
        assert not await store.release_request(owner, "key", first)  # there is none
        assert await claim_it(store, first) == first
        assert not await store.release_request(owner, "another key", first)
        assert await claim_it(store, second) == first
        assert await store.release_request(owner, "key", first)
        assert not await store.release_request(owner, "key", first)  # asked again
        assert await claim_it(store, second) == second

    async def test_only_the_very_claim_is_taken_back(self, store: StreamStore) -> None:
        owner, other = fresh_key().owner, fresh_key().owner
        first, second = a_claim(owner), a_claim(owner)
        await claim_it(store, first)
        begun = replace(first, state=ClaimState.BEGUN)
        for wrong in (second, replace(first, fingerprint="0"), replace(first, fingerprint=""), begun):
            assert not await store.release_request(owner, "key", wrong)
        assert not await store.release_request(other, "key", first)
        assert await claim_it(store, second) == first
