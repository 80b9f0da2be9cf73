"""What in an application's routes keeps requests from a guard, or from the host's own endpoints."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from starlette.routing import BaseRoute
from starlette.types import Scope

from ..application.guarded_endpoint import Guarded, guards_of
from ..application.route_tree import Place, layers_of, matches, places
from ..misuse import Case, Misuse
from .paths import RouteName
from .route import GuardRoute

__all__ = ["Decorated", "problems", "unprotected"]

Decorated = tuple[Callable[..., object], str, Guarded]
"""A function that was decorated, its name for messages, and what guards it."""

_PARAMETER: Final = re.compile(r"\{[^}]*\}")
_PROBE: Final = "streamguard-probe"
"""Stands for an id that no host spells out in a route."""


def problems(routes: Sequence[BaseRoute], answer: object, endpoints: Iterable[Decorated]) -> Iterator[Case]:
    """What keeps requests from the guard that answers with `answer` and decorated `endpoints`, or from the host. Each
    route of the host's once."""
    found = list(places(routes))
    yield from _bare_endpoints(found, endpoints)
    yield from _response_classes(found)
    for ours, prefix in _guard_routes(found, answer):
        told: set[str] = set()
        for method, path in ((method, target.path) for target in RouteName for method in target.methods):
            for other, case in _collisions(routes, ours.route, prefix, method, path):
                if str(other) not in told:
                    told.add(str(other))
                    yield case


def unprotected(routes: Sequence[BaseRoute], answer: object, app: object, ours: Iterable[Decorated]) -> Iterator[Case]:
    """FastAPI's dependencies that are run for our endpoints and not for our routes: those of `app`, an application's
    router, and those of routers with endpoints of ours, where FastAPI keeps these apart."""
    guards = {guarded for _, _, guarded in ours}
    given = [_dependencies_of("FastAPI", app)]
    for route in routes:
        router = getattr(route, "original_router", None)
        if any(not guards.isdisjoint(guards_of(place.endpoint)) for place in places([route] if router else [])):
            given.append(_dependencies_of("APIRouter", router))
    for _, prefix in _guard_routes(list(places(routes)), answer):
        for text in filter(None, given):
            yield Case(Misuse.UNPROTECTED_ROUTES, {"given": text, "prefix": prefix})


def _guard_routes(found: Iterable[Place], answer: object) -> Iterator[tuple[Place, str]]:
    for place in found:
        if isinstance(place.route, GuardRoute) and place.route.answer is answer:
            yield place, place.path.removesuffix("/{session}")


def _bare_endpoints(found: Sequence[Place], endpoints: Iterable[Decorated]) -> Iterator[Case]:
    """Functions that are registered as themselves, while what the decorator made of them is not registered at all."""
    registered: set[Guarded] = {guard for place in found for guard in guards_of(place.endpoint)}
    for function, name, guarded in endpoints:
        if guarded in registered:
            continue
        for place in found:
            if any(_is_same(layer, function) for layer in layers_of(place.endpoint)):
                yield Case(Misuse.DECORATORS_SWAPPED, {"route": place, "endpoint": name})
                break


def _response_classes(found: Iterable[Place]) -> Iterator[Case]:
    """Measured on FastAPI 0.165: whatever an endpoint with its SSE response class gives is iterated, and a guarded one
    gives a coroutine."""
    for place in found:
        given = getattr(place.route, "response_class", None)
        response_class = getattr(given, "value", given)  # one by default is wrapped
        if (
            isinstance(response_class, type)
            and any(cls.__module__ == "fastapi.sse" for cls in response_class.__mro__)
            and any(guards_of(place.endpoint))
        ):
            yield Case(Misuse.SSE_RESPONSE_CLASS, {"route": place, "given": response_class.__name__})


def _collisions(
    routes: Sequence[BaseRoute], ours: BaseRoute, prefix: str, method: str, path: str
) -> Iterator[tuple[Place, Case]]:
    """What else would answer a request to one of our routes."""
    candidates = list(matches(routes, _probe(method, prefix + path)))
    index = next((n for n, place in enumerate(candidates) if place.route is ours), None)
    if index is None:
        return  # spelled out by the host
    answer = getattr(ours, "answer", None)
    for n, place in enumerate(candidates):
        values = {"method": method, "path": prefix + path, "prefix": prefix, "route": place}
        if isinstance(place.route, GuardRoute):
            if place.route.answer is not answer:
                yield place, Case(Misuse.PREFIX_TAKEN, {"prefix": prefix})
        elif n < index and not place.spelled_out:
            yield place, Case(Misuse.GUARD_HIDDEN, values)
        elif n > index and _is_meant(place, prefix):
            yield place, Case(Misuse.ROUTE_HIDDEN, values)


def _is_meant(place: Place, prefix: str) -> bool:
    """Whether a route was written for paths below `prefix`, other than one that takes whatever is left over."""
    rest = place.path.removeprefix(prefix + "/")
    return rest != place.path and ":path}" not in rest.partition("}")[0] + "}" and "{" in rest


def _probe(method: str, path: str) -> Scope:
    path = _PARAMETER.sub(_PROBE, path)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
    }


def _is_same(one: object, other: Callable[..., object]) -> bool:
    return one is other or (isinstance(one, types.MethodType) and one == other)


def _dependencies_of(kind: str, router: object) -> str | None:
    """FastAPI's `dependencies=[…]` of a router, as written; None where it has none."""
    found: Iterable[object] = getattr(router, "dependencies", None) or ()
    names = [_dependency(dependency) for dependency in found]
    return f"{kind}(dependencies=[{', '.join(names)}])" if names else None


def _dependency(depends: object) -> str:
    function = getattr(depends, "dependency", None)
    return f"{type(depends).__name__}({getattr(function, '__name__', type(function).__name__)})"
