"""Where a guard's routes are: the applications that it is installed in, and one of its own."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Scope, StatelessLifespan

from ...errors import ConfigurationWarning
from ...observations import Observation
from ..application.fastapi_events import take_over
from ..application.route_tree import LeafRoute
from ..application.rule_search import RuleSearch
from ..endpoint_registry import EndpointRegistry
from ..middleware.outermost_layer import add_outermost_layer
from ..misuse import Misuse, MisuseReport
from .not_found import not_found
from .paths import is_plain_prefix, target_of
from .route import Answer, GuardRoute, own_route
from .route_checks import problems, unprotected

__all__ = ["Installations"]

_CALLER: Final = 4
"""How many frames up the caller of `guard.install` is."""


class Installations:
    """The applications that one guard is installed in, or starts with.

    Our routes come first in their application: a catch-all route, a mount at `/` and static files take nothing from
    them, wherever they are declared. A path that the host spells out stays the host's (see `GuardRoute`).
    """

    def __init__(self, endpoints: EndpointRegistry) -> None:
        self._endpoints = endpoints
        self._apps: list[weakref.ref[Starlette]] = []
        self._checked_routers: dict[int, weakref.ref[Router]] = {}
        """By `id`: Starlette's routers have no hash."""
        self._installed = False
        self._prefixes_elsewhere: set[str] = set()

    @property
    def installed(self) -> bool:
        """Whether the guard's routes were given to an application."""
        return self._installed

    def install(self, app: object, prefix: str, answer: Answer) -> None:
        """Add the routes, which `answer` answers, and the outermost layer to an application.

        Raises:
            ConfigurationError: the application, the prefix or what is there already does not admit it.
        """
        _check_prefix(prefix)
        if not isinstance(app, Starlette):
            raise Misuse.INSTALL_TARGET.error(given=_described(app), remedy=_instead_of(app, prefix))
        routes = app.router.routes

        def add() -> None:
            add_outermost_layer(app)
            routes.insert(0, GuardRoute(prefix, answer, self._endpoints, other_routes=lambda: app.router.routes))

        self._install(routes, prefix, add)
        self._remember(app)
        self._check_with_warnings(app)

    def install_routes(self, app: Starlette | Router, prefix: str, add: Callable[[EndpointRegistry], None]) -> None:
        """Have `add` add the routes in the framework's own form to an application, which gets the outermost layer too,
        or to a router that an application will include. Each of their endpoints has a `RouteMark`.

        Raises:
            ConfigurationError: see `install`.
        """
        if isinstance(app, Starlette) or prefix:  # a router may have a prefix itself
            _check_prefix(prefix)
        router = app.router if isinstance(app, Starlette) else app
        if isinstance(app, Starlette):
            add_outermost_layer(app)
        self._install(router.routes, getattr(router, "prefix", "") + prefix, lambda: add(self._endpoints))
        if isinstance(app, Starlette):
            self._remember(app)
            self._check_with_warnings(app)

    def _install(self, routes: list[BaseRoute], prefix: str, add: Callable[[], None]) -> None:
        owned = (own_route(LeafRoute(route, str(getattr(route, "path", "")))) for route in routes)
        if any(own is not None and own.prefix == prefix for own in owned):
            raise Misuse.PREFIX_TAKEN.error(prefix=prefix)
        add()
        self._installed = True

    def installed_elsewhere(self, prefix: str) -> None:
        """The routes were given to an application of another framework, under `prefix`."""
        self._installed = True
        self._prefixes_elsewhere.add(prefix)

    def is_own_elsewhere(self, scope: Scope) -> bool:
        """Whether a request is for one of the guard's routes in an application of another framework."""
        targets = (target_of(scope, prefix) for prefix in self._prefixes_elsewhere)
        return any(target is not None and scope["method"] in target.route.methods for target in targets)

    def application(self, answer: Answer, lifespan: StatelessLifespan[Starlette]) -> ASGIApp:
        """The routes alone as an application of their own."""
        app = Starlette(
            routes=[GuardRoute("", answer, self._endpoints)], lifespan=lifespan, exception_handlers={404: not_found}
        )
        add_outermost_layer(app)
        self._installed = True
        return app

    def started_by(self, app: object) -> None:
        """The guard starts with this application, so it is the outermost one: add the layer to it, and check its
        routes too."""
        if isinstance(app, Starlette):
            add_outermost_layer(app, running=True)
            self._remember(app)

    def begin_rules(self) -> None:
        """Have the middlewares with rules made that are in the applications, or in those mounted in them: a guard that
        starts has to know its rules."""
        for ref in self._apps:
            RuleSearch(ref())

    def check(self) -> list[Observation]:
        """Check the routes of every application again: they are complete when the guard starts. Returns warnings for
        observers.

        Raises:
            ConfigurationError: a request that is meant for the guard does not reach it, or one that is meant for the
                host does.
        """
        apps = [app for ref in self._apps if (app := ref()) is not None]
        return [report.observation() for app in apps for report in self._check(app)]

    def check_router(self, router: object) -> list[Observation]:
        """What is wrong with the routes of the outermost router of a request. Each router is checked once: it may
        belong to an application that the guard does not know, in which the guard's application is mounted."""
        if id(router) in self._checked_routers or not isinstance(router, Router):
            return []
        key = id(router)
        self._checked_routers[key] = weakref.ref(router, lambda _: self._checked_routers.pop(key, None))
        if any((app := ref()) is not None and app.router is router for ref in self._apps):
            return []
        take_over(router.routes)
        return [report.observation() for report in problems(router.routes, self._endpoints)]

    def _remember(self, app: Starlette) -> None:
        self._apps = [ref for ref in self._apps if ref() not in (None, app)] + [weakref.ref(app)]

    def _check_with_warnings(self, app: Starlette) -> None:
        for report in self._check(app):
            warnings.warn(report.text, ConfigurationWarning, stacklevel=_CALLER)

    def _check(self, app: Starlette) -> list[MisuseReport]:
        """Raises the first problem. Returns what deserves a warning only."""
        routes = app.router.routes
        take_over(routes)
        for report in problems(routes, self._endpoints):
            raise report.error()
        return list(unprotected(routes, app.router, self._endpoints))


def _check_prefix(prefix: object) -> None:
    if not is_plain_prefix(prefix):
        raise Misuse.INSTALL_PREFIX.error(prefix=prefix)


def _described(app: object) -> str:
    name = app.__name__ if isinstance(app, type) else type(app).__name__
    kind = "the class " if isinstance(app, type) else "an " if name[:1].upper() in "AEIOU" else "a "
    return kind + name


def _instead_of(app: object, prefix: str) -> str:
    """What to do instead of installing the guard in `app`, which is no application."""
    if isinstance(app, Router):
        whole = getattr(app, "prefix", "") + prefix
        return f"install it in the application that includes the router, guard.install(app, {whole!r})"
    if hasattr(app, "app"):
        return f"install it in the application inside, before that is wrapped, guard.install(app, {prefix!r})"
    if any(base.__module__.startswith("litestar.") for base in (app if isinstance(app, type) else type(app)).__mro__):
        return f"give it plugins=[StreamGuardPlugin(guard, {prefix!r})], of streamguard.contrib.litestar"
    if isinstance(app, type):
        return "call it first"
    return "elsewhere, mount guard.app, which is an ASGI application"
