"""`RedisStore`: the stream store on Redis 6.2 or later (or a compatible server), one Lua script per step.

A process holds at most four connections for each event loop: one that carries appends and heartbeats in order, two for
everything else, and one that is subscribed to changes. Layout, TTLs and the commands used: `docs/reference/redis.md`.
One module per role has the steps; they share a `RedisNamespace`.
"""

from __future__ import annotations

from ..composed import ComposedStore, Roles
from ..damage import Unreadable
from .address import ClusterAddress
from .client import RedisClient
from .inspection import RedisInspection
from .lease_index import LeaseIndex
from .outbox import RedisOutbox
from .outbox_index import OutboxIndex
from .permissions import Permissions
from .request_claims import RedisRequestClaims
from .scripts import Scripts
from .stream_log import RedisLog
from .stream_registry import RedisRegistry
from .stream_writes import RedisWrites
from .topology import topology_of
from .urls import address_of
from .viewer_reports import RedisViewerReports
from .work_sharing import RedisWorkSharing
from .worker_reports import RedisWorkerReports

__all__ = ["RedisStore"]


class RedisStore(ComposedStore):
    """Streams in Redis, shared by every process that uses the same server and namespace.

    Losing Redis's memory (a restart without AOF, a failover to a lagging replica) loses streams; they are reported as
    gone, never papered over.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "streamguard",
        command_seconds: float = 1.0,
        scripts: Scripts | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`, see
                `docs/reference/redis.md`.
            namespace: What every key begins with; letters, digits, `_` and `-`.
            command_seconds: How long one call may take in all before it counts as failed, in seconds.
            scripts: Other Lua than this version's, for tests of tests.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        chosen = scripts or Scripts.load()
        address = address_of(url)
        if isinstance(address, ClusterAddress):
            chosen = chosen.publishing_to_shards()
        topology = topology_of(address, chosen, command_seconds=command_seconds)
        self._address = topology.address
        self._cluster = topology.cluster
        self.server: str | None = topology.name
        self.namespace: str = namespace
        self._command_seconds = command_seconds
        self._redis = redis = topology.namespace(namespace, self._report)
        subscribing = topology.subscribing
        permissions = Permissions(subscribing, redis.connections, chosen, redis.keys, command_seconds=command_seconds)
        leases, index = LeaseIndex(redis), OutboxIndex(redis)
        log = RedisLog(redis, subscribing, permissions, command_seconds=command_seconds)
        super().__init__(
            Roles(
                log=log,
                registry=RedisRegistry(redis, leases, index),
                writes=RedisWrites(redis, log.channels, leases, index),
                outbox=RedisOutbox(redis, index),
                claims=RedisRequestClaims(redis),
                sharing=RedisWorkSharing(redis, leases),
                viewers=RedisViewerReports(redis),
                workers=RedisWorkerReports(redis),
                inspection=RedisInspection(redis, leases, index),
            )
        )

    def new_client(self) -> RedisClient:
        """A client of the same server with connections of its own, for another store there. Whoever asks closes it."""
        return RedisClient(self._address, command_seconds=self._command_seconds)

    def _report(self, found: Unreadable) -> None:
        if self.on_unreadable is not None:
            self.on_unreadable(found)
