"""The idempotency keys of `MemoryStore`."""

from __future__ import annotations

from ..records import RequestClaim
from ..roles.request_claims import RequestClaims
from .tables import MemoryTables

__all__ = ["MemoryRequestClaims"]


class MemoryRequestClaims(RequestClaims):
    """Claims by owner and request key."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        with self._tables.lock:
            return self._tables.claims.claim(
                (owner, request_key), claim, self._tables.begin(), ttl_seconds=ttl_seconds, expected=expected
            )

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        with self._tables.lock:
            return self._tables.claims.release((owner, request_key), claim, self._tables.begin())
