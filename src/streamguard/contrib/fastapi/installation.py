"""Installs a guard in an application or a router of FastAPI's, and documents what it guards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, params
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...guard import StreamGuard
from ...web.application.fastapi_events import fastapis_event_class
from ...web.application.guarded_endpoint import guards_of
from ...web.application.route_tree import leaf_routes
from ...web.endpoint.endpoint import GuardedEndpoint
from ...web.endpoint_registry import EndpointRegistry
from ...web.misuse import Misuse
from ...web.routes.health import HEALTH_ROUTES
from ...web.routes.paths import RouteName
from ...web.routes.route import ROUTE_MARK, Answer, RouteMark
from .._openapi.answers import StreamguardError
from .._openapi.descriptions import Described, Responses, endpoint_responses
from .documentation import documentation_of, endpoint_of
from .guard_api_route import GuardAPIRoute, target_in

__all__ = ["describe", "install"]


def install(
    guard: StreamGuard,
    app_or_router: FastAPI | APIRouter,
    prefix: str,
    *,
    dependencies: Sequence[params.Depends] = (),
    tags: Sequence[str | Enum] = ("streamguard",),
    include_in_schema: bool = True,
) -> None:
    """Add the guard's routes under `prefix`, as routes of FastAPI's: it runs dependencies for them, and documents them.

    Like `guard.install`, which needs no FastAPI: the routes come first, paths that the application spells out stay its
    own, and an application gets the guard's outermost layer. A router's routes are first in the router, under the
    router's own prefix and those under which it is included. Install in it before it is included.

    The application's and the routers' own `dependencies=[…]` run for the routes too. Every route of a session still
    asks the guard's `authenticate`, which says whose sessions these are; dependencies can only refuse more.

    Guarded endpoints are documented too: those of the application, with all routers that it includes, or those of the
    router. See `describe`.

    Args:
        guard: whose routes.
        app_or_router: a `FastAPI` application that has not started, or an `APIRouter`.
        prefix: the routes' path, such as `/api/chat`. For a router that has a prefix of its own, it may be empty.
        dependencies: run before each route but health, which a load balancer asks without being signed in. They may
            take the path parameters `session` and `stream`.
        tags: under which OpenAPI shows the routes. Many hosts make the ids of operations from a route's first tag.
        include_in_schema: whether OpenAPI shows the routes at all.

    Raises:
        ConfigurationError: this is no application or router of FastAPI's, or it has started; the prefix is not a plain
            path, or a guard has it already; or the guard's routes would hide one of the application's.
    """
    router: object = getattr(app_or_router, "router", app_or_router)
    if not isinstance(router, APIRouter):
        remedy = "with a Starlette application, call guard.install(app, prefix)"
        raise Misuse.INSTALL_TARGET.error(given=f"a {type(app_or_router).__name__}", remedy=remedy)
    answer: Answer = guard._routes  # noqa: SLF001 -- an installer is part of the guard

    def add(endpoints: EndpointRegistry) -> None:
        before = len(router.routes)
        for route in RouteName:
            endpoint = _endpoint(route, answer, endpoints)
            for method in route.methods:
                said = documentation_of(route, method)
                router.add_api_route(
                    prefix + route.path,
                    endpoint,
                    methods=[method],
                    name=f"streamguard_{said.name}",
                    dependencies=() if route in HEALTH_ROUTES else list(dependencies),
                    include_in_schema=include_in_schema and method != "HEAD",
                    tags=list(tags) or None,
                    summary=said.summary,
                    responses=said.responses,
                    response_class=said.response_class,
                    status_code=said.status_code,
                    openapi_extra=said.openapi_extra,
                    route_class_override=GuardAPIRoute,
                )
        added = router.routes[before:]
        del router.routes[before:]
        # Those with the most segments first: `health` may be a session's id, but not with these names after it.
        router.routes[:0] = sorted(added, key=lambda route: "health" not in str(getattr(route, "path", "")))

    guard._installations.install_routes(app_or_router, prefix, add)  # noqa: SLF001 -- likewise
    describe(app_or_router)


def describe(app_or_router: FastAPI | APIRouter) -> None:
    """Have OpenAPI show what guarded endpoints answer: the stream, with its protocol, and streamguard's errors.

    `install` does it for what it installs in. Call it with the application where the routes are in a router and guarded
    endpoints are elsewhere. In an application it documents endpoints and routers that are added later too, until the
    document is made; in a router, the endpoints that are there, and later ones unless the router has a route class of
    its own. What an endpoint's own `responses=` or `response_class=` say stays as it is.

    Args:
        app_or_router: what the guarded endpoints are in.
    """
    _describe_routes(app_or_router.routes)
    if isinstance(app_or_router, APIRouter):
        if app_or_router.route_class is APIRoute:
            app_or_router.route_class = _DescribedRoute
        return
    app, make = app_or_router, app_or_router.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            _describe_routes(app.routes)
        return make()

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's page on extending OpenAPI does


class _DescribedRoute(APIRoute):
    """A route whose OpenAPI is complete if its endpoint is guarded."""

    def __init__(
        self, path: str, endpoint: Callable[..., Any], **options: Any
    ) -> None:  # FastAPI's own, which grow with it
        super().__init__(path, endpoint, **options)
        _describe(self)


def _endpoint(route: RouteName, answer: Answer, endpoints: EndpointRegistry) -> Callable[..., Any]:
    async def answered(request: Request) -> Response:
        return await answer(target_in(request), request)

    endpoint = endpoint_of(route, answered)
    setattr(endpoint, ROUTE_MARK, RouteMark(route, answer, endpoints))
    return endpoint


def _describe_routes(routes: Iterable[BaseRoute]) -> None:
    for leaf in leaf_routes(routes):
        _describe(leaf.route)


def _describe(route: object) -> None:
    """Complete what a route says of a guarded endpoint. An included route of newer FastAPI is a copy of its state."""
    guarded = next(guards_of(getattr(route, "endpoint", None)), None)
    responses: Responses | None = getattr(route, "responses", None)
    if guarded is None or responses is None:
        return
    said = {str(status) for status in responses}
    protocol = guarded.protocol if isinstance(guarded, GuardedEndpoint) else None
    if fastapis_event_class(route) is not None:  # it is known once the guard has taken the route over
        protocol = None
    described = endpoint_responses(protocol, getattr(route, "status_code", None))
    # They refer to a component, which FastAPI makes of the models of a route's responses.
    fields = {**getattr(route, "response_fields", {}), "streamguard": _error_field()}
    route.response_fields = fields  # type: ignore[attr-defined] # a route of FastAPI's has it
    if not isinstance(getattr(route, "response_class", None), type):  # the default, in FastAPI's wrapper
        route.response_class = Described  # type: ignore[attr-defined] # likewise
        # Where newer FastAPI includes the route it makes the fields anew, from models. One of them is enough.
        described[500] = {**described[500], "model": StreamguardError}
    responses.update({status: response for status, response in described.items() if str(status) not in said})


@cache
def _error_field() -> object:
    """What a route of FastAPI's makes of the model of an error, by itself."""

    def nothing() -> None:
        """Never called."""

    (field,) = APIRoute("/", nothing, responses={500: {"model": StreamguardError}}).response_fields.values()
    return field
