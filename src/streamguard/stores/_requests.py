"""Which stream answers the requests with one idempotency key, in memory.

Pure: no clock is read. `now` is on the store's clock.
"""

from __future__ import annotations

import heapq

from .terms import RequestClaim

__all__ = ["Requests"]

_RequestKey = tuple[str, str]
"""Owner and request key."""


class Requests:
    """The claims that stand."""

    def __init__(self) -> None:
        self._claims: dict[_RequestKey, tuple[RequestClaim, float]] = {}
        """Each claim, and until when it stands."""
        self._expiries: list[tuple[float, _RequestKey]] = []
        """A heap of when to look at a claim again; one entry for each."""

    def claim(
        self,
        key: _RequestKey,
        claim: RequestClaim,
        now: float,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None,
    ) -> RequestClaim:
        """See `StreamStore.claim_request`."""
        self._forget_expired(now)
        known = self._claims.get(key)
        if known is None:
            heapq.heappush(self._expiries, (now + ttl_seconds, key))
            self._claims[key] = (claim, now + ttl_seconds)
            return claim
        standing, until = known
        if standing not in (claim, expected):
            return standing
        self._claims[key] = (claim, max(until, now + ttl_seconds))
        return claim

    def _forget_expired(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            _, until = self._claims[key]
            if until > now:
                heapq.heappush(self._expiries, (until, key))
            else:
                del self._claims[key]
