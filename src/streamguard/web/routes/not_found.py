"""404 in the form of every other fault, for an application that is nothing but the guard's routes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...faults import Fault, FaultCode
from ..headers import request_id_of
from ..response.plain_responses import fault_response
from ..response_ids import ResponseIds

__all__ = ["not_found"]


async def not_found(request: Request, _: Exception) -> Response:
    """Starlette's exception handler for paths that no route has."""
    ids = ResponseIds(request_id_of(request.headers.get("x-request-id")))
    return fault_response(ids.complete(Fault.of(FaultCode.NOT_FOUND)), ids.headers())
