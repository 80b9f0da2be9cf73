"""`RedisClient`: a few connections to one Redis, for rooms beside this one that keep their own things there.

They may not import this package, nor redis; they are handed a client and run scripts on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ...errors import StoreUnavailableError
from .address import ClusterAddress
from .driver import Connector
from .errors import checked
from .scripts import Scripts
from .server_facts import inspect_servers, unusable
from .topology import topology_of

__all__ = ["RedisClient"]


class RedisClient:
    """Runs Lua scripts on one Redis, or on a cluster, where the keys of a call share a slot.

    Also an async context manager, which closes it.

    Whoever makes a client closes it; the stores it is given to do not.
    """

    def __init__(self, url: str | Connector | ClusterAddress, *, command_seconds: float = 1.0) -> None:
        """Nothing is connected yet.

        Args:
            url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`, see
                `docs/reference/redis.md`.
            command_seconds: How long one call may take in all before it counts as failed, in seconds.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self._scripts = Scripts({})
        topology = topology_of(url, self._scripts, command_seconds=command_seconds)
        self._address, self._connections = topology.address, topology.connections

    @property
    def server(self) -> str:
        """Scheme, hosts and ports, or the socket."""
        return str(self._address)

    async def start(self) -> list[str]:
        """Connect. Warns of an unreachable or old server and of an eviction policy."""
        try:
            return await inspect_servers(self._connections)
        except StoreUnavailableError as exc:
            return [unusable(exc, self._address, "nothing can be stored there")]

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        """What the Lua text `script` answers: bytes, int, None, or a list of such; it is sent by digest.

        Nothing is retried. After an error, or a cancellation, the script may or may not have run.

        Raises:
            StoreUnavailableError: no answer in time (its cause is a `TimeoutError` then), no connection, or Redis
                refused.
            StoreCorruptError: a key holds another type than the script expects.
        """
        replies = await self._connections.run(
            operation, [self._connections.script(self._scripts.add(script), keys, args)]
        )
        checked(operation, replies)
        return replies[0]

    async def aclose(self) -> None:
        """Close every connection; later calls raise `StoreUnavailableError`."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
