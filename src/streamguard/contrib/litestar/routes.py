"""The guard's routes as Litestar's route handlers.

Measured on Litestar 2.25: an ASGI mount at the prefix takes over the application's own `POST {prefix}` and loses the
root path. So one handler of `{prefix}/{rest:path}` takes what no other route spells out, and finds the target in the
raw path, where a `%2F` inside an id is no slash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias, cast

import litestar
from litestar import HttpMethod, Response
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from starlette.types import Scope

from ...web.routes.health import HEALTH_ROUTES
from ...web.routes.paths import RouteName, target_of
from ...web.routes.route import Answer
from .request import StarletteRequest, unrouted
from .responses import GuardedResponse

__all__ = ["RouteGuard", "route_handlers"]

RouteGuard: TypeAlias = Callable[..., Awaitable[None] | None]
"""What Litestar calls a guard: a function of a connection and a route handler that raises for who may not come in."""

_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD, HttpMethod.POST, HttpMethod.DELETE]


def route_handlers(
    prefix: str, answer: Answer, *, whole_prefix: str, guards: Sequence[RouteGuard], opt: Mapping[str, object]
) -> list[HTTPRouteHandler]:
    """The handlers of the guard's routes under `prefix`; `whole_prefix` has the application's own path before it.

    `guards` protect all but those of its health, which is open to whoever watches the process, also where an
    authentication middleware of Litestar's is installed.
    """

    async def streamguard(request: litestar.Request) -> Response[str]:  # type: ignore[type-arg]
        target = target_of(unrouted(cast("Scope", request.scope)), whole_prefix)
        if target is None:
            raise NotFoundException
        return cast("Response[str]", GuardedResponse(await answer(target, StarletteRequest(request))))

    health = [prefix + name.path for name in RouteName if name in HEALTH_ROUTES]
    return [
        HTTPRouteHandler(
            prefix + "/{rest:path}",
            http_method=_METHODS,
            guards=guards,
            include_in_schema=False,
            opt=dict(opt),
            status_code=200,
        )(streamguard),
        HTTPRouteHandler(
            health,
            http_method=_METHODS,
            include_in_schema=False,
            opt={**opt, "exclude_from_auth": True},
            status_code=200,
        )(streamguard),
    ]
