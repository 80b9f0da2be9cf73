"""The responses that carry no stream: a fault, an empty one, and 204."""

from __future__ import annotations

from starlette.responses import Response

from ...faults import Fault
from ..headers import RawHeaders

__all__ = ["bare", "fault_response", "nothing_more"]


def fault_response(fault: Fault, headers: RawHeaders, *, work_started: bool = False) -> Response:
    """The HTTP answer of a failure: its status and its envelope.

    `work_started` tells OpenAI's and Anthropic's SDKs not to send the request again by themselves.
    """
    response = Response(fault.envelope(), status_code=fault.status, media_type="application/json")
    more = [(b"cache-control", b"no-store"), *headers]
    told = fault.retry_after_seconds
    if (told is not None and fault.status in (409, 429, 503)) or (fault.retryable and fault.status in (429, 503)):
        more.append((b"retry-after", str(told or 1).encode()))
    if work_started:
        more.append((b"x-should-retry", b"false"))
    response.raw_headers.extend(more)
    return response


def nothing_more(headers: RawHeaders) -> Response:
    """204, which nobody keeps."""
    return bare(204, [(b"cache-control", b"no-store"), *headers])


def bare(status_code: int, headers: RawHeaders) -> Response:
    """A response without a body, with exactly these headers."""
    response = Response(status_code=status_code)
    response.raw_headers = headers
    return response
