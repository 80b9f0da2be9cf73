"""What in an application's routes keeps requests from a guard, or from the host's own endpoints."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from starlette.routing import BaseRoute
from starlette.types import Scope

from ..application.fastapi_events import fastapis_event_class
from ..application.guarded_endpoint import Guarded, guards_of
from ..application.route_tree import LeafRoute, layers_of, leaf_routes, matches
from ..endpoint_registry import DecoratedEndpoint, EndpointRegistry
from ..misuse import Misuse, MisuseReport
from .paths import RouteName
from .route import GuardRoute, OwnRoute, own_route

__all__ = ["PARAMETER", "PROBE", "probe", "problems", "unprotected"]

PARAMETER: Final = re.compile(r"\{[^}]*\}")
"""A parameter in a route's path."""
PROBE: Final = "streamguard-probe"
"""An id that no host spells out in a route."""


def problems(routes: Sequence[BaseRoute], endpoints: EndpointRegistry) -> Iterator[MisuseReport]:
    """What keeps requests from the guard of `endpoints`, or from the host. Reports each route of the host's once."""
    leaves = list(leaf_routes(routes))
    yield from _undecorated_endpoints(leaves, endpoints.decorated)
    yield from _response_classes(leaves)
    found = [own_route(leaf) for leaf in leaves]
    for ours in dict.fromkeys(own for own in found if own is not None and own.endpoints is endpoints):
        reported: set[str] = set()
        for method, path in ((method, name.path) for name in RouteName for method in name.methods):
            for other, report in _collisions(routes, ours, method, path):
                if str(other) not in reported:
                    reported.add(str(other))
                    yield report


def unprotected(routes: Sequence[BaseRoute], app: object, endpoints: EndpointRegistry) -> Iterator[MisuseReport]:
    """FastAPI's dependencies that run for our endpoints but not for our routes: those of `app`, an application's
    router, and those of routers with endpoints of ours, where FastAPI keeps these apart."""
    guards = {endpoint.guarded for endpoint in endpoints.decorated}
    dependencies = [_dependencies_of("FastAPI", app)]
    for route in routes:
        router = getattr(route, "original_router", None)
        if any(not guards.isdisjoint(guards_of(leaf.endpoint)) for leaf in leaf_routes([route] if router else [])):
            dependencies.append(_dependencies_of("APIRouter", router))
    for leaf in leaf_routes(routes):
        ours = own_route(leaf) if isinstance(leaf.route, GuardRoute) else None  # others run dependencies
        if ours is not None and ours.endpoints is endpoints:
            for text in filter(None, dependencies):
                yield MisuseReport(Misuse.UNPROTECTED_ROUTES, {"given": text, "prefix": ours.prefix})


def _undecorated_endpoints(
    leaves: Sequence[LeafRoute], decorated: Iterable[DecoratedEndpoint]
) -> Iterator[MisuseReport]:
    """Functions that are registered as they are, while what the decorator made of them is registered nowhere."""
    registered: set[Guarded] = {guard for leaf in leaves for guard in guards_of(leaf.endpoint)}
    for endpoint in decorated:
        if endpoint.guarded in registered:
            continue
        for leaf in leaves:
            if any(_is_same(layer, endpoint.function) for layer in layers_of(leaf.endpoint)):
                yield MisuseReport(Misuse.DECORATORS_SWAPPED, {"route": leaf, "endpoint": endpoint.name})
                break


def _response_classes(leaves: Iterable[LeafRoute]) -> Iterator[MisuseReport]:
    """Guarded endpoints that still have FastAPI's SSE response class, because their routes could not be taken over."""
    for leaf in leaves:
        response_class = fastapis_event_class(leaf.route)
        if response_class is not None and any(guards_of(leaf.endpoint)):
            yield MisuseReport(Misuse.SSE_RESPONSE_CLASS, {"route": leaf, "given": response_class.__name__})


def _collisions(
    routes: Sequence[BaseRoute], ours: OwnRoute, method: str, path: str
) -> Iterator[tuple[LeafRoute, MisuseReport]]:
    """The other routes that would answer a request to one of ours."""
    prefix = ours.prefix
    candidates = list(matches(routes, probe(method, prefix + path)))
    index = next((n for n, leaf in enumerate(candidates) if own_route(leaf) == ours), None)
    if index is None:
        return  # spelled out by the host
    for n, leaf in enumerate(candidates):
        values = {"method": method, "path": prefix + path, "prefix": prefix, "route": leaf}
        own = own_route(leaf)
        if own is not None:
            if own.endpoints is not ours.endpoints:
                yield leaf, MisuseReport(Misuse.PREFIX_TAKEN, {"prefix": prefix})
        elif n < index and not leaf.spelled_out:
            yield leaf, MisuseReport(Misuse.GUARD_HIDDEN, values)
        elif n > index and _is_below(leaf, prefix):
            yield leaf, MisuseReport(Misuse.ROUTE_HIDDEN, values)


def _is_below(leaf: LeafRoute, prefix: str) -> bool:
    """Whether a route was written for paths below `prefix`; not so a catch-all route."""
    rest = leaf.path.removeprefix(prefix + "/")
    return rest != leaf.path and ":path}" not in rest.partition("}")[0] + "}" and "{" in rest


def probe(method: str, path: str) -> Scope:
    """The scope of a request that is never made; parameters of `path` are any text."""
    path = PARAMETER.sub(PROBE, path)
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
