"""What in a Litestar application cannot work with a guard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from litestar import Controller, Litestar, Router
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

from ...web.application.guarded_endpoint import Guarded, guards_of
from ...web.endpoint.endpoint import GuardedEndpoint
from ...web.misuse import Misuse, MisuseReport
from ...web.routes.paths import RouteName
from .finding import handler_for
from .framework import LITESTAR

__all__ = ["check_decorators", "check_handler", "misplaced_routes"]

_PROBE: Final = "streamguard-probe"


def check_decorators(handlers: Iterable[object]) -> None:
    """Raises `ConfigurationError` for a route handler that is decorated with `guard.stream` itself. Litestar would fail
    on it with an error about its signature."""
    for handler in _handlers_in(handlers):
        for guarded in guards_of(handler.fn):
            if isinstance(guarded, GuardedEndpoint) and guarded.framework is not LITESTAR:
                raise Misuse.GUARD_DECORATOR.error(endpoint=guarded.name)


def check_handler(handler: HTTPRouteHandler) -> None:
    """Raises `ConfigurationError` for a guarded endpoint that Litestar would cache, or whose dependencies it would
    close while they are in use."""
    name = _name_of(handler)
    if handler.cache:
        raise Misuse.CACHED_ENDPOINT.error(endpoint=name)
    providers = handler.resolve_dependencies()
    for path in _dependencies(handler.parsed_fn_signature.parameters, providers, ()):
        provider = providers[path[-1]]
        if provider.has_sync_generator_dependency or provider.has_async_generator_dependency:
            raise Misuse.YIELD_DEPENDENCY.error(endpoint=name, dependency=" -> ".join(path))


def misplaced_routes(app: Litestar, prefix: str) -> Iterator[MisuseReport]:
    """What keeps requests from the guard's routes, and what these keep from the application's.

    Measured on Litestar 2.25: a handler of `{rest:path}` takes every path below it that no route without parameters
    spells out, and replaces a handler of the same methods whose path has a parameter in its place, silently.
    """
    for name in RouteName:
        path = prefix + name.path.replace("{session}", _PROBE).replace("{stream}", _PROBE)
        for method in name.methods:
            found = handler_for(app, method, path)
            if found is not None and not _is_ours(found) and not _spells_out(found, app, prefix + name.path):
                yield MisuseReport(
                    Misuse.BEHIND_MOUNT,
                    {"method": method, "path": prefix + name.path, "prefix": prefix, "route": _shown(found, app)},
                )
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or not route.path.startswith(prefix + "/{"):
            continue
        for handler in route.route_handlers:
            if not _is_ours(handler) and handler.handler_name != "options_handler":
                method = next(iter(sorted(map(str, handler.http_methods))))
                yield MisuseReport(
                    Misuse.ROUTE_HIDDEN,
                    {"method": method, "path": route.path, "prefix": prefix, "route": _shown(handler, app)},
                )


def _is_ours(handler: BaseRouteHandler) -> bool:
    return handler.fn.__module__ == f"{__package__}.routes"


def _spells_out(handler: BaseRouteHandler, app: Litestar, path: str) -> bool:
    """Whether a route of the application is for this one path, which has no parameters."""
    return any(route.path == path for route in app.routes if handler in getattr(route, "route_handlers", ()))


def _shown(handler: BaseRouteHandler, app: Litestar) -> str:
    path = next((r.path for r in app.routes if handler in _handlers_of(r)), "/".join(sorted(handler.paths)))
    methods = sorted(map(str, getattr(handler, "http_methods", ())))
    return f"{' '.join([*methods, path])} ({handler.handler_name})"


def _handlers_of(route: object) -> Sequence[object]:
    several = getattr(route, "route_handlers", None)
    return several if several is not None else (getattr(route, "route_handler", None),)


def _handlers_in(values: Iterable[object]) -> Iterator[BaseRouteHandler]:
    """Every route handler, through routers and controllers."""
    for value in values:
        if isinstance(value, BaseRouteHandler):
            yield value
        elif isinstance(value, Router):
            for route in value.routes:
                yield from (handler for handler in _handlers_of(route) if isinstance(handler, BaseRouteHandler))
        elif isinstance(value, type) and issubclass(value, Controller):
            for name in dir(value):
                found = getattr(value, name, None)
                if isinstance(found, BaseRouteHandler):
                    yield found


def _dependencies(
    names: Iterable[str], providers: dict[str, Provide], path: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """The dependencies behind parameters of these names, each with those through which it is needed before it."""
    for name in names:
        if name in providers and name not in path:
            yield (*path, name)
            yield from _dependencies(providers[name].parsed_fn_signature.parameters, providers, (*path, name))


def _name_of(handler: HTTPRouteHandler) -> str:
    guarded: Guarded | None = next(guards_of(handler.fn), None)
    return guarded.name if isinstance(guarded, GuardedEndpoint) else handler.handler_name
