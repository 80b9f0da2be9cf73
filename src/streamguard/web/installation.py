"""Installing a guard in applications, and what in their routes keeps requests from it, or from the host."""

from __future__ import annotations

import re
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Router
from starlette.types import Scope

from ..errors import ConfigurationWarning
from ..model import Observation
from .destination import Guarded, guards_of
from .gate import Gate
from .misuse import Misuse
from .mounting import add_outermost_layer
from .paths import RouteName
from .route import GuardRoute
from .route_tree import Place, layers_of, matches, places
from .routes import Routes

__all__ = ["Installations"]

_PARAMETER: Final = re.compile(r"\{[^}]*\}")
_PROBE: Final = "streamguard-probe"
"""Stands for an id that no host spells out in a route."""
_CALLER: Final = 3
"""How far from here whoever calls `guard.install` is."""


class Installations:
    """The applications that one guard is installed in, or starts with.

    Our routes come first in their application: a catch-all route, a mount at `/` and static files take nothing from
    them, wherever they are declared. A path that the host spells out stays the host's (see `GuardRoute`).
    """

    def __init__(self, gate: Gate, routes: Routes) -> None:
        self._gate = gate
        self._routes = routes
        self._apps: list[weakref.ref[Starlette]] = []

    def install(self, app: object, prefix: str) -> None:
        """Add the routes and the outermost layer to an application.

        Raises:
            ConfigurationError: the application, the prefix or what is there already does not admit it.
        """
        if not prefix.startswith("/") or prefix.endswith("/") or any(mark in prefix for mark in "{}?#%"):
            raise Misuse.INSTALL_PREFIX.error(prefix=prefix)
        if not isinstance(app, Starlette):
            raise Misuse.INSTALL_TARGET.error(given=_described(app), remedy=_instead_of(app, prefix))
        routes = app.router.routes
        if any(isinstance(route, GuardRoute) and route.prefix == prefix for route in routes):
            raise Misuse.PREFIX_TAKEN.error(prefix=prefix)
        add_outermost_layer(app)
        routes.insert(0, GuardRoute(prefix, self._routes, beside=lambda: app.router.routes))
        self._gate.installed = True
        self._know(app)
        for advice in self._check(app):
            warnings.warn(str(advice.fields["warning"]), ConfigurationWarning, stacklevel=_CALLER)

    def started_by(self, app: object) -> None:
        """The guard starts with this application, so it is the outermost one: have the layer there, and look at its
        routes too."""
        if isinstance(app, Starlette):
            add_outermost_layer(app, running=True)
            self._know(app)

    def check(self) -> list[Observation]:
        """Look at the routes of every application once more: they are complete when the guard starts. Gives warnings
        for observers.

        Raises:
            ConfigurationError: a request that is meant for the guard does not get to it, or one that is meant for the
                host does.
        """
        apps = [app for ref in self._apps if (app := ref()) is not None]
        return [advice for app in apps for advice in self._check(app)]

    def _know(self, app: Starlette) -> None:
        self._apps = [ref for ref in self._apps if ref() not in (None, app)] + [weakref.ref(app)]

    def _check(self, app: Starlette) -> list[Observation]:
        found = list(places(app.router.routes))
        self._check_decorators(found)
        advice: list[Observation] = []
        for place in found:
            if isinstance(place.route, GuardRoute) and place.route.answer is self._routes:
                prefix = place.path.removesuffix("/{session}")
                for target in RouteName:
                    self._check_reached(app.router.routes, place.route, prefix, target)
                advice += [
                    Misuse.UNPROTECTED_ROUTES.observation(given=given, prefix=prefix)
                    for given in self._dependencies(app)
                ]
        return advice

    def _dependencies(self, app: Starlette) -> Iterator[str]:
        """FastAPI's dependencies that are run for our endpoints and not for our routes: the application's, and those of
        routers with endpoints of ours, where FastAPI keeps these apart."""
        if (given := _dependencies_of("FastAPI", app.router)) is not None:
            yield given
        ours = {guarded for _, _, guarded in self._gate.endpoints}
        for route in app.router.routes:
            given = _dependencies_of("APIRouter", getattr(route, "original_router", None))
            if given and any(not ours.isdisjoint(guards_of(place.endpoint)) for place in places([route])):
                yield given

    # -- what keeps requests from the guard ---------------------------------------------------------------------------

    def _check_decorators(self, found: Sequence[Place]) -> None:
        """Each function that was decorated is registered as what the decorator made of it, not as itself."""
        if not self._gate.endpoints:
            return
        registered: set[Guarded] = {guard for place in found for guard in guards_of(place.endpoint)}
        for function, name, guarded in self._gate.endpoints:
            if guarded in registered:
                continue
            for place in found:
                if any(_is_same(layer, function) for layer in layers_of(place.endpoint)):
                    raise Misuse.DECORATORS_SWAPPED.error(route=place, endpoint=name)

    def _check_reached(self, routes: list[BaseRoute], ours: GuardRoute, prefix: str, target: RouteName) -> None:
        """A request to one of our routes gets there, and no route of the host's was meant for it."""
        for method in target.methods:
            candidates = list(matches(routes, _probe(method, prefix + target.path)))
            index = next((n for n, place in enumerate(candidates) if place.route is ours), None)
            if index is None:
                continue  # spelled out by the host
            others = [n for n, place in enumerate(candidates) if not isinstance(place.route, GuardRoute)]
            for n in others:
                place = candidates[n]
                case = {"method": method, "path": prefix + target.path, "prefix": prefix, "route": place}
                if n < index and not place.spelled_out:
                    raise Misuse.GUARD_HIDDEN.error(**case)
                if n > index and _is_meant(place, prefix):
                    raise Misuse.ROUTE_HIDDEN.error(**case)


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


def _described(app: object) -> str:
    name = app.__name__ if isinstance(app, type) else type(app).__name__
    kind = "the class " if isinstance(app, type) else "an " if name[:1].upper() in "AEIOU" else "a "
    return kind + name


def _instead_of(app: object, prefix: str) -> str:
    """What to do where `app` is no application."""
    if isinstance(app, Router):
        whole = getattr(app, "prefix", "") + prefix
        return f"install it in the application that includes the router, guard.install(app, {whole!r})"
    if hasattr(app, "app"):
        return f"install it in the application inside, before that is wrapped, guard.install(app, {prefix!r})"
    if isinstance(app, type):
        return "call it first"
    return "elsewhere, mount guard.app, which is an ASGI application"
