"""Finds the guarded endpoint that a request is for, before its body is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, cast

from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope

from .route_tree import first_match, layers_of, routes_of

__all__ = ["MARK", "Guarded", "guarded_endpoint", "guards_of"]

MARK: Final = "__streamguard_endpoint__"
"""The attribute by which a decorated function names its `Guarded`; `functools.wraps` copies it."""


class Guarded(Protocol):
    """A guarded endpoint, as the outermost layer needs it."""

    @property
    def max_request_bytes(self) -> int:
        """How large the bodies of its requests may be."""

    def too_large(self, scope: Scope) -> Response:
        """The answer to a request whose body was refused. Observes the refusal."""


def guarded_endpoint(scope: Scope, routes: Callable[[], Iterable[BaseRoute]]) -> Guarded | None:
    """The guarded endpoint that `scope` is for; None for every other request.

    Once the framework has routed the request, `scope` names its endpoint. A middleware may read the body before that:
    then the request is matched against `routes`, the application's, and those of the applications mounted in it.
    """
    endpoint = scope.get("endpoint")
    if endpoint is not None:
        below = routes_of(endpoint)
        return _guard_of(endpoint, scope["method"]) if below is None else _match(below, scope)
    return _match(routes(), scope)


def guards_of(endpoint: object, method: str | None = None) -> Iterator[Guarded]:
    """The guards of an endpoint, through every decorator around it. Of an `HTTPEndpoint`: those of its handler of
    `method`, or of all its handlers."""
    for layer in layers_of(endpoint, method):
        found = getattr(layer, MARK, None)
        if found is not None:
            yield cast("Guarded", found)


def _match(routes: Iterable[BaseRoute], scope: Scope) -> Guarded | None:
    found = first_match(routes, scope)
    return None if found is None else _guard_of(found.endpoint, scope["method"])


def _guard_of(endpoint: object, method: str) -> Guarded | None:
    return next(guards_of(endpoint, method), None)
