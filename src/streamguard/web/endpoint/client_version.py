"""Which version of its client an answer is written for."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...wire import WireProtocol

__all__ = ["HEADER", "protocol_for"]

HEADER: Final = "X-AI-SDK-Version"
"""What a request says the version of its page's `ai` package is. Only the request that begins an answer is asked."""


def protocol_for(protocol: WireProtocol, request: Request) -> WireProtocol:
    """The endpoint's protocol as the client of this request takes it: what the request says goes before the option.

    Raises:
        FaultError: `request_invalid`: what it says is no version.
    """
    version = request.headers.get(HEADER)
    if version is None:
        return protocol
    try:
        return protocol.for_client(version)
    except ValueError as exc:
        fault = Fault.of(FaultCode.REQUEST_INVALID, reason="client_version", message=f"{HEADER} names {exc}.")
        raise FaultError(fault) from None
