"""Which web framework a request came through, for what operators are told."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

__all__ = ["framework_of"]

_KNOWN: Final = frozenset({"fastapi", "litestar", "starlette"})


def framework_of(scope: Scope) -> str:
    """The framework of the application that answers, by its class; `asgi` for any other."""
    for one in type(scope.get("litestar_app") or scope.get("app")).__mro__:
        package = one.__module__.partition(".")[0]
        if package in _KNOWN:
            return package
    return "asgi"
