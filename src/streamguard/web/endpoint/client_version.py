"""The version of the AI SDK that an answer is written for."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...wire import WireProtocol

__all__ = ["HEADER", "protocol_for"]

HEADER: Final = "X-AI-SDK-Version"
"""The version of the page's `ai` package. Only read from the request that starts an answer."""


def protocol_for(protocol: WireProtocol, request: Request) -> WireProtocol:
    """The endpoint's protocol for the client of this request. The request's version overrides the endpoint's option.

    Raises:
        FaultError: `request_invalid`: the header is no version.
    """
    version = request.headers.get(HEADER)
    if version is None:
        return protocol
    try:
        return protocol.for_client(version)
    except ValueError as exc:
        fault = Fault.of(FaultCode.REQUEST_INVALID, reason="client_version", message=f"{HEADER} names {exc}.")
        raise FaultError(fault) from None
