"""The fault that an endpoint's exception means to a client: the provider failed, or the host.

Providers' client libraries are recognised by shape, not by import: by an HTTP status (openai, anthropic, httpx,
aiohttp, google-genai, botocore), by what they call the failure, and by what their classes are called. Everything else
is the host's own code, or a client used wrongly (a missing API key): asking again does not help.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ...errors import EventTooLargeError, FaultError, ReportedFailureError, StreamLimitError
from ...faults import Fault, FaultCode
from ...frames import described, raised_in
from ...saving.faults import fault_of_failed_save
from ...values import Outcome
from ..request import UNKNOWN_STATUS, Ending
from .provider_codes import (
    codes_of,
    is_about_request,
    is_busy,
    is_out_of_credit,
    retry_after_of,
    status_of,
    told_status,
)
from .stream import LiveStream

__all__ = ["fault_of", "status_of_answer", "told_failure"]

_BROKEN: Final = frozenset(
    {
        "APIConnectionError",  # openai, anthropic
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",  # requests, Python's own
        "EndpointConnectionError",  # botocore
        "HTTPClientError",
        "ModelConnectionError",  # pydantic-ai
        "SSLError",
        "TransportError",  # httpx
        "gaierror",
        "NetworkError",  # httpcore
        "ProtocolError",
    }
)
_PROVIDERS: Final = frozenset(
    {
        "APIError",  # openai and anthropic, in the middle of a stream; google-genai
        "ApiError",
        "APIResponseValidationError",
        "SDKError",  # mistralai
        "StreamError",  # httpx
        "DecodingError",
        "ProviderError",
        "ModelAPIError",  # pydantic-ai
        "UnexpectedModelBehavior",
        "ModelBehaviorError",  # openai-agents
    }
)
"""Class names of providers' failures that carry no status."""
_CLIENTS: Final = frozenset(
    {
        "aiohttp",
        "anthropic",
        "botocore",
        "cohere",
        "google",
        "groq",
        "httpcore",
        "httpcore2",
        "httpx",
        "httpx2",
        "httpx_sse",
        "huggingface_hub",
        "langchain_core",
        "litellm",
        "mistralai",
        "ollama",
        "openai",
        "pydantic_ai",
        "requests",
        "together",
    }
)
_UNREADABLE: Final = frozenset({"JSONDecodeError", "UnicodeDecodeError", "ValidationError"})
"""Errors that mean, when raised inside a client library, that the provider's answer could not be read."""
_RATE_LIMITED: Final = re.compile(r"\b429\b|rate.?limit", re.IGNORECASE)
"""How the text of a failure, such as pydantic-ai's `status_code: 429, model_name: …`, says that there were too many
requests."""
_WRAPPINGS: Final = 5
"""How many `raise … from …` are followed."""
_RETRY_SECONDS: Final = 5
"""When to ask again a provider that had too many requests, and did not say when."""


def fault_of(error: BaseException, stream: LiveStream) -> Fault:
    """The fault for an endpoint's exception; with the exception's text only in debug mode."""
    unsaved = fault_of_failed_save(stream, error, stream.user_messages)
    if unsaved is not None:
        return unsaved
    try:
        fault = _fault_of(error, stream)
        return fault.with_debug(described(error)) if stream.settings.debug else fault
    except Exception:  # noqa: BLE001 - an attribute or the text of the host's exception fails: the stream must end
        return Fault.about(stream, FaultCode.INTERNAL)


def told_failure(stream: LiveStream, error: BaseException | None = None) -> Ending | None:
    """The end of a stream whose upstream told in the stream itself that it failed; None if it told nothing of the kind.
    `error`: what was raised after that, if anything."""
    code = stream.speaking.encoder.failure
    return None if code is None else Ending(Outcome.FAILED, Fault.about(stream, code), error)


def status_of_answer(error: BaseException, stream: LiveStream) -> int | None:
    """The status of the answer that the stream's framework makes of an exception; `UNKNOWN_STATUS` where a handler of
    the host's chooses it; None where the framework makes none, or the stream has begun."""
    if stream.feed.emitted or not isinstance(error, stream.request.answering_errors):
        return None
    try:
        return (status_of(error) if hasattr(error, "detail") else None) or UNKNOWN_STATUS
    except Exception:  # noqa: BLE001 - an attribute of the host's exception fails
        return UNKNOWN_STATUS


def _fault_of(error: BaseException, stream: LiveStream) -> Fault:
    if isinstance(error, FaultError):
        return error.fault if error.fault.stream_id is not None else _placed(error.fault, stream)
    if isinstance(error, EventTooLargeError):
        return Fault.about(stream, FaultCode.EVENT_TOO_LARGE)
    if isinstance(error, StreamLimitError):
        return Fault.about(stream, FaultCode(error.code), reason=error.limit)
    if isinstance(error, ReportedFailureError):
        limited = _RATE_LIMITED.search(str(error)) is not None
        return Fault.about(stream, FaultCode.PROVIDER_RATE_LIMITED if limited else FaultCode.PROVIDER_ERROR)
    status = status_of(error)
    # An HTTPException of the host, not of the provider: litellm's errors have a detail too.
    if status is not None and hasattr(error, "detail") and _package_of(error) not in _CLIENTS:
        if status >= 500:
            return Fault.about(stream, FaultCode.INTERNAL, status=status)
        return Fault.about(stream, FaultCode.REQUEST_INVALID, status=status)
    for one in _causes(error):
        fault = _provider_fault(one, stream)
        if fault is not None:
            return fault
    return Fault.about(stream, FaultCode.INTERNAL)


def _package_of(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _placed(fault: Fault, stream: LiveStream) -> Fault:
    """A fault that was raised by code that does not know its stream."""
    return replace(
        fault,
        session_id=stream.ref.key.session_id,
        stream_id=stream.ref.stream_id,
        message_id=stream.message_id,
        request_id=stream.request_id,
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and the causes it was raised from; of a group of failures, those of the first.

    Ends at an exception of this package: that one says itself what was wrong with an item.
    """
    found: BaseException | None = error
    original = getattr(error, "original_exception", None)  # litellm, for a stream that broke off
    if isinstance(original, BaseException):
        found = original
    for _ in range(_WRAPPINGS):
        if found is None or _package_of(found) == "streamguard":
            return
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        else:
            handled = found.__context__
            if _package_of(found) == "litellm" and handled is not None and codes_of(handled):
                yield handled  # the provider's own error, for which LiteLLM's class may stand in the middle of a stream
            yield found
            found = found.__cause__


def _provider_fault(error: BaseException, stream: LiveStream) -> Fault | None:
    """The fault of the provider that the exception tells of; None when it is not about the provider."""
    if not isinstance(error, Exception | asyncio.CancelledError):  # a panic, or a `SystemExit` whose code is no status
        return None
    status, codes, wait = status_of(error), codes_of(error), retry_after_of(error)
    names = {cls.__name__ for cls in type(error).__mro__}
    if status is None and names & _PROVIDERS:  # in the middle of a stream
        status = told_status(codes)
        refused = status is None and is_about_request(codes)
    else:
        refused = status == 429 and is_out_of_credit(codes)
    if refused:
        return Fault.about(stream, FaultCode.PROVIDER_ERROR, retryable=False)
    if status == 429 or is_busy(codes) or "ModelRateLimitError" in names:  # the last is pydantic-ai's
        return Fault.about(stream, FaultCode.PROVIDER_RATE_LIMITED, retry_after_seconds=wait or _RETRY_SECONDS)
    late = status in (408, 504) or "timeout_error" in codes  # the last is Anthropic's, in the middle of a stream
    if late or isinstance(error, TimeoutError) or any("Timeout" in name for name in names):
        return Fault.about(stream, FaultCode.PROVIDER_TIMEOUT)
    if names & _BROKEN:
        return Fault.about(stream, FaultCode.PROVIDER_ABORTED)
    if status is not None and 400 <= status < 500:
        return Fault.about(stream, FaultCode.PROVIDER_ERROR, retryable=False)
    if isinstance(error, asyncio.CancelledError):  # what the endpoint waited for was cancelled, not the endpoint
        return Fault.about(stream, FaultCode.PROVIDER_ERROR)
    if status is not None or names & _PROVIDERS or (names & _UNREADABLE and raised_in(error) in _CLIENTS):
        return Fault.about(stream, FaultCode.PROVIDER_ERROR, retry_after_seconds=wait)
    return None
