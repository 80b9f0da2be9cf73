"""The routes as Starlette sees them: one `BaseRoute` that claims exactly the paths that are ours.

A framework may have other routes of ours instead, whose endpoint carries a `RouteMark`: see `streamguard.contrib`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Mount, NoMatchFound
from starlette.types import Receive, Scope, Send

from ..application.route_tree import LeafRoute, matches
from ..endpoint_registry import EndpointRegistry
from .paths import RouteName, RouteTarget, target_of

__all__ = ["ROUTE_MARK", "Answer", "GuardRoute", "OwnRoute", "RouteMark", "belongs_to_host", "own_route"]

Answer = Callable[[RouteTarget, Request], Awaitable[Response]]
"""Answers a request to one of the routes."""


ROUTE_MARK: Final = "__streamguard_route__"
"""The attribute by which an endpoint of ours, in a route of the framework's, has its `RouteMark`."""


class RouteMark(NamedTuple):
    """What an endpoint of ours answers."""

    route: RouteName
    answer: Answer
    endpoints: EndpointRegistry
    """The endpoints of the guard whose route this is."""


class OwnRoute(NamedTuple):
    """A route of a guard, of either kind."""

    endpoints: EndpointRegistry
    prefix: str
    """With the paths of the mounts and routers around it."""


class GuardRoute(BaseRoute):
    """Serves a guard's routes under `prefix`.

    Everything else under the prefix stays the host's: other paths, other methods where the host has a route for them,
    each path that the host spells out (`GET {prefix}/history`), preflights of the host's routes, and every request to a
    host name with routes of its own (`Host`), whether it was added before or after.
    """

    def __init__(
        self,
        prefix: str,
        answer: Answer,
        endpoints: EndpointRegistry,
        *,
        other_routes: Callable[[], Iterable[BaseRoute]] = tuple,
    ) -> None:
        self.prefix = prefix
        self.path: str = prefix + "/{session}"
        """For tools that name routes by their paths."""
        self.path_format: str = self.path
        self.answer = answer
        self.endpoints = endpoints
        """The endpoints of the guard whose routes these are."""
        self._other_routes = other_routes

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full for our paths and methods; partial for our paths with another method; none otherwise."""
        target = target_of(scope, self.prefix) if scope["type"] == "http" else None
        if target is None:
            return Match.NONE, {}
        if scope["method"] not in target.route.methods and scope["method"] != "OPTIONS":
            return Match.PARTIAL, {"endpoint": self.answer}
        if belongs_to_host(self._other_routes(), scope):
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.answer}

    def url_path_for(self, name: str, /, **path_params: object) -> NoReturn:
        """Our routes have no names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matched."""
        target = target_of(scope, self.prefix)
        if target is None:
            raise RuntimeError("handled a request that this route does not match")
        response = await self.answer(target, Request(scope, receive, send))
        await response(scope, receive, send)


def belongs_to_host(routes: Iterable[BaseRoute], scope: Scope) -> bool:
    """Whether a route of the host's spells out a request's path or host name, or answers OPTIONS for it."""
    for route in routes:
        if isinstance(route, Host):
            if "{" not in route.host and route.matches(scope)[0] is Match.FULL:
                return True
        elif not isinstance(route, (GuardRoute, Mount)):
            for place in matches([route], scope):
                if place.spelled_out or (scope["method"] == "OPTIONS" and place.is_for("OPTIONS")):
                    return True
    return False


def own_route(leaf: LeafRoute) -> OwnRoute | None:
    """What a route of a guard is; None for a route of the host's."""
    if isinstance(leaf.route, GuardRoute):
        return OwnRoute(leaf.route.endpoints, leaf.path.removesuffix("/{session}"))
    mark = getattr(leaf.endpoint, ROUTE_MARK, None)
    if isinstance(mark, RouteMark):
        return OwnRoute(mark.endpoints, leaf.path.removesuffix(mark.route.path))
    return None
