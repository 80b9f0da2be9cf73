"""The responses that carry no stream: a fault, an empty one, and 204."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...faults import Fault
from ..headers import RawHeaders

__all__ = ["empty_response", "fault_response", "no_content"]


class _FaultResponse(Response):
    """Stands for an exception: a background task that a framework gave it does not run, as after an
    `HTTPException`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.background = None
        await super().__call__(scope, receive, send)


def fault_response(fault: Fault, headers: RawHeaders, *, work_started: bool = False) -> Response:
    """The HTTP response of a fault: its status and its envelope.

    With `work_started`, OpenAI's and Anthropic's SDKs do not retry the request by themselves.
    """
    response = _FaultResponse(fault.envelope(), status_code=fault.status, media_type="application/json")
    more = [(b"cache-control", b"no-store"), *headers]
    seconds = fault.retry_after_seconds
    if (seconds is not None and fault.status in (409, 429, 503)) or (fault.retryable and fault.status in (429, 503)):
        more.append((b"retry-after", str(seconds or 1).encode()))
    if work_started:
        more.append((b"x-should-retry", b"false"))
    response.raw_headers.extend(more)
    return response


def no_content(headers: RawHeaders) -> Response:
    """204, which no cache may keep."""
    return empty_response(204, [(b"cache-control", b"no-store"), *headers])


def empty_response(status_code: int, headers: RawHeaders) -> Response:
    """A response without a body, with exactly these headers."""
    response = Response(status_code=status_code)
    response.raw_headers = headers
    return response
