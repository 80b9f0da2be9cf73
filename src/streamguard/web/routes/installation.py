"""Installing a guard in applications."""

from __future__ import annotations

import warnings
import weakref
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Router

from ...errors import ConfigurationWarning
from ...observations import Observation
from ..guard_context import GuardContext
from ..misuse import Case, Misuse
from .mounting import add_outermost_layer
from .route import GuardRoute
from .route_checks import problems, unprotected
from .routes import Routes

__all__ = ["Installations"]

_CALLER: Final = 3
"""How far from here whoever calls `guard.install` is."""


class Installations:
    """The applications that one guard is installed in, or starts with.

    Our routes come first in their application: a catch-all route, a mount at `/` and static files take nothing from
    them, wherever they are declared. A path that the host spells out stays the host's (see `GuardRoute`).
    """

    def __init__(self, context: GuardContext, routes: Routes) -> None:
        self._context = context
        self._routes = routes
        self._apps: list[weakref.ref[Starlette]] = []
        self._met: dict[int, weakref.ref[Router]] = {}
        """By `id`: Starlette's routers have no hash."""
        context.met = self.met

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
        self._context.installed = True
        self._know(app)
        for case in self._check(app):
            warnings.warn(case.text, ConfigurationWarning, stacklevel=_CALLER)

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
        return [case.observation() for app in apps for case in self._check(app)]

    def met(self, router: object) -> list[Observation]:
        """A request came through this router, the outermost one. Gives, once, what is wrong with its routes: it may be
        of an application that is known from nothing else, and in which another one is mounted."""
        if id(router) in self._met or not isinstance(router, Router):
            return []
        key = id(router)
        self._met[key] = weakref.ref(router, lambda _: self._met.pop(key, None))
        if any((app := ref()) is not None and app.router is router for ref in self._apps):
            return []
        return [case.observation() for case in problems(router.routes, self._routes, self._context.endpoints)]

    def _know(self, app: Starlette) -> None:
        self._apps = [ref for ref in self._apps if ref() not in (None, app)] + [weakref.ref(app)]

    def _check(self, app: Starlette) -> list[Case]:
        """Raises the first problem; gives what is only advice."""
        routes, endpoints = app.router.routes, self._context.endpoints
        for case in problems(routes, self._routes, endpoints):
            raise case.error()
        return list(unprotected(routes, self._routes, app.router, endpoints))


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
