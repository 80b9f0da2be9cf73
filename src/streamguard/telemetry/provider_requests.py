"""By which id a provider knows the request that failed: its support asks for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["provider_request_id"]

_ID: Final = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
"""One word. A text that somebody wrote is none."""
_HEADERS: Final = ("x-request-id", "request-id", "x-amzn-requestid", "apim-request-id")
"""OpenAI's, Anthropic's, Amazon's and Azure's."""


def provider_request_id(error: BaseException | None) -> str | None:
    """The id, from what a client library's exception, or one that it was raised from, has of the provider's answer.
    None where none of them has one: the provider did not answer, or OpenAI's library told a failure in mid-stream."""
    try:
        return next((found for one in _causes(error) for found in _ids_of(one) if _ID.fullmatch(found)), None)
    except Exception:  # noqa: BLE001 -- an attribute of the host's exception fails: the line is logged all the same
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        for cause in (getattr(error, "original_exception", None), error.__cause__):  # the first is LiteLLM's
            if isinstance(cause, BaseException):
                yield cause


def _ids_of(error: BaseException) -> Iterator[str]:
    response = getattr(error, "response", None)
    told = [getattr(error, "request_id", None)] if response is not None else []  # openai, anthropic
    for headers in (getattr(response, "headers", None), getattr(error, "litellm_response_headers", None)):
        if isinstance(headers, Mapping):
            told += [headers.get(name) for name in _HEADERS]
    return (one for one in told if isinstance(one, str))
