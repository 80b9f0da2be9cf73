"""`RedisRequestClaims`: which stream answers the requests with one idempotency key.

A claim is stored without owner and session in clear.

A claim outlives its session, and an erasure does not find it, since it stands under its request's key. So it names
whose session it is under a mask that is made of owner and idempotency key, of which the store knows digests only. That
is no protection against somebody who can guess both.
"""

from __future__ import annotations

import base64
import hashlib
import json

from ...compact_json import compact_json
from ...decoding import decoding, read_json, read_text
from ...errors import StoreCorruptError, StoreFormatError
from ...values import FORMAT_VERSION, SessionKey, StreamRef
from ..records import ClaimState, RequestClaim
from ..roles.request_claims import RequestClaims
from .namespace import RedisNamespace, milliseconds
from .session_calls import ClaimRequest, ReleaseRequest

__all__ = ["RedisRequestClaims", "decode_claim", "encode_claim"]


class RedisRequestClaims(RequestClaims):
    """One key for each idempotency key."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis

    async def claim_request(
        self,
        owner: str,
        request_key: str,
        claim: RequestClaim,
        *,
        ttl_seconds: float,
        expected: RequestClaim | None = None,
    ) -> RequestClaim:
        replaced = b"" if expected is None else encode_claim(expected, owner, request_key)
        claiming = ClaimRequest(
            claim_key=self._redis.keys.request(owner, request_key),
            claim=encode_claim(claim, owner, request_key),
            replaced=replaced,
            ttl_ms=milliseconds(ttl_seconds),
        )
        return decode_claim(await self._redis.call("claim_request", claiming), owner, request_key)

    async def release_request(self, owner: str, request_key: str, claim: RequestClaim) -> bool:
        key = self._redis.keys.request(owner, request_key)
        releasing = ReleaseRequest(claim_key=key, claim=encode_claim(claim, owner, request_key))
        return await self._redis.call("release_request", releasing) == 1


def encode_claim(claim: RequestClaim, owner: str, request_key: str) -> bytes:
    """A claim as it is stored; equal claims of a request are equal bytes, since scripts compare them."""
    key = claim.ref.key
    masked = _masked(json.dumps([key.owner, key.session_id]).encode(), owner, request_key)
    parts = [FORMAT_VERSION, base64.b64encode(masked).decode(), claim.ref.stream_id, claim.fingerprint, claim.state]
    return compact_json(parts)


def decode_claim(claim: bytes, owner: str, request_key: str) -> RequestClaim:
    """What `encode_claim` made.

    Raises:
        StoreFormatError: a later version wrote it.
        StoreCorruptError: it is no claim.
    """
    with decoding(lambda: StoreCorruptError("claim_request: a stored claim cannot be read", operation="claim_request")):
        version, *parts = read_json(read_text(claim))
        if int(version) > FORMAT_VERSION:
            raise StoreFormatError(
                "claim_request: a claim was written by a later version of streamguard; upgrade this process",
                operation="claim_request",
            )
        masked, stream_id, fingerprint, state = map(str, parts)
        named = read_json(_masked(base64.b64decode(masked, validate=True), owner, request_key))
        its_owner, session_id = map(str, named)
        ref = StreamRef(SessionKey(its_owner, session_id), stream_id)
        return RequestClaim(ref, fingerprint, ClaimState(state))


def _masked(words: bytes, owner: str, request_key: str) -> bytes:
    """`words` with the mask applied; applied again, it gives them back."""
    secret = json.dumps([owner, request_key]).encode()
    mask = hashlib.shake_256(b"streamguard claim " + secret).digest(len(words))
    return bytes(word ^ masking for word, masking in zip(words, mask, strict=True))
