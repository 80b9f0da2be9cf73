"""What a guard's URL stands for: the store of its streams, and the one that counts usage beside it."""

from __future__ import annotations

from .errors import ConfigurationError
from .quota import MemoryQuotaStore, QuotaStore, RedisQuotaStore
from .settings import Settings
from .stores import RedisClient
from .stores.base import StreamStore
from .stores.memory import MemoryStore
from .stores.redis import RedisStore

__all__ = ["Backends"]


class Backends:
    """Makes stores from a URL. Whoever is given one closes it; what lies beneath them, `aclose` closes.

    Raises:
        ConfigurationError: the URL cannot be used.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._client: RedisClient | None = None
        """Of the quota store."""
        self.streams()  # nothing is connected yet: a URL that cannot be used is found here

    def streams(self) -> StreamStore:
        """A stream store, not started."""
        settings = self._settings
        scheme, separator, rest = self._url.partition("://")
        if separator and scheme == "memory":
            if rest:
                raise ConfigurationError("memory:// takes nothing after it")
            return MemoryStore(max_bytes=settings.memory_store_bytes)
        if separator and (scheme in ("redis", "rediss", "unix") or scheme.startswith("redis+")):
            return RedisStore(self._url, namespace=settings.namespace, command_seconds=settings.command_seconds)
        raise ConfigurationError("a guard's URL begins with memory://, redis://, rediss:// or unix://")

    def quota(self) -> QuotaStore:
        """A quota store, not started. One at a time: `aclose` comes before the next."""
        if self._url.startswith("memory://"):
            return MemoryQuotaStore()
        self._client = RedisClient(self._url, command_seconds=self._settings.command_seconds)
        return RedisQuotaStore(self._client, namespace=self._settings.namespace)

    async def aclose(self) -> None:
        """Close what the quota store used."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
