"""The stores of a guard: the stream store that it was given, as a URL or an object, and the quota store beside it."""

from __future__ import annotations

from threading import Lock
from typing import Final
from weakref import WeakSet

from .errors import ConfigurationError
from .quota import MemoryQuotaStore, QuotaStore, RedisQuotaStore
from .settings import Settings
from .stores import RedisClient
from .stores.base import StreamStore
from .stores.memory import MemoryStore
from .stores.redis import RedisStore

__all__ = ["Backends"]


class Backends:
    """The stores of one guard.

    A URL makes a new stream store each time the guard starts. A store object is used again: it is started with the
    guard and closed with the last running guard that has it, since several guards may share one.

    Args:
        given: a URL, or a stream store.
        settings: of the guard.

    Raises:
        ConfigurationError: it is neither, or a URL that cannot be used.
    """

    def __init__(self, given: str | StreamStore, settings: Settings) -> None:
        if not isinstance(given, (str, StreamStore)):
            raise _unusable(given)
        self._given = given
        self._settings = settings
        self._client: RedisClient | None = None
        """Of the quota store."""
        self._memory_quota: MemoryQuotaStore | None = None
        """Beside a memory store that is used again: reservations last as long as the streams they are for."""
        if isinstance(given, str):
            _store_of(given, settings)  # nothing is connected yet: a URL that cannot be used is found here

    def streams(self) -> StreamStore:
        """The stream store, not started. From now on it is in use."""
        if isinstance(self._given, str):
            return _store_of(self._given, self._settings)
        _USERS.add(self)
        return self._given

    def hand_back(self) -> bool:
        """This guard no longer uses its stream store. Gives whether another running guard does: it stays open then."""
        return _USERS.remove(self, self._given)

    def quota(self) -> QuotaStore:
        """The quota store to use where the guard was given none, not started. `aclose` comes before the next.

        Raises:
            ConfigurationError: nothing is known to count beside this stream store.
        """
        given, settings = self._given, self._settings
        if isinstance(given, MemoryStore):
            self._memory_quota = self._memory_quota or MemoryQuotaStore()
            return self._memory_quota
        if isinstance(given, RedisStore):
            self._client = given.new_client()
            return RedisQuotaStore(self._client, namespace=given.namespace)
        if not isinstance(given, str):
            raise ConfigurationError(
                f"an endpoint has quota=…, but nothing is known to count usage beside a {type(given).__name__}: give "
                "the guard a quota store, StreamGuard(…, quota=…)"
            )
        if given.startswith("memory://"):
            return MemoryQuotaStore()
        self._client = RedisClient(given, command_seconds=settings.command_seconds)
        return RedisQuotaStore(self._client, namespace=settings.namespace)

    async def aclose(self) -> None:
        """Close what the quota store used."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class _Users:
    """The running guards that were given a store object, in every event loop and thread of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: WeakSet[Backends] = WeakSet()

    def add(self, backends: Backends) -> None:
        with self._lock:
            self._running.add(backends)

    def remove(self, backends: Backends, store: object) -> bool:
        """Whether others have `store` still, of those that leave at once all but the last."""
        with self._lock:
            self._running.discard(backends)
            return any(one._given is store for one in self._running)  # noqa: SLF001


_USERS: Final = _Users()


def _store_of(url: str, settings: Settings) -> StreamStore:
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory":
        if rest:
            raise ConfigurationError("memory:// takes nothing after it")
        return MemoryStore(max_bytes=settings.memory_store_bytes)
    if separator and (scheme in ("redis", "rediss", "unix") or scheme.startswith("redis+")):
        return RedisStore(url, namespace=settings.namespace, command_seconds=settings.command_seconds)
    raise ConfigurationError("a guard's URL begins with memory://, redis://, rediss:// or unix://")


def _unusable(given: object) -> ConfigurationError:
    if isinstance(given, type):
        return ConfigurationError(f"StreamGuard takes a stream store, not the class {given.__name__}: make one of it")
    return ConfigurationError(
        f"StreamGuard takes a URL, which is a str, or a stream store first, not a {type(given).__name__}"
    )
