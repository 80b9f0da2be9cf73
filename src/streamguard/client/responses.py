"""Responses of a guard, and errors made of those that refuse."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

import httpx

from ..decoding import read_json
from ..faults import Fault, FaultCode, Phase
from ..wire.folding import Json
from ..wire.recognition import SSE
from .errors import MalformedAnswerError, RefusedError, ResumeFailedError, StreamClientError
from .stream_events import fault_of_envelope

__all__ = ["check_event_stream", "error_of", "header", "json_object", "may_ask_again", "may_reconnect"]

_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of proxies and servers after which the same request may succeed."""
_BEFORE_THE_ENDPOINT: Final = frozenset({Phase.REGISTRATION, Phase.LIMITS, Phase.SHUTDOWN})
_MOST_ERROR_BYTES: Final = 1_048_576


def header(response: httpx.Response, name: str) -> str | None:
    """An id in a header, decoded."""
    value = response.headers.get(name)
    return None if value is None else unquote(value)


def check_event_stream(response: httpx.Response) -> None:
    """A response of status 200 is a stream of events.

    Raises:
        MalformedAnswerError: it is something else.
    """
    media_type = response.headers.get("content-type", "")
    if media_type.partition(";")[0].strip().lower() != SSE:
        raise MalformedAnswerError(f"the response is {media_type or 'of no media type'}, not {SSE}")


async def error_of(response: httpx.Response, *, cursor: str | None = None) -> StreamClientError:
    """The error that a response without an answer stands for. Reads the response, and closes it."""
    if response.is_success or response.is_redirect:
        await response.aclose()
        return MalformedAnswerError(f"{response.request.url.path} was answered with status {response.status_code}")
    body = await _beginning(response)
    fault: Fault | None = None
    with suppress(ValueError):
        fault = fault_of_envelope(read_json(body))
    status, retry_after = response.status_code, _retry_after(response.headers)
    told = f"{fault.as_dict()['code']}: {fault.message}" if fault is not None else response.reason_phrase
    text = f"{response.request.method} {response.request.url.path} was refused with {status}, {told}"
    if fault is not None and fault.code is FaultCode.RESUME_FAILED:
        return ResumeFailedError(
            text,
            status=status,
            fault=fault,
            retry_after_seconds=retry_after,
            reason=fault.reason,
            cursor=cursor,
        )
    return RefusedError(text, status=status, fault=fault, retry_after_seconds=retry_after)


def may_reconnect(error: StreamClientError) -> bool:
    """Whether the same resume may succeed later."""
    if not isinstance(error, RefusedError):
        return False
    return error.status in _PASSING if error.fault is None else error.fault.retryable


def may_ask_again(error: StreamClientError) -> bool:
    """Whether a question with an idempotency key may be asked again without a model, or a quota, being asked again."""
    if not isinstance(error, RefusedError):
        return False
    if error.fault is None:
        return error.status in (429, 502, 503, 504)
    return error.fault.retryable and error.fault.phase in _BEFORE_THE_ENDPOINT


async def json_object(response: httpx.Response) -> Mapping[str, Json]:
    """The JSON object in a response.

    Raises:
        MalformedAnswerError: there is none.
    """
    document: Json = None
    with suppress(ValueError):
        document = read_json(await response.aread())
    if not isinstance(document, dict):
        raise MalformedAnswerError(f"the response to {response.request.url.path} is no JSON object")
    return document


async def _beginning(response: httpx.Response) -> bytes:
    """The body of an error, which is small; of another one nothing. A connection that breaks meanwhile changes nothing:
    the status is known."""
    body = b""
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MOST_ERROR_BYTES:
                return b""
    except httpx.RequestError:
        return b""
    finally:
        await response.aclose()
    return body


def _retry_after(headers: httpx.Headers) -> float | None:
    """The seconds of a `Retry-After`, which is a number or a date: one of the server's clock, by which it is read."""
    value = headers.get("retry-after")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:15])
    with suppress(OverflowError, TypeError, ValueError):
        return max(0.0, (parsedate_to_datetime(value) - _now(headers.get("date"))).total_seconds())
    return None


def _now(date: str | None) -> datetime:
    """The time that a response names, or this machine's."""
    with suppress(OverflowError, TypeError, ValueError):
        named = parsedate_to_datetime(date or "")
        return named if named.tzinfo is not None else named.replace(tzinfo=UTC)
    return datetime.now(UTC)
