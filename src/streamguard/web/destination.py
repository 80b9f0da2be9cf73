"""Which guarded endpoint a request is for, as far as that can be told before its body is read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, cast

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

__all__ = ["MARK", "Guarded", "guarded_endpoint"]

MARK: Final = "__streamguard_endpoint__"
"""The attribute by which a decorated function names its `Guarded`; `functools.wraps` copies it."""
_MAX_LAYERS: Final = 64
"""Middlewares and wrappers one on the other that are looked through."""


class Guarded(Protocol):
    """A guarded endpoint, as far as its requests' bodies concern it."""

    @property
    def max_request_bytes(self) -> int:
        """The limit of its requests' bodies."""

    def too_large(self, scope: Scope) -> Response:
        """The answer to a request whose body was refused; it has been observed."""


def guarded_endpoint(scope: Scope, routes: Callable[[], Iterable[BaseRoute]]) -> Guarded | None:
    """The guarded endpoint that `scope` is for; None for a request that is none of ours.

    Once the framework has routed it, `scope` says so. A middleware may read the body before that: then the request is
    matched against `routes`, the application's, and those of whatever is mounted in it.
    """
    endpoint = scope.get("endpoint")
    if endpoint is not None:
        below = _routes_of(endpoint)
        if below is None:
            return _guarded(endpoint, scope["method"])
        return _routed(below, scope)
    return _routed(routes(), scope)


def _routed(routes: Iterable[BaseRoute], scope: Scope) -> Guarded | None:
    for route in routes:
        match, child = route.matches({**scope})
        if match is Match.FULL:
            return _behind(route, {**scope, **child})
    return None


def _behind(route: BaseRoute, scope: Scope) -> Guarded | None:
    """What a route that matches leads to."""
    included = getattr(route, "effective_route_contexts", None)
    if included is not None:  # FastAPI's newer `include_router` copies no routes, but gives them so
        return _routed(cast("Iterable[BaseRoute]", included()), scope)
    inner = getattr(route, "starlette_route", None)
    if isinstance(inner, BaseRoute):  # one of those that FastAPI has no class of its own for, such as a mount
        return _behind(inner, scope)
    endpoint = scope.get("endpoint")
    below = _routes_of(endpoint)
    if below is not None:
        return _routed(below, scope)
    return _guarded(endpoint, scope["method"])


def _routes_of(app: object) -> Sequence[BaseRoute] | None:
    """The routes of an application or router, whatever middlewares are around it; None for anything else."""
    for _ in range(_MAX_LAYERS):
        routes = getattr(app, "routes", None)
        if isinstance(routes, (list, tuple)):
            return routes
        app = getattr(app, "app", None)
        if app is None:
            break
    return None


def _guarded(endpoint: object, method: str) -> Guarded | None:
    """The endpoint under whatever decorates it."""
    for _ in range(_MAX_LAYERS):
        found = getattr(endpoint, MARK, None)
        if found is not None:
            return cast("Guarded", found)
        if isinstance(endpoint, type):  # an `HTTPEndpoint`: a method each
            endpoint = getattr(endpoint, method.lower(), None)
        elif isinstance(endpoint, functools.partial):
            endpoint = endpoint.func
        else:
            endpoint = getattr(endpoint, "__wrapped__", None)
        if endpoint is None:
            break
    return None
