"""Walks an application's routes: through mounts, routers that FastAPI includes, middlewares and wrappers."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Match, Mount, Router
from starlette.types import Scope

__all__ = [
    "LeafRoute",
    "applications_in",
    "children_of",
    "first_match",
    "layers_of",
    "leaf_routes",
    "leaves_behind",
    "matches",
    "own_class",
    "routes_of",
]

_MAX_LAYERS: Final = 64
"""How many middlewares, wrappers and mounts inside each other are looked through."""
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")


@dataclass(frozen=True, slots=True)
class LeafRoute:
    """One route that leads to no other."""

    route: BaseRoute
    path: str
    """Beginning with the paths of the mounts around it; parameters in braces."""
    scope: Scope | None = None
    """The scope of the request that it was found for, as its route would change it."""

    @property
    def endpoint(self) -> object:
        """The endpoint that it calls; None for a route of another kind."""
        return getattr(self.route, "endpoint", None)

    @property
    def spelled_out(self) -> bool:
        """Whether it is for exactly one path."""
        route = self.route
        one = hasattr(route, "path") and not isinstance(route, (Mount, Host)) and children_of(route) is None
        return one and "{" not in self.path

    def is_for(self, method: str) -> bool:
        """Whether its route names this method."""
        return method in (getattr(self.route, "methods", None) or ())

    def __str__(self) -> str:
        """For messages: `GET /chats/{id} (list_chats)`."""
        methods = sorted(set(getattr(self.route, "methods", None) or ()) - {"HEAD"})
        name = getattr(self.route, "name", "") or type(self.route).__name__
        return f"{' '.join([*methods, self.path or '/'])} ({name})"


def leaf_routes(routes: Iterable[BaseRoute], path: str = "", *, depth: int = 0) -> Iterator[LeafRoute]:
    """Every leaf route, in the order in which Starlette asks them."""
    for route in routes:
        children = children_of(route) if depth < _MAX_LAYERS else None
        if children is None:
            yield LeafRoute(route, path + _path_of(route))
        else:
            yield from leaf_routes(children, path + _mount_path_of(route), depth=depth + 1)


def matches(routes: Iterable[BaseRoute], scope: Scope, path: str = "") -> Iterator[LeafRoute]:
    """Every leaf route that a request could be routed to. Starlette takes the first route that matches, also a mount
    that has no route for the request: then the mount itself is the leaf."""
    for route in routes:
        match, child = route.matches({**scope})
        if match is Match.FULL:
            yield from leaves_behind(route, {**scope, **child}, path)


def leaves_behind(route: BaseRoute, scope: Scope, path: str = "") -> Iterator[LeafRoute]:
    """As `matches`, behind a route that matches already. `scope` is that of the request as the route changes it."""
    children = children_of(route)
    if children is None:
        yield LeafRoute(route, path + _path_of(route), scope)
        return
    inner = path + _mount_path_of(route)
    found = False
    for leaf in matches(children, scope, inner):
        found = True
        yield leaf
    if not found:
        yield LeafRoute(route, inner)


def first_match(routes: Iterable[BaseRoute], scope: Scope) -> LeafRoute | None:
    """The leaf route that a request is routed to; None if no route matches."""
    return next(matches(routes, scope), None)


def children_of(route: BaseRoute) -> Iterable[BaseRoute] | None:
    """The routes behind a mount, a host or an included router; None for a leaf route."""
    included = getattr(route, "effective_route_contexts", None)
    if included is not None:  # newer FastAPI: `include_router` copies no routes
        return [own_class(found) for found in included()]
    return routes_of(getattr(own_class(route), "app", None))


def routes_of(app: object) -> Sequence[BaseRoute] | None:
    """Starlette's routes of an application or router, through the middlewares around it; None for anything else.

    Once a request, so that it looks at no single route of one of Starlette's own: an application may have hundreds.
    """
    if isinstance(app, (Starlette, Router)):
        return app.routes
    for layer in applications_in(app):
        routes = getattr(layer, "routes", None)
        if isinstance(routes, (list, tuple)):
            return routes if all(isinstance(route, BaseRoute) for route in routes) else None
    return None


def applications_in(app: object) -> Iterator[object]:
    """An application, and what it wraps, if it is a middleware."""
    for _ in range(_MAX_LAYERS):
        if app is None:
            return
        yield app
        app = getattr(app, "app", None)


def layers_of(endpoint: object, method: str | None = None) -> Iterator[object]:
    """An endpoint and everything that it wraps. Of an `HTTPEndpoint`: the handler of `method`, or of every method."""
    if isinstance(endpoint, type):
        for name in _METHODS if method is None else [method.lower()]:
            yield from layers_of(getattr(endpoint, name, None), method)
        return
    for _ in range(_MAX_LAYERS):
        if endpoint is None:
            return
        yield endpoint
        inner = "func" if isinstance(endpoint, functools.partial) else "__wrapped__"
        endpoint = getattr(endpoint, inner, None)


def own_class(route: object) -> BaseRoute:
    """The route itself, if FastAPI includes it in a wrapper, as it does with a mount."""
    inner = getattr(route, "starlette_route", None)
    return inner if isinstance(inner, BaseRoute) else cast("BaseRoute", route)


def _path_of(route: BaseRoute) -> str:
    return str(getattr(route, "path", ""))


def _mount_path_of(route: BaseRoute) -> str:
    """An included router's routes have its prefix in their own paths; a host has no path."""
    return "" if hasattr(route, "effective_route_contexts") else _path_of(own_class(route))
