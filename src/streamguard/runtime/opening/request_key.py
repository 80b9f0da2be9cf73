"""What a request's `Idempotency-Key` stands for, and how the claim that is stored under it is taken back."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

from ...deadlines import Deadline
from ...errors import FaultError, NotStartedError, StoreError
from ...stores.records import ClaimState, RequestClaim
from ...values import StreamRef
from .. import LiveStream, Runtime

__all__ = [
    "RequestKey",
    "abandon",
    "forget",
    "give_back",
]


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What a request's `Idempotency-Key` stands for."""

    name: str
    """What the claim is stored under, for one owner: a digest of the endpoint's binding and the key."""
    fingerprint: str
    """Equal for equal requests."""
    ttl_seconds: float
    """How long the claim lasts once its stream has begun: as long as that can be replayed or saved."""
    attempt_seconds: float = math.inf
    """How long the claim lasts before."""

    def is_of(self, claim: RequestClaim) -> bool:
        """Whether an equal request made the claim."""
        return claim.fingerprint == self.fingerprint


async def give_back(runtime: Runtime, key: RequestKey | None, stream: LiveStream) -> None:
    """Take back the claim of a stream that ended before its first event: a repetition is a fresh attempt.

    Where the store does not hear of it the claim stays, and a repetition sees that the stream said nothing.
    """
    if key is not None:
        await forget(runtime, key, stream.ref)


def abandon(runtime: Runtime, stream: LiveStream, key: RequestKey | None, error: FaultError) -> None:
    """End a stream that nobody will produce, since its request was cancelled, and take back its claim. Returns at once:
    it happens in the background."""

    async def ended() -> None:
        await runtime.reject(stream, error)
        await give_back(runtime, key, stream)

    with suppress(NotStartedError):  # the runtime is over
        runtime.start(ended)


async def forget(runtime: Runtime, key: RequestKey, ref: StreamRef) -> None:
    """Take back a claim for a stream, whether it has begun or not."""
    if runtime.breaker.open:
        return
    with suppress(StoreError, TimeoutError):
        async with Deadline.after(runtime.settings.registration_seconds).limit():
            for state in (ClaimState.BEGUN, ClaimState.CLAIMED):
                claim = RequestClaim(ref, key.fingerprint, state)
                if await runtime.store.release_request(ref.key.owner, key.name, claim):
                    return
