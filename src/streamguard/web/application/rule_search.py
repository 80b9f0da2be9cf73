"""Finds the rule of a `StreamGuardMiddleware` that a request may match, from outside all middlewares.

The outermost layer must know before anything else sees the request, and a middleware with rules may be anywhere below
it: in the application's stack, around one route, in an application that is mounted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, cast, runtime_checkable

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from .guarded_endpoint import Guarded
from .route_tree import children_of, own_class, routes_of

__all__ = ["RuleHolder", "has_rules", "layers_around", "middleware_classes", "rule_for"]

_MAX_LAYERS: Final = 64
"""How many middlewares and mounts inside each other are looked through."""


@runtime_checkable
class RuleHolder(Protocol):
    """A middleware with rules."""

    def rule_for(self, scope: Scope) -> Guarded | None:
        """What guards this request, as far as its path and method tell."""


def rule_for(app: object, scope: Scope, *, depth: int = 0) -> Guarded | None:
    """What guards a request, by the first rule on its way through `app`; None if there is none."""
    for layer in layers_around(app):
        if isinstance(layer, RuleHolder):
            found = layer.rule_for(scope)
            if found is not None:
                return found
    routes = routes_of(app)
    return None if routes is None or depth > _MAX_LAYERS else _rule_below(routes, scope, depth)


def has_rules(app: object, *, depth: int = 0) -> bool:
    """Whether any request could match a rule. Middlewares with rules are made, if they were not: Starlette makes those
    of a mounted application with its first request, which is too late for that request."""
    for layer in layers_around(app):
        if isinstance(layer, RuleHolder):
            return True
    if depth > _MAX_LAYERS:
        return False
    return any(has_rules(found, depth=depth + 1) for found in _apps_of(routes_of(app) or ()))


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
    if (
        stack is None
        and isinstance(app, Starlette)
        and any(hasattr(one.cls, "rule_for") for one in app.user_middleware)
    ):
        stack = app.middleware_stack = app.build_middleware_stack()
    return stack


def _rule_below(routes: Iterable[BaseRoute], scope: Scope, depth: int) -> Guarded | None:
    for route in routes:
        match, child = route.matches({**scope})
        if match is not Match.FULL:
            continue
        inside: Scope = {**scope, **child}
        app = getattr(own_class(route), "app", None)
        if app is not None:
            return rule_for(app, inside, depth=depth + 1)
        return _rule_below(children_of(route) or (), inside, depth + 1) if depth < _MAX_LAYERS else None
    return None


def _apps_of(routes: Iterable[BaseRoute], depth: int = 0) -> Iterator[object]:
    for route in routes:
        app = getattr(own_class(route), "app", None)
        if app is not None:
            yield cast("object", app)
        elif depth < _MAX_LAYERS:
            yield from _apps_of(children_of(route) or (), depth + 1)
