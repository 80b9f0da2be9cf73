"""What a guard adds to the application that it is mounted in, or to one of its own."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from ...faults import Fault, FaultCode
from ..guard_context import ResponseIds, fault_response
from ..headers import request_id_of
from ..middleware.exchange import CutLayer
from ..misuse import Misuse

__all__ = ["add_outermost_layer", "not_found"]


def add_outermost_layer(app: Starlette, *, running: bool = False) -> None:
    """Outside everything, error pages included. Once per application.

    Starlette builds its stack when first called; with `running`, one that is built already is put inside the layer.

    Raises:
        ConfigurationError: the application has started, and is not said to be running.
    """
    build, stack = app.build_middleware_stack, app.middleware_stack
    if stack is not None and not running:
        raise Misuse.INSTALLED_LATE.error()
    if getattr(build, "is_streamguard", False) or isinstance(stack, CutLayer):
        return
    if stack is not None:
        app.middleware_stack = CutLayer(stack, lambda: app.routes)
        return

    def build_with_layer() -> ASGIApp:
        return CutLayer(build(), lambda: app.routes)

    build_with_layer.is_streamguard = True  # type: ignore[attr-defined]
    app.build_middleware_stack = build_with_layer  # type: ignore[method-assign]


async def not_found(request: Request, _: Exception) -> Response:
    """404 in the form of every other fault, for an application that is nothing but the guard's routes."""
    ids = ResponseIds(request_id_of(request.headers.get("x-request-id")))
    return fault_response(ids.complete(Fault.of(FaultCode.NOT_FOUND)), ids.headers())
