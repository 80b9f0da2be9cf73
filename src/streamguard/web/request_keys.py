"""What a request's `Idempotency-Key` stands for, and how the claim that is stored under it is taken back."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from ..deadlines import Deadline
from ..errors import FaultError, NotStartedError, StoreError
from ..faults import Fault, FaultCode
from ..runtime import LiveStream, Runtime
from ..stores.base import RequestClaim
from ..values import StreamRef

__all__ = [
    "BEGUN",
    "HEADER",
    "MAX_KEY_BYTES",
    "RequestKey",
    "abandon",
    "carries_key",
    "forget",
    "give_back",
    "request_key",
]

HEADER: Final = "idempotency-key"
MAX_KEY_BYTES: Final = 255
BEGUN: Final = "!"
"""At the end of a claim's fingerprint once its stream is registered and its endpoint is about to run."""


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
        return claim.fingerprint.removesuffix(BEGUN) == self.fingerprint


def carries_key(request: Request) -> bool:
    """Whether the request is to run once only. A GET may be repeated as it is: there the header means nothing.

    Raises:
        FaultError: `request_invalid`: the header is there twice, is empty, longer than `MAX_KEY_BYTES`, or holds
            anything but visible ASCII.
    """
    values = request.headers.getlist(HEADER)
    if not values or request.method == "GET":
        return False
    (value, *more) = values
    if more or not 0 < len(value) <= MAX_KEY_BYTES or any(not "!" <= char <= "~" for char in value):
        raise FaultError(
            Fault.of(
                FaultCode.REQUEST_INVALID,
                message=f"Idempotency-Key is 1 to {MAX_KEY_BYTES} visible ASCII characters.",
                reason="idempotency_key_invalid",
            )
        )
    return True


def request_key(
    request: Request,
    *,
    binding: str,
    content: str,
    session: str | None,
    ttl_seconds: float,
    attempt_seconds: float = math.inf,
) -> RequestKey:
    """The key of a request that `carries_key`.

    Args:
        request: the request.
        binding: the endpoint's; each has keys of its own.
        content: a digest of method, path and body; empty for a body that nobody kept (a form's), which is then
            not compared.
        session: the session's id as the endpoint found it; None for one that this request begins.
        ttl_seconds: how long the key holds.
        attempt_seconds: how long it holds if its stream never begins, and nobody can say so.
    """
    if not content:
        path = request.scope.get("raw_path") or request.scope["path"].encode()
        content = _digest(request.method.encode(), path)
    return RequestKey(
        name=_digest(binding.encode(), request.headers[HEADER].encode()),
        fingerprint=_digest(content.encode(), *([] if session is None else [session.encode()])),
        ttl_seconds=ttl_seconds,
        attempt_seconds=attempt_seconds,
    )


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
            for fingerprint in (key.fingerprint + BEGUN, key.fingerprint):
                if await runtime.store.release_request(ref.key.owner, key.name, RequestClaim(ref, fingerprint)):
                    return


def _digest(*words: bytes) -> str:
    return hashlib.sha256(b"\0".join(words)).hexdigest()
