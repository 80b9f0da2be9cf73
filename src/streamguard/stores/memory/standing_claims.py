"""Which stream answers the requests with one idempotency key, in memory.

Pure: no clock is read. `now` is on the store's clock.
"""

from __future__ import annotations

from ..records import RequestClaim
from .expiring import ExpiringTable

__all__ = ["StandingClaims"]

_RequestKey = tuple[str, str]
"""Owner and request key."""


class StandingClaims:
    """Claims by owner and request key, each until its time."""

    def __init__(self) -> None:
        self._claims: ExpiringTable[_RequestKey, RequestClaim] = ExpiringTable()

    def __len__(self) -> int:
        return len(self._claims)

    def claim(
        self,
        key: _RequestKey,
        claim: RequestClaim,
        now: float,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None,
    ) -> RequestClaim:
        """See `RequestClaims.claim_request`."""
        standing = self._claims.get(key, now)
        if standing is not None and standing not in (claim, expected):
            return standing
        until = now + ttl_seconds
        self._claims.put(key, claim, until if standing is None else max(until, self._claims.until(key)))
        return claim

    def release(self, key: _RequestKey, claim: RequestClaim, now: float) -> bool:
        """See `RequestClaims.release_request`."""
        if self._claims.get(key, now) != claim:
            return False
        self._claims.remove(key)
        return True

    def expire(self, now: float) -> None:
        """Forget claims whose time is over."""
        self._claims.expire(now)
