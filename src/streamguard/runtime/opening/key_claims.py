"""The claim that one request makes for its key, asked of the store within the request's budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from ...errors import StoreUnavailableError
from ...stores.breaker import Breaker
from ...stores.budget import Budget
from ...stores.records import ClaimState, RequestClaim, StreamMeta
from ...stores.store import StreamStore
from ...values import StreamRef
from .request_key import RequestKey

__all__ = ["KeyClaims"]

T = TypeVar("T")


class KeyClaims:
    """Claims a key for one request. Every method raises `StoreError`; a budget that is spent opens the breaker."""

    def __init__(self, store: StreamStore, breaker: Breaker, budget: Budget, owner: str, key: RequestKey) -> None:
        self._store = store
        self._breaker = breaker
        self._budget = budget
        self._owner = owner
        self._key = key

    async def claim(self, ref: StreamRef, *, instead_of: RequestClaim | None = None) -> RequestClaim:
        """Claim the key for a stream that is to be registered, unless another claim than `instead_of` stands. Returns
        the claim that stands."""
        seconds = min(self._key.ttl_seconds, self._key.attempt_seconds)
        return await self._set(self.of(ref), seconds, expected=instead_of)

    async def begin(self, mine: RequestClaim, ref: StreamRef) -> RequestClaim:
        """Turn a claim of ours into one whose endpoint runs, for stream `ref`. Returns the claim that stands."""
        begun = replace(mine, ref=ref, state=ClaimState.BEGUN)
        return await self._set(begun, self._key.ttl_seconds, expected=mine)

    async def prolong(self, mine: RequestClaim) -> None:
        """Keep a claim of ours for as long as one that has begun, without a word that it has."""
        await self._set(mine, self._key.ttl_seconds, expected=mine)

    async def release(self, mine: RequestClaim) -> bool:
        """Take a claim of ours back. Returns whether it stood."""
        return await self.ask(lambda: self._store.release_request(self._owner, self._key.name, mine))

    def of(self, ref: StreamRef) -> RequestClaim:
        """The claim of the key for a stream that is to be registered."""
        return RequestClaim(ref, self._key.fingerprint)

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        """The record of a claimed stream; None when there is none."""
        return await self.ask(lambda: self._store.meta(ref))

    async def ask(self, step: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step within what is left of the request's budget. A lost reply does no harm: every step here may
        be repeated."""
        return await self._waited(self._budget.ask(step))

    async def ask_once(self, step: Callable[[], Awaitable[T]]) -> T:
        """Ask for something within what is left of the request's budget, without repeating it."""
        return await self._waited(self._budget.ask_once(step))

    async def _set(self, claim: RequestClaim, ttl_seconds: float, *, expected: RequestClaim | None) -> RequestClaim:
        return await self.ask(
            lambda: self._store.claim_request(
                self._owner, self._key.name, claim, ttl_seconds=ttl_seconds, expected=expected
            )
        )

    async def _waited(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except StoreUnavailableError as exc:
            self._breaker.exhausted(exc)
            raise
