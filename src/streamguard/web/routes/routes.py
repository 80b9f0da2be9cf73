"""The guard's routes: which answers which request. See the table in the reference."""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from ...errors import FaultError, NotStartedError
from ...faults import Fault, FaultCode
from ..guard_context import GuardContext
from ..headers import header_names, request_id_of
from ..middleware.exchange import exchange_of
from ..response.plain_responses import fault_response, no_content
from ..response_ids import ResponseIds
from .health import HEALTH_ROUTES, health_response
from .paths import RouteName, RouteTarget
from .resume import ResumeRoute
from .session import SessionRoutes

__all__ = ["Routes"]


class Routes:
    """Answers every request that `paths` recognises."""

    def __init__(self, context: GuardContext) -> None:
        self._context = context
        self._resume = ResumeRoute(context)
        self._session = SessionRoutes(context)

    async def __call__(self, target: RouteTarget, request: Request) -> Response:
        """The answer; failures are answers too.

        Raises:
            NotStartedError: the guard is not running (health answers that itself).
        """
        ids = ResponseIds(request_id_of(request.headers.get("x-request-id")))
        exchange_of(request.scope).ids = ids
        allow = (b"allow", ", ".join((*target.route.methods, "OPTIONS")).encode())
        if request.method == "OPTIONS":
            return no_content([*ids.headers(), allow])
        if request.method not in target.route.methods:
            fault = Fault.of(FaultCode.REQUEST_INVALID, status=405, reason="method_not_allowed")
            fault = ids.complete(fault)
            with suppress(NotStartedError):  # then nobody can be told
                self._context.observe_refusal(FaultError(fault), ids, request.scope)
            return fault_response(fault, [*ids.headers(), allow])
        if target.route in HEALTH_ROUTES:
            return health_response(self._context, target.route, ids.headers())
        runtime = self._context.started(request.scope)
        ids.trace = self._context.trace_of(request, header_names(request.scope), runtime)
        with self._context.checking(runtime, ids):
            if target.route is RouteName.RESUME:
                return await self._resume.answer(target, request, ids)
            try:
                return await self._session.answer(target, request, ids)
            except FaultError as exc:
                return fault_response(self._context.observe_refusal(exc, ids, request.scope), ids.headers())
