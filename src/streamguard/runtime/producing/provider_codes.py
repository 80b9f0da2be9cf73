"""What a provider's failure says of itself: HTTP status, codes and types, and when to ask again. Pure.

Providers' client libraries are recognised by shape, not by import. In the middle of a stream a failure has no status of
its own: then its codes say what kind it is. OpenAI's errors have `code` and `type`, Anthropic's a `type` within
`body["error"]`, and OpenRouter's a status as their `code`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

__all__ = [
    "codes_of",
    "is_about_request",
    "is_busy",
    "is_out_of_credit",
    "retry_after_of",
    "status_of",
    "told_status",
]

_BUSY: Final = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"})
_OUT_OF_CREDIT: Final = frozenset(
    {
        "insufficient_quota",  # OpenAI, with status 429
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",  # Anthropic
    }
)
"""The host's account has nothing left: waiting does not help."""
_ABOUT_REQUEST: Final = _OUT_OF_CREDIT | {
    "authentication_error",
    "content_filter",
    "context_length_exceeded",
    "invalid_api_key",
    "invalid_prompt",
    "invalid_request_error",
    "model_not_found",
    "not_found_error",
    "permission_error",
    "request_too_large",
}
_STATUS: Final = re.compile(r"[45]\d\d")
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_MOST_SECONDS: Final = 3_600


def status_of(error: BaseException) -> int | None:
    """The HTTP status that a client library's exception carries, if any."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata") if isinstance(response, Mapping) else None  # botocore
    for status in (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "status", None),  # aiohttp
        getattr(error, "code", None),  # google-genai, urllib
        metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None,
    ):
        if isinstance(status, int) and 400 <= status < 600:
            return int(status)
    return None


def codes_of(error: BaseException) -> frozenset[str]:
    """What a provider calls the failure; empty when it says nothing."""
    body = getattr(error, "body", None)
    nested = body.get("error") if isinstance(body, Mapping) else None
    found: list[object] = [getattr(error, "code", None), getattr(error, "type", None)]
    for told in (body, nested):
        if isinstance(told, Mapping):
            found += [told.get("code"), told.get("type")]
    return frozenset(code for code in found if isinstance(code, str) and code)


def told_status(codes: frozenset[str]) -> int | None:
    """The HTTP status among the codes, if one is."""
    return next((int(code) for code in sorted(codes) if _STATUS.fullmatch(code)), None)


def is_busy(codes: frozenset[str]) -> bool:
    """Whether the provider had too many requests."""
    return not _BUSY.isdisjoint(codes)


def is_out_of_credit(codes: frozenset[str]) -> bool:
    """Whether the host's account is used up. Providers tell it with the status of too many requests."""
    return not _OUT_OF_CREDIT.isdisjoint(codes)


def is_about_request(codes: frozenset[str]) -> bool:
    """Whether the same request will fail again."""
    return not _ABOUT_REQUEST.isdisjoint(codes)


def retry_after_of(error: BaseException) -> int | None:
    """After how many whole seconds the provider wants to be asked again, bounded to an hour; None when it named no
    number."""
    for headers in _headers_of(error):
        for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            value = headers.get(name)
            if isinstance(value, str) and _SECONDS.fullmatch(value):
                return min(max(math.ceil(float(value) * unit), 1), _MOST_SECONDS)
    return None


def _headers_of(error: BaseException) -> list[Mapping[str, object]]:
    """The headers of the provider's answer, wherever the exception has them."""
    places = (
        getattr(getattr(error, "response", None), "headers", None),
        getattr(error, "headers", None),  # pydantic-ai
        getattr(error, "litellm_response_headers", None),  # whose `response` may be one of its own making
    )
    return [headers for headers in places if isinstance(headers, Mapping)]
