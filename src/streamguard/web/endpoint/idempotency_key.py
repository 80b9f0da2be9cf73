"""Reading a request's `Idempotency-Key`."""

from __future__ import annotations

import hashlib
import math
from typing import Final

from starlette.requests import Request

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...runtime.opening.request_key import RequestKey

__all__ = ["HEADER", "MAX_KEY_BYTES", "has_idempotency_key", "request_key"]

HEADER: Final = "idempotency-key"
MAX_KEY_BYTES: Final = 255


def has_idempotency_key(request: Request) -> bool:
    """Whether the request must run only once. A GET may always be retried: the header means nothing there.

    Raises:
        FaultError: `request_invalid`: there are two such headers, or the header is empty, longer than `MAX_KEY_BYTES`,
            or has characters other than visible ASCII.
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
    """The key of a request that `has_idempotency_key`.

    Args:
        request: the request.
        binding: the endpoint's name; each endpoint has keys of its own.
        content: a digest of method, path and body; empty for a body that was not kept (a form's), which is then
            not compared.
        session: the session's id that the endpoint's selector found; None if this request starts a session.
        ttl_seconds: how long the key holds.
        attempt_seconds: how long it holds if its stream never begins, and no process can record that.
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


def _digest(*words: bytes) -> str:
    return hashlib.sha256(b"\0".join(words)).hexdigest()
