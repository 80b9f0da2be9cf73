"""Warnings about a guard that works, but not as its host believes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Scope

from ..observations import Observation
from .middleware.exchange import Exchange, Placement
from .misuse import Misuse

__all__ = ["RouteInspection", "UsageChecks"]


class RouteInspection(Protocol):
    """What is known of the applications that a guard's routes are in."""

    @property
    def installed(self) -> bool:
        """Whether the guard's routes were given to an application."""

    def check_router(self, router: object) -> list[Observation]:
        """What is wrong with the routes of the outermost router of a request. Each router is checked once."""


class UsageChecks:
    """Checks how each endpoint is called, and tells observers once of each misuse.

    Args:
        observe: tells every observer of the running guard.
        inspection: where the guard's routes are.
    """

    def __init__(self, observe: Callable[[Observation], None], inspection: RouteInspection) -> None:
        self._observe = observe
        self._inspection = inspection
        self._advised: set[tuple[Misuse, str]] = set()

    def check_call(self, scope: Scope, exchange: Exchange, endpoint: str, *, remedy: str) -> None:
        """Warn if clients cannot come back to the answers of `endpoint`, or take one that is cut short for whole.
        `remedy` says how the guard's routes get into its application.

        Raises:
            ConfigurationError: another guarded endpoint calls this one: its code runs in the task of its stream.
        """
        task = asyncio.current_task(exchange.loop)
        if exchange.endpoint_task not in (None, task):
            if exchange.rule is not None:
                raise Misuse.GUARDED_TWICE.error(endpoint=endpoint, rule=exchange.rule)
            raise Misuse.NESTED.error(endpoint=endpoint)
        exchange.endpoint_task = task
        for observation in self._inspection.check_router(scope.get("router")):
            self._observe(observation)
        if not self._inspection.installed:
            self.advise(Misuse.NOT_INSTALLED, endpoint, remedy=remedy)
        elif exchange.placement is Placement.NOWHERE:
            self.advise(Misuse.NO_LAYER, endpoint)
        elif exchange.placement is Placement.INSIDE:
            self.advise(Misuse.LAYER_INSIDE, endpoint)
        if scope.get("http_version") in ("1.0", "1"):  # the second is Granian's
            self.advise(Misuse.HTTP_1_0, endpoint)

    def advise(self, misuse: Misuse, endpoint: str, **values: object) -> None:
        """Tell observers of a misuse, once for each endpoint."""
        if (misuse, endpoint) not in self._advised:
            self._advised.add((misuse, endpoint))
            self._observe(misuse.observation(endpoint=endpoint, **values))
