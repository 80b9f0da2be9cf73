"""Idempotency keys: which stream answers the requests that carry one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..records import RequestClaim

__all__ = ["RequestClaims"]


class RequestClaims(ABC):
    """One claim per owner and idempotency key."""

    @abstractmethod
    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        """Say which stream answers the owner's requests with this key, unless another claim stands; returns that one.

        With `expected`, a claim equal to it is replaced: of two that race, one wins. The caller's own is kept for at
        least `ttl_seconds` from now, also when it stood before.
        """

    @abstractmethod
    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        """Take back a claim, if it stands exactly so: nothing is left of it, and the next request finds the key free.

        Any other claim stays. Returns whether it stood so.
        """
