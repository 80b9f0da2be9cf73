"""What cannot work in the application inside a `StreamGuardMiddleware`: found when the guard starts."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware

from ..application.guarded_endpoint import guarded_endpoint, guards_of
from ..application.route_tree import leaf_routes, routes_of
from ..application.rule_search import middleware_classes
from ..misuse import Misuse, MisuseReport
from ..routes.route_checks import PARAMETER, PROBE, probe
from .stream_rule import StreamRule

__all__ = ["advice", "problems"]

_PROVIDED: Final[dict[str, type]] = {
    "session": SessionMiddleware,
    "user": AuthenticationMiddleware,
    "auth": AuthenticationMiddleware,
}
"""What `authenticate` may read of a connection that a middleware has to provide."""


def problems(rules: Iterable[StreamRule], app: object, authenticate: Callable[..., object]) -> Iterator[MisuseReport]:
    """What fails for every request."""
    inside = set(middleware_classes(app))
    for attribute in _attributes_read(authenticate):
        provider = _PROVIDED.get(attribute)
        if provider is not None and any(issubclass(found, provider) for found in inside):
            function = getattr(authenticate, "__name__", type(authenticate).__name__)
            values = {"function": function, "attribute": attribute, "inside": provider.__name__}
            yield MisuseReport(Misuse.RULES_OUTSIDE, values)
    for rule in rules:
        if rule.condition is None:
            for route in _guarded_below(rule, app):
                yield MisuseReport(Misuse.GUARDED_TWICE, {"endpoint": route, "rule": rule.name})


def advice(app: object) -> Iterator[MisuseReport]:
    """What works, but not for every client."""
    if any(issubclass(found, CORSMiddleware) for found in middleware_classes(app)):
        yield MisuseReport(Misuse.RULES_OUTSIDE_CORS, {})


def _guarded_below(rule: StreamRule, app: object) -> Iterator[str]:
    """The routes of decorated endpoints that a request of the rule would get to."""
    for method in sorted(rule.methods):
        for leaf in leaf_routes(routes_of(app) or ()):
            found = leaf.is_for(method) and any(guards_of(leaf.endpoint, method))
            if found and rule.pattern.match(PARAMETER.sub(PROBE, leaf.path)) is not None:
                yield str(leaf)
        path = "/".join(PROBE if part == "*" else part for part in rule.pattern.text.split("/"))
        if guarded_endpoint(probe(method, path), app) is not None:
            yield f"{method} {rule.pattern.text}"


def _attributes_read(function: Callable[..., object]) -> Iterator[str]:
    """The attributes that a function reads of its first argument, as its code shows."""
    code = _code_of(function)
    if code is None:
        return
    arguments = code.co_varnames[: code.co_argcount]
    first = next((name for name in arguments if name not in ("self", "cls")), None)
    loaded = False
    for instruction in dis.get_instructions(code):
        if loaded and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            yield str(instruction.argval)
        loaded = instruction.opname.startswith("LOAD_FAST") and instruction.argval == first


def _code_of(function: object) -> types.CodeType | None:
    called = function if isinstance(function, (types.FunctionType, types.MethodType)) else type(function).__call__
    code = getattr(called, "__code__", None)
    return code if isinstance(code, types.CodeType) else None
