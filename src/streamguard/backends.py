"""The stores of a guard: the stream store that it was given, as a URL or an object, and the quota store beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Final
from weakref import WeakSet

from .errors import ConfigurationError
from .locks import step_lock
from .overrides import check_overrides
from .quota import MemoryQuotaStore, OffersQuotaStore, QuotaStore, RedisQuotaStore
from .settings import Settings
from .stores import RedisClient, StreamLog, StreamStore
from .stores.abilities import Ability, require
from .stores.composed import ComposedStore
from .stores.memory import MemoryStore
from .stores.partial import complete
from .stores.redis import RedisStore
from .stores.schemes import factory_of

__all__ = ["Backends"]


class Backends:
    """The stores of one guard.

    A URL makes a new stream store each time the guard starts. A store object is used again: it is started with the
    guard and closed with the last running guard that has it, since several guards may share one.

    Args:
        given: a URL, or a stream store.
        settings: of the guard.

    Raises:
        ConfigurationError: it is neither, a URL that cannot be used, or a store with a method that cannot be called as
            its role says.
    """

    def __init__(self, given: str | StreamLog, settings: Settings) -> None:
        if not isinstance(given, (str, StreamLog)):
            raise _unusable(given)
        self._given = given
        self._client: RedisClient | None = None
        """Of the quota store."""
        self._make: Callable[[], StreamLog] = _maker(given, settings)
        self._store: StreamLog = self._make()
        """The latest. Nothing is connected when it is made: a URL that cannot be used is found here."""
        for part in _parts(self._store):
            check_overrides(part)
        self._memory_quota: tuple[MemoryStore, MemoryQuotaStore] | None = None
        """Beside that memory store: where it is used again, reservations last as long as the streams they are for."""

    def streams(self) -> StreamStore:
        """The stream store, not started. From now on it is in use."""
        _USERS.add(self)
        self._store = self._make()
        return complete(self._store)

    def require(self, ability: Ability) -> None:
        """Check that the stream store has the roles for something.

        Raises:
            ConfigurationError: it lacks some.
        """
        require(self._store, ability)

    def hand_back(self) -> bool:
        """This guard no longer uses its stream store. Gives whether another running guard does: it stays open then."""
        return _USERS.remove(self, self._given)

    def quota(self) -> QuotaStore:
        """The quota store to use where the guard was given none, not started: beside the latest stream store. `aclose`
        comes before the next.

        Raises:
            ConfigurationError: nothing is known to count usage beside this stream store, or it brings a quota store
                along with a method that cannot be called as the contract says.
        """
        match self._store:
            case MemoryStore() as store:
                if self._memory_quota is None or self._memory_quota[0] is not store:
                    self._memory_quota = store, MemoryQuotaStore()
                return self._memory_quota[1]
            case RedisStore() as store:
                self._client = store.new_client()
                return RedisQuotaStore(self._client, namespace=store.namespace)
            case OffersQuotaStore() as store:
                quota = store.new_quota_store()
                check_overrides(quota)
                return quota
            case store:
                raise ConfigurationError(
                    f"an endpoint has quota=…, but nothing is known to count usage beside a {type(store).__name__}: "
                    "give the guard a quota store, StreamGuard(…, quota=…)"
                )

    async def aclose(self) -> None:
        """Close what the quota store used."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class _Users:
    """The running guards, in every event loop and thread of this process."""

    def __init__(self) -> None:
        self._lock = step_lock()
        self._running: WeakSet[Backends] = WeakSet()

    def add(self, backends: Backends) -> None:
        with self._lock:
            self._running.add(backends)

    def remove(self, backends: Backends, store: object) -> bool:
        """Whether others have `store` still. Of those that leave at once, the last is told no."""
        with self._lock:
            self._running.discard(backends)
            # Two guards with one URL have a store each, though the text is the same object.
            return isinstance(store, StreamLog) and any(one._given is store for one in self._running)  # noqa: SLF001


_USERS: Final = _Users()


def _maker(given: str | StreamLog, settings: Settings) -> Callable[[], StreamLog]:
    """What makes the store of a URL, or gives the one that was given."""
    if isinstance(given, StreamLog):
        return lambda: given
    factory = factory_of(given)
    return lambda: factory(given, settings)


def _parts(store: StreamLog) -> Iterator[object]:
    """The objects that a stream store is made of: itself, and those that have its roles."""
    yield store
    if isinstance(store, ComposedStore):
        yield from (getattr(store.roles, role.name) for role in fields(store.roles))


def _unusable(given: object) -> ConfigurationError:
    if isinstance(given, type):
        return ConfigurationError(f"StreamGuard takes a stream store, not the class {given.__name__}: make one of it")
    return ConfigurationError(
        f"StreamGuard takes a URL, which is a str, or a stream store first, not a {type(given).__name__}"
    )
