"""The routes as Starlette sees them: one `BaseRoute` that claims exactly the paths that are ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Mount, NoMatchFound
from starlette.types import Receive, Scope, Send

from .paths import Target, target_of

__all__ = ["GuardRoute"]


class GuardRoute(BaseRoute):
    """Serves a guard's routes under `prefix`.

    Everything else under the prefix stays the host's: other paths, other methods where the host has a route for them,
    and any path the host spells out (`GET {prefix}/history`), whether it was added before or after.
    """

    def __init__(
        self,
        prefix: str,
        answer: Callable[[Target, Request], Awaitable[Response]],
        *,
        beside: Callable[[], Iterable[BaseRoute]] = tuple,
    ) -> None:
        self.prefix = prefix
        self.path_format: str = prefix + "/{session}"
        self._answer = answer
        self._beside = beside

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full for our paths and methods; partial for our paths with another method; none otherwise."""
        target = target_of(scope, self.prefix) if scope["type"] == "http" else None
        if target is None:
            return Match.NONE, {}
        if scope["method"] not in target.route.methods and scope["method"] != "OPTIONS":
            return Match.PARTIAL, {"endpoint": self._answer}
        if self._spelled_out(scope):
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self._answer}

    def _spelled_out(self, scope: Scope) -> bool:
        """Whether another route has this very path, without a parameter in it."""
        known = scope.get("path_params", {})
        for route in self._beside():
            if route is self or isinstance(route, (GuardRoute, Mount, Host)):
                continue
            match, child = route.matches(scope)
            if match is Match.FULL and not child.get("path_params", {}).keys() - known.keys():
                return True
        return False

    def url_path_for(self, name: str, /, **path_params: object) -> NoReturn:
        """Our routes have no names."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that matched."""
        target = target_of(scope, self.prefix)
        if target is None:
            raise RuntimeError("handled a request that this route does not match")
        response = await self._answer(target, Request(scope, receive, send))
        await response(scope, receive, send)
