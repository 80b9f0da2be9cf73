"""streamguard for FastAPI: the guard's routes behind the host's own dependencies, and in the OpenAPI document.

    from streamguard.contrib.fastapi import install

    install(guard, app, "/api/chat", dependencies=[Depends(signed_in)])

`guard.install(app, prefix)` works in FastAPI too; its routes are in no OpenAPI document and run no dependencies.
Plain Starlette needs nothing of this.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ...distribution import install_command
from ...errors import ConfigurationError

if TYPE_CHECKING:
    from .installation import describe, install

__all__ = ["describe", "install"]


if not TYPE_CHECKING:  # a type checker would take any name for an export

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            installation = import_module(f"{__name__}.installation")
        except ModuleNotFoundError as exc:
            if exc.name != "fastapi":
                raise
            raise ConfigurationError(f"{__name__}.{name} needs FastAPI: `{install_command('fastapi')}`") from exc
        found: object = getattr(installation, name)
        return found
