"""The Redis store of a URL with one of `urls.SCHEMES`."""

from __future__ import annotations

from ...settings import Settings
from .store import RedisStore

__all__ = ["redis_store"]


def redis_store(url: str, settings: Settings) -> RedisStore:
    """A store that is not connected yet, with the settings' namespace and patience.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    return RedisStore(url, namespace=settings.namespace, command_seconds=settings.command_seconds)
