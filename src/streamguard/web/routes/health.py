"""The health routes. They ask for no authentication, and name no owner, session or stream."""

from __future__ import annotations

from starlette.responses import Response

from ...errors import NotStartedError
from ..guard_context import GuardContext
from ..headers import RawHeaders
from .json_response import json_response
from .paths import RouteName

__all__ = ["HEALTH_ROUTES", "health_response"]

HEALTH_ROUTES = frozenset({RouteName.LIVE, RouteName.READY, RouteName.STREAMING})


def health_response(context: GuardContext, route: RouteName, headers: RawHeaders) -> Response:
    """The answer of one of the health routes."""
    if route is RouteName.LIVE:
        return json_response({"status": "ok"}, 200, headers)
    try:
        health = context.runtime.health()
    except NotStartedError:
        return json_response({"status": "not_started", "reasons": ["not_started"]}, 503, headers)
    why = {} if health.store_reason is None else {"store_reason": str(health.store_reason)}
    if route is RouteName.READY:
        status = "ready" if health.ready else "not_ready"
        document = {"status": status, "reasons": list(health.reasons), **why}
        return json_response(document, 200 if health.ready else 503, headers)
    reasons = list(health.steady)
    return json_response(
        {
            "status": "draining" if health.draining else "degraded" if reasons else "ok",
            "reasons": reasons,
            "streams": health.streams,
            "degraded_streams": health.degraded_streams,
            "viewers": health.viewers,
            **why,
        },
        200,
        headers,
    )
