"""Reading a request's `Idempotency-Key`, and the key of an answer that no request begins."""

from __future__ import annotations

import hashlib
import math
from typing import Final

from starlette.requests import Request

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...runtime.opening.request_key import RequestKey
from ...settings import Settings
from .fingerprint import path_and_query_of

__all__ = ["HEADER", "MAX_KEY_BYTES", "has_idempotency_key", "request_key", "retention_seconds", "started_key"]

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
    if more or not _is_key(value):
        raise _invalid("Idempotency-Key")
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
        content: a digest of method, path, query and body; empty for a body that was not kept (a form's), which is then
            not compared.
        session: the session's id that the endpoint's selector found; None if this request starts a session.
        ttl_seconds: how long the key holds.
        attempt_seconds: how long it holds if its stream never begins, and no process can record that.
    """
    if not content:
        content = _digest(request.method.encode(), path_and_query_of(request))
    return RequestKey(
        name=_digest(binding.encode(), request.headers[HEADER].encode()),
        fingerprint=_digest(content.encode(), *([] if session is None else [session.encode()])),
        ttl_seconds=ttl_seconds,
        attempt_seconds=attempt_seconds,
    )


def started_key(
    value: str, *, binding: str, session: str | None, message_id: str | None, ttl_seconds: float, attempt_seconds: float
) -> RequestKey:
    """The key of an answer that no request begins (`guard.start`): it is never a request's key, though they be equal.
    The arguments are as in `request_key`; `session` and `message_id` are None where a fresh one is made.

    Raises:
        FaultError: `request_invalid`, as in `has_idempotency_key`.
    """
    if not _is_key(value):
        raise _invalid("idempotency_key")
    return RequestKey(
        name=_digest(b"start", binding.encode(), value.encode()),
        fingerprint=_digest((session or "").encode(), (message_id or "").encode()),
        ttl_seconds=ttl_seconds,
        attempt_seconds=attempt_seconds,
    )


def retention_seconds(settings: Settings, *, max_stream_seconds: float | None, owes: bool) -> float:
    """How long a key holds: for as long as its answer may be asked for. `owes`: the answer is saved, or counted."""
    kept = settings.outbox_retention_seconds if owes else settings.finished_ttl_seconds
    return (max_stream_seconds or settings.max_stream_seconds) + settings.save_total_seconds + kept


def _is_key(value: str) -> bool:
    return 0 < len(value) <= MAX_KEY_BYTES and all("!" <= char <= "~" for char in value)


def _invalid(name: str) -> FaultError:
    return FaultError(
        Fault.of(
            FaultCode.REQUEST_INVALID,
            message=f"{name} is 1 to {MAX_KEY_BYTES} visible ASCII characters.",
            reason="idempotency_key_invalid",
        )
    )


def _digest(*words: bytes) -> str:
    return hashlib.sha256(b"\0".join(words)).hexdigest()
