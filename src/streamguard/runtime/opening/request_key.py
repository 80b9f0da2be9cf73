"""What a request's `Idempotency-Key` stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...stores.records import RequestClaim

__all__ = ["RequestKey"]


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a request's `Idempotency-Key` stands for."""

    name: str
    """The name that the claim is stored under, for one owner: a digest of the endpoint's binding and the key."""
    fingerprint: str
    """Equal for equal requests."""
    ttl_seconds: float
    """How long the claim lasts once its stream has begun: as long as that stream can be replayed or saved."""
    attempt_seconds: float = math.inf
    """How long the claim lasts before its stream has begun."""

    def is_of(self, claim: RequestClaim) -> bool:
        """Whether an equal request made the claim."""
        return claim.fingerprint == self.fingerprint
