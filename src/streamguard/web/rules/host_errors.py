"""Answers what a function of the host's raised for a request that a rule matches: `authenticate`, `when`, `session`.

The handlers of an application (`app.exception_handler(…)`) are inside of its middlewares, so they never see what a
middleware raises. Here they are asked all the same, as they are for a decorated endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import FaultError
from ..application.rule_search import layers_around

__all__ = ["answer_error"]

_SHOWN: Final = "starlette.exception_handlers"
"""What a scope has where handlers are around that will see the exception."""

Handlers = Mapping[Any, Any]
"""Functions by exception or status, as Starlette has them; their types differ by its version."""


async def answer_error(error: Exception, scope: Scope, app: ASGIApp, receive: Receive, send: Send) -> None:
    """Answer as the application would if one of its endpoints had raised `error`.

    Raises:
        Exception: `error`, if it has no handler for that, or if the framework around handles it.
    """
    known_here = _SHOWN not in scope and not isinstance(error, FaultError)  # such as of a body that is too large
    handlers = _handlers_of(scope, app) if known_here else None
    if handlers is None:
        raise error

    async def raising(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    await ExceptionMiddleware(raising, handlers)(scope, receive, send)


def _handlers_of(scope: Scope, app: ASGIApp) -> Handlers | None:
    """The handlers of the application inside, or else of the one whose middleware this is; None where another framework
    is around, which handles exceptions outside of its middlewares. What it falls back to (`Exception`, 500) does not
    count."""
    found = next((layer for layer in layers_around(app) if isinstance(layer, Starlette)), None) or scope.get("app")
    if found is None:
        return {}
    if not isinstance(found, Starlette):
        return None
    return {key: handler for key, handler in found.exception_handlers.items() if key not in (500, Exception)}
