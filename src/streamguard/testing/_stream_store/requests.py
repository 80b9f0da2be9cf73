"""Clauses of the store contract about what later requests ask: idempotency keys, continued messages, erasure marks."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
from dataclasses import replace

from ...stores.records import ClaimState, RequestClaim
from ...stores.store import StreamStore
from ...values import SessionKey, StreamRef
from .clauses import Clauses
from .steps import (
    LONG_SECONDS,
    begin,
    closing,
    end,
    fresh_key,
    losing,
    new_stream,
    registered,
    seal,
    tombstone,
    try_register,
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


async def answered(store: StreamStore, key: SessionKey, message_id: str) -> StreamRef:
    """A finished stream of a message."""
    new = replace(new_stream(key), message_id=message_id)
    ref = registered(await try_register(store, new)).ref
    await end(store, ref)
    return ref


async def previous(store: StreamStore, ref: StreamRef, message_id: str) -> StreamRef | None:
    found = await store.previous(ref, message_id)
    assert found is None or found.message_id == message_id
    return None if found is None else found.ref


class RequestClauses(Clauses):
    # -- idempotency keys ----------------------------------------------------------------------------------------------

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

    # -- continued messages --------------------------------------------------------------------------------------------

    async def test_the_previous_stream_of_a_message_is_the_latest_earlier_one(self, store: StreamStore) -> None:
        key = fresh_key()
        first, other, second, third = [await answered(store, key, message) for message in ("a", "b", "a", "a")]
        assert await previous(store, third, "a") == second
        assert await previous(store, second, "a") == first
        assert await previous(store, first, "a") is None
        assert await previous(store, third, "b") == other
        assert await previous(store, third, "c") is None
        assert await previous(store, unknown_ref(), "a") is None

    async def test_streams_that_were_never_registered_come_after_all_others(self, store: StreamStore) -> None:
        key = fresh_key()
        first = await answered(store, key, "a")
        lost = replace(new_stream(key), message_id="lost")
        await store.declare_lost(losing(lost, terminal=tombstone()))
        assert await previous(store, lost.ref, "a") == first
        assert await previous(store, unknown_ref(key), "a") == first
        assert await previous(store, first, "lost") is None
        later = await answered(store, key, "a")
        assert await previous(store, later, "lost") is None

    async def test_a_previous_stream_that_expired_is_none(self, store: StreamStore) -> None:
        key = fresh_key()
        first = await answered(store, key, "a")
        new = replace(new_stream(key), message_id="a")
        second = registered(await try_register(store, new)).ref
        await seal(store, second)
        await store.close(closing(second, retention=self.short_seconds))
        third = await answered(store, key, "a")
        assert await previous(store, third, "a") == second
        await self.advance(self.short_seconds * 1.5)
        assert await previous(store, third, "a") == first

    # -- erasure marks -------------------------------------------------------------------------------------------------

    async def test_an_erasure_is_known_to_what_began_before_it(self, store: StreamStore) -> None:
        before = registered(await try_register(store, new_stream()))
        key = before.ref.key
        assert await store.erasure(key) is None
        await store.erase(key, mark_seconds=60)
        erasure = await store.erasure(key)
        assert erasure is not None
        after = registered(await try_register(store, new_stream(key)))
        assert before.created_at <= erasure.at < after.created_at
        assert 0 <= erasure.seconds_ago < LONG_SECONDS
        assert await store.erasure(SessionKey("somebody else", key.session_id)) is None

    async def test_an_erasure_is_forgotten_after_its_time(self, store: StreamStore) -> None:
        key = fresh_key()
        await store.erase(key, mark_seconds=self.short_seconds)
        await self.advance(self.short_seconds * 1.5)
        assert await store.erasure(key) is None

    async def test_the_mark_of_a_session_nobody_knew_has_a_time_of_its_own(self, store: StreamStore) -> None:
        key, known = fresh_key(), (await begin(store)).key
        for erased in (key, known):
            await store.erase(erased, mark_seconds=60, unknown_seconds=self.short_seconds)
            assert await store.erasure(erased) is not None
        await store.erase(known, mark_seconds=60, unknown_seconds=self.short_seconds)  # unknown by now: never shorter
        await self.advance(self.short_seconds * 1.5)
        assert await store.erasure(key) is None
        assert await store.erasure(known) is not None
