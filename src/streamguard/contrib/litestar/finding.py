"""Finds the guarded endpoint that a request to a Litestar application is for."""

from __future__ import annotations

from typing import cast

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.types import Method
from litestar.utils import normalize_path
from starlette.types import Scope

from ...web.application.guarded_endpoint import Guarded, guards_of

__all__ = ["guarded_in", "handler_for"]


def guarded_in(application: object, scope: Scope) -> Guarded | None:
    """The guarded endpoint of `scope`: by the route handler that Litestar chose, or will choose."""
    handler = scope.get("route_handler")
    if handler is None and isinstance(application, Litestar) and scope["type"] == "http":
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        handler = handler_for(application, scope["method"], path.split(root, maxsplit=1)[-1] if root else path)
    return None if handler is None else next(guards_of(handler.fn), None)


def handler_for(application: Litestar, method: str, path: str) -> BaseRouteHandler | None:
    """The route handler for a path below the root path; None if there is none."""
    try:
        route = application.asgi_router.handle_routing(path=normalize_path(path), method=cast("Method", method))
    except Exception:  # noqa: BLE001 -- Litestar answers such a request, and converters of hosts may raise anything
        return None
    return cast("BaseRouteHandler", route[1])
