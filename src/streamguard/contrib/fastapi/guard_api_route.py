"""One route of the guard's as FastAPI sees it, so that FastAPI runs the host's dependencies and documents the route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ...web.application.route_tree import routes_of
from ...web.routes.paths import RouteTarget, raw_path_of
from ...web.routes.route import ROUTE_MARK, RouteMark, belongs_to_host

__all__ = ["GuardAPIRoute", "target_in"]

_TARGET: Final = "streamguard.target"
"""Where a request's scope has the target of the route that matched."""
_ASKING: Final = "streamguard.asking"
"""In a scope: the host's routes are being asked, so ours answer nothing."""


class GuardAPIRoute(APIRoute):
    """Matches the raw path, where a `%2F` inside an id is no slash, and leaves the host what is its own, as
    `GuardRoute` does. Where FastAPI includes a router it may make a new one of each: all that it knows is in its
    endpoint's `RouteMark`.

    OPTIONS, and methods that the route does not have, are answered without dependencies, as nothing is told of a
    session then.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], **options: Any
    ) -> None:  # FastAPI's own, which grow with it
        self._mark: RouteMark = getattr(endpoint, ROUTE_MARK)
        self._end = self._mark.route.path.rpartition("}")[2]
        super().__init__(path, endpoint, **options)
        self._first = self._mark.route.methods[0] in (self.methods or ())
        """Whether this route, of those for one path, answers the methods that none of them has."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full for our path and this route's method, partial for another method, none otherwise."""
        if scope["type"] != "http" or _ASKING in scope or not scope["path"].endswith(self._end):
            return Match.NONE, {}
        if not self._first and scope["method"] not in (self.methods or ()):
            return Match.NONE, {}
        match, child = super().matches({**scope, "path": raw_path_of(scope), "root_path": ""})
        if match is Match.NONE:
            return match, {}
        child[_TARGET] = _target(self._mark, child["path_params"])
        child["path_params"] = _decoded(child["path_params"], scope.get("path_params", {}))
        if scope["method"] == "OPTIONS":
            match = Match.FULL
        host = routes_of(scope.get("app")) or ()
        if match is Match.FULL and belongs_to_host(host, {**scope, _ASKING: True}):
            return Match.NONE, {}
        return match, child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matched."""
        if scope["method"] in self._mark.route.methods:
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        response = await self._mark.answer(target_in(request), request)
        await response(scope, receive, send)


def target_in(request: Request) -> RouteTarget:
    """What a request that matched is for."""
    target: RouteTarget = request.scope[_TARGET]
    return target


def _target(mark: RouteMark, parameters: dict[str, Any]) -> RouteTarget:
    return RouteTarget(mark.route, str(parameters.get("session", "")), str(parameters.get("stream", "")))


def _decoded(parameters: dict[str, Any], outer: dict[str, Any]) -> dict[str, Any]:
    """The path's parameters as FastAPI has them elsewhere. Those of mounts, in `outer`, are decoded already."""
    return {
        name: unquote(value) if isinstance(value, str) and outer.get(name) is not value else value
        for name, value in parameters.items()
    }
