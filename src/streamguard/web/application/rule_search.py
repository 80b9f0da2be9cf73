"""Finds the rule of a `StreamGuardMiddleware` that a request may match, from outside all middlewares.

The outermost layer must know before anything else sees the request, and a middleware with rules may be anywhere below
it: in the application's stack, around one route, in an application that is mounted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, cast

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from ...locks import step_lock
from .guarded_endpoint import Guarded
from .route_tree import children_of, own_class, routes_of

__all__ = ["RuleHolder", "RuleSearch", "layers_around", "middleware_classes"]

_MAX_LAYERS: Final = 64
"""How many middlewares and mounts inside each other are looked through."""
_MARK: Final = "rule_for"
"""The method by which a middleware with rules is known."""
_making: Final = step_lock()
"""Held while an application's middlewares are made: the guards of several loops may be in one application."""


class RuleHolder(Protocol):
    """A middleware with rules."""

    def rule_for(self, scope: Scope) -> Guarded | None:
        """What guards this request, as far as its path and method tell."""


class RuleSearch:
    """The middlewares with rules in one application, as it is when this is made.

    Middlewares with rules are made, if they were not: Starlette makes those of a mounted application with its first
    request, which is too late for that request.
    """

    def __init__(self, app: object, *, depth: int = 0) -> None:
        self._holders: tuple[RuleHolder, ...] = tuple(
            cast("RuleHolder", layer) for layer in layers_around(app) if hasattr(type(layer), _MARK)
        )
        self._routes: list[BaseRoute] = []
        """All routes of the application, if there are rules behind one of them."""
        self._behind: dict[int, RuleSearch] = {}
        """By the `id` of the route."""
        routes = routes_of(app)
        if routes is not None and depth < _MAX_LAYERS:
            routes = list(_flat(routes))
            for route in routes:
                behind = RuleSearch(getattr(own_class(route), "app", None), depth=depth + 1)
                if behind.any:
                    self._behind[id(route)] = behind
            self._routes = routes if self._behind else []
        self.any: bool = bool(self._holders or self._behind)
        """Whether any request could match a rule."""

    def find(self, scope: Scope) -> Guarded | None:
        """What guards a request, by the first rule on its way; None if there is none."""
        for holder in self._holders:
            found = holder.rule_for(scope)
            if found is not None:
                return found
        for route in self._routes:
            match, child = route.matches({**scope})
            if match is Match.FULL:
                behind = self._behind.get(id(route))
                return None if behind is None else behind.find({**scope, **child})
        return None


def middleware_classes(app: object) -> Iterator[type]:
    """The classes of the middlewares around an application's router, also of one that has not begun yet."""
    for layer in layers_around(app):
        yield type(layer)
        if getattr(layer, "middleware_stack", layer) is None:
            for declared in getattr(layer, "user_middleware", ()):
                found = getattr(declared, "cls", None)
                if isinstance(found, type):
                    yield found


def layers_around(app: object) -> Iterator[object]:
    """An application and the middlewares around its router, from the outside in. Of an application that has not begun,
    and so has made no middlewares, only itself, unless one of them has rules."""
    for _ in range(_MAX_LAYERS):
        if app is None:
            return
        yield app
        app = _stack_of(app) or getattr(app, "app", None)


def _stack_of(app: object) -> object:
    stack: object = getattr(app, "middleware_stack", None)
    if stack is None and isinstance(app, Starlette) and any(hasattr(one.cls, _MARK) for one in app.user_middleware):
        with _making:
            stack = app.middleware_stack
            if stack is None:
                stack = app.middleware_stack = app.build_middleware_stack()
    return stack


def _flat(routes: Iterable[BaseRoute], depth: int = 0) -> Iterator[BaseRoute]:
    """Routes, with those of routers that FastAPI includes in their place."""
    for route in routes:
        included = children_of(route) if getattr(own_class(route), "app", None) is None else None
        if included is None or depth > _MAX_LAYERS:
            yield route
        else:
            yield from _flat(included, depth + 1)
