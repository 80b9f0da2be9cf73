"""Litestar: a plugin that adds a guard to an application, and the decorator for its route handlers.

    streams = StreamGuardPlugin(guard, prefix="/api/chat")

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def chat(data: ChatBody, run: Run) -> AsyncIterator[str]: ...

    app = Litestar([chat], plugins=[streams])

Needs `pip install 'streamguard-asgi[litestar]'`.
"""

from ...distribution import install_command
from ...errors import ConfigurationError

try:
    import litestar as _litestar  # noqa: F401
except ImportError as exc:
    raise ConfigurationError(f"streamguard.contrib.litestar needs Litestar: {install_command('litestar')}") from exc

from .plugin import StreamGuardPlugin

__all__ = ["StreamGuardPlugin"]
