"""Litestar: a plugin that adds a guard to an application, and the decorator for its route handlers.

    streams = StreamGuardPlugin(guard, "/api/chat")

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def chat(data: JSONBody[ChatBody], run: Run) -> AsyncIterator[str]: ...

    app = Litestar([chat], plugins=[streams])

Importing this package needs nothing extra; the plugin needs `pip install 'streamguard-asgi[litestar]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ...distribution import install_command
from ...errors import ConfigurationError

if TYPE_CHECKING:
    from .plugin import StreamGuardPlugin
    from .request import StarletteRequest

__all__ = ["StarletteRequest", "StreamGuardPlugin"]

_MODULES = {"StarletteRequest": "request", "StreamGuardPlugin": "plugin"}


if not TYPE_CHECKING:  # a type checker would take any name for an export

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{__name__}.{_MODULES[name]}")
        except ModuleNotFoundError as exc:
            if exc.name != "litestar":
                raise
            raise ConfigurationError(f"{__name__}.{name} needs Litestar: `{install_command('litestar')}`") from exc
        found: object = getattr(module, name)
        return found
