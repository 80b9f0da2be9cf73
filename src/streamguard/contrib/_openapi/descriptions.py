"""What OpenAPI says of streams and of failures: response objects, as FastAPI's `responses=` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from ...faults import REGISTRY, FaultCode
from ...wire import WireProtocol

__all__ = [
    "ENDPOINT_FAULTS",
    "ERROR_BODY",
    "Described",
    "Responses",
    "endpoint_responses",
    "failures",
    "stream_response",
]

Responses = dict[int | str, dict[str, Any]]
"""FastAPI's `responses=`."""

ERROR_BODY: Final = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/StreamguardError"}}}}
"""The component that FastAPI makes of `StreamguardError`. A route's `model` would get the media type of its stream."""

_FORMS: Final = {
    "ui-message": "AI SDK's UI message stream (`useChat`): the data of each event is one part as JSON, then `[DONE]`.",
    "ui-message-raw": "AI SDK's UI message stream (`useChat`), passed on as it was written.",
    "plain": "The data of each event is text of the answer. The event `streamguard.end` tells how the answer ended.",
    "opaque": "The events of the response that the endpoint returned, passed on as they were written.",
    "openai": "OpenAI's chunks or events, passed on as they were written.",
    "anthropic": "Anthropic's events, passed on as they were written.",
    "ndjson": "One JSON document a line, passed on as it was written.",
}
"""By the name of the protocol."""
_OTHER: Final = "Events in the protocol of what the endpoint streams: of AI SDK, OpenAI or Anthropic, or other events."
_RESUMABLE: Final = "The answer goes on without its client, who can resume it by `Last-Event-ID`."
_IDS: Final = {
    "X-Session-Id": "The conversation's id.",
    "X-Stream-Id": "The answer's id.",
    "X-Message-Id": "The id of the reply's message.",
    "X-Request-Id": "The request's id.",
}

ENDPOINT_FAULTS: Final = (
    *(FaultCode.REQUEST_INVALID, FaultCode.SESSION_INVALID, FaultCode.CURSOR_INVALID),
    *(FaultCode.UNAUTHENTICATED, FaultCode.FORBIDDEN_ORIGIN),
    *(FaultCode.CONFLICT_ACTIVE, FaultCode.IDEMPOTENCY_CONFLICT, FaultCode.RESUME_FAILED, FaultCode.PAYLOAD_TOO_LARGE),
    *(FaultCode.LIMIT_STREAMS, FaultCode.LIMIT_VIEWERS, FaultCode.LIMIT_RATE, FaultCode.QUOTA_EXCEEDED),
    *(FaultCode.INTERNAL, FaultCode.PROVIDER_ERROR, FaultCode.PROVIDER_ABORTED),
    *(FaultCode.QUOTA_UNAVAILABLE, FaultCode.STORE_UNAVAILABLE, FaultCode.PROVIDER_RATE_LIMITED),
    *(FaultCode.SHUTTING_DOWN, FaultCode.PROVIDER_TIMEOUT, FaultCode.STALLED),
)
"""What a guarded endpoint may answer before its first byte."""


class Described(Response):
    """The response class of a route whose `responses` say what it answers: FastAPI adds no media type of its own.
    Nothing is ever answered with it."""


def stream_response(protocol: WireProtocol | None) -> dict[str, Any]:
    """The response object of an answer that is streamed; `protocol` None: it shows only with the answer."""
    form = _OTHER if protocol is None else _FORMS.get(protocol.name, _OTHER)
    media_type = "text/event-stream" if protocol is None else protocol.media_type.partition(";")[0].strip()
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in _IDS.items()}
    if protocol is not None:
        headers |= {name: {"schema": {"type": "string", "const": value}} for name, value in protocol.headers.items()}
    return {
        "description": f"{form} {_RESUMABLE}",
        "headers": headers,
        "content": {media_type: {"schema": {"type": "string"}}},
    }


def failures(codes: Iterable[FaultCode], described: dict[str, Any]) -> Responses:
    """The response objects of failures, by HTTP status; `described` says what their bodies are."""
    by_status: dict[int, list[FaultCode]] = {}
    for code in codes:
        by_status.setdefault(REGISTRY[code].status, []).append(code)
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: " + ", ".join(f"`{code}`" for code in by_status[status]),
            **described,
        }
        for status in sorted(by_status)
    }


def endpoint_responses(protocol: WireProtocol | None, status_code: int | None) -> Responses:
    """The responses of a guarded endpoint that speaks this protocol, at a route with this status."""
    return {status_code or 200: stream_response(protocol), **failures(ENDPOINT_FAULTS, ERROR_BODY)}
