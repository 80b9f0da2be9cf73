"""`StreamGuardPlugin`: a guard in a Litestar application."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Concatenate, Final, ParamSpec, TypeAlias, cast

from litestar import Litestar, Response
from litestar.config.app import AppConfig
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.utils import normalize_path
from starlette.types import ASGIApp

from ...guard import StreamGuard
from ...web.application.guarded_endpoint import find_endpoints_in, guards_of
from ...web.endpoint.decorator import Endpoint, EndpointDecorator
from ...web.endpoint.endpoint import GuardedEndpoint
from ...web.middleware.outermost_layer import OutermostLayer
from ...web.misuse import Misuse
from ...web.routes.paths import is_plain_prefix
from .checks import check_decorators, check_handler, misplaced_routes
from .documentation import document
from .finding import guarded_in
from .framework import LITESTAR
from .routes import RouteGuard, route_handlers

__all__ = ["RouteHandler", "StreamGuardPlugin"]

P = ParamSpec("P")

RouteHandler: TypeAlias = Callable[..., Awaitable[Response[str]]]
"""What the decorator makes of a function: one that Litestar's own decorators take."""

UNCOMPRESSED: Final = "streamguard_uncompressed"
"""The option by which Litestar's compression leaves a route handler alone, unless the application chose its name."""


def _with_options_of(
    method: Callable[Concatenate[StreamGuard, P], Callable[[Callable[..., object]], Endpoint]],
) -> Callable[
    [Callable[..., object]],
    Callable[Concatenate[StreamGuardPlugin, P], Callable[[Callable[..., object]], RouteHandler]],
]:
    """Give a method of the plugin the parameters of a method of the guard."""

    def typed(
        function: Callable[..., object],
    ) -> Callable[Concatenate[StreamGuardPlugin, P], Callable[[Callable[..., object]], RouteHandler]]:
        return cast(
            "Callable[Concatenate[StreamGuardPlugin, P], Callable[[Callable[..., object]], RouteHandler]]", function
        )

    return typed


class StreamGuardPlugin(InitPlugin, ReceiveRoutePlugin):
    """Adds a guard to a Litestar application: `Litestar([chat], plugins=[StreamGuardPlugin(guard, "/api/chat")])`.

    The guard starts and ends with the application, its routes are below `prefix`, and the application gets the guard's
    outermost layer. Nothing else is to be done: neither `guard.install` nor `guard.lifespan`.

    Args:
        guard: one guard is given to one application.
        prefix: where the guard's routes are: `GET {prefix}/{session}/stream` and the others.
        guards: Litestar's guards for the guard's routes, besides those of the application. Not for the health routes.
        opt: options for the route handlers of the guard's routes, for middlewares and guards that look for them.

    Raises:
        ConfigurationError: the prefix is not a plain path. The application's constructor raises one if something in it
            can never work, and its start if the guard's routes would hide some of its own, or are hidden.
    """

    def __init__(
        self,
        guard: StreamGuard,
        prefix: str = "/api/chat",
        *,
        guards: Sequence[RouteGuard] = (),
        opt: Mapping[str, object] | None = None,
    ) -> None:
        if not is_plain_prefix(prefix):
            raise Misuse.INSTALL_PREFIX.error(prefix=prefix)
        self.guard: StreamGuard = guard
        self.prefix: str = prefix
        self._guards = guards
        self._opt = dict(opt or {})
        self._whole_prefix = prefix
        """With the application's own path before it."""
        self._lifespans: list[
            Callable[[Litestar], AbstractAsyncContextManager[object]] | AbstractAsyncContextManager[object]
        ] = []
        """The application's own list."""
        self._uncompressed = UNCOMPRESSED
        find_endpoints_in(Litestar, guarded_in)

    @_with_options_of(StreamGuard.stream)
    def stream(self, *args: object, **kwargs: object) -> object:
        """Decorate a route handler, below Litestar's own decorator; the arguments are those of `StreamGuard.stream`.

        The handler takes what any takes: `data`, path and query parameters, dependencies, and a `Run` besides. The
        guard finds the session in one of them (`session="data.id"`), and is given the request without being asked.
        """
        decorate = cast("Callable[..., EndpointDecorator]", self.guard.stream)
        return decorate(*args, **kwargs).on(LITESTAR)

    # -- what Litestar calls ------------------------------------------------------------------------------------------

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the guard's life and routes to the application that is being made."""
        for plugin in app_config.plugins:
            if plugin is not self and isinstance(plugin, StreamGuardPlugin) and plugin.prefix == self.prefix:
                raise Misuse.PREFIX_TAKEN.error(prefix=self.prefix)
        check_decorators(app_config.route_handlers)
        compression = app_config.compression_config
        if compression is not None:
            if compression.exclude_opt_key is None:
                compression = app_config.compression_config = replace(compression, exclude_opt_key=UNCOMPRESSED)
            self._uncompressed = compression.exclude_opt_key or UNCOMPRESSED
        edge = self.guard.edge
        self._whole_prefix = normalize_path(app_config.path or "/").rstrip("/") + self.prefix
        edge.installations.installed_elsewhere(self._whole_prefix)
        handlers = route_handlers(
            self.prefix,
            edge.answer,
            whole_prefix=self._whole_prefix,
            guards=self._guards,
            opt={**self._opt, self._uncompressed: True},
        )
        app_config.route_handlers.extend(handlers)
        self._lifespans = app_config.lifespan
        self._enter_last()
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Prepare the guarded endpoints of a route that was registered."""
        self._enter_last()
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            for guarded in guards_of(handler.fn):
                check_handler(handler)
                # Litestar's compression holds the response's head back until the first event.
                handler.opt[self._uncompressed] = True
                if isinstance(guarded, GuardedEndpoint):
                    document(handler, guarded.protocol)

    # -- the guard's part ---------------------------------------------------------------------------------------------

    def _enter_last(self) -> None:
        """Have the guard start after everything else that lives as long as the application, and so end before it: what
        other plugins open, and Litestar's stores, which join this list before the first route is registered."""
        if self._lifespan in self._lifespans:
            self._lifespans.remove(self._lifespan)
        self._lifespans.append(self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        for report in misplaced_routes(app, self._whole_prefix):
            raise report.error()
        if not isinstance(app.asgi_handler, OutermostLayer):
            layer: ASGIApp = OutermostLayer(app.asgi_handler, app)  # type: ignore[arg-type]
            app.asgi_handler = layer  # type: ignore[assignment]
        async with self.guard:
            yield
