"""The connections of a store, by what its URL leads to: one server, or the servers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...durations import check_duration
from ...errors import ConfigurationError
from ..damage import Unreadable
from .address import ClusterAddress
from .cluster import AnyServer, Cluster
from .cluster_connections import ClusterConnections
from .driver import Connector
from .keys import Keys
from .namespace import RedisNamespace
from .pipeline import Connections, OrderedConnection, PipelinedConnections
from .scripts import Scripts
from .urls import address_of

__all__ = ["Topology", "topology_of"]


class Topology(NamedTuple):
    """What a URL leads to."""

    name: str
    """Scheme, hosts and ports, or the socket: no credential."""
    address: Connector | ClusterAddress
    subscribing: Connector
    """Where messages that are published anywhere can be heard."""
    connections: Connections
    ordered: OrderedConnection | ClusterConnections
    """As `connections`, but those to each server keep the order of what they are given."""
    cluster: Cluster | None

    def namespace(self, namespace: str, report: Callable[[Unreadable], None]) -> RedisNamespace:
        """One namespace there. `report` is told of what cannot be read where no caller asked for it."""
        return RedisNamespace(Keys(namespace), self.connections, self.ordered, report, cluster=self.cluster)


def topology_of(url: str | Connector | ClusterAddress, scripts: Scripts, *, command_seconds: float) -> Topology:
    """What a URL leads to. Nothing is connected yet.

    Raises:
        ConfigurationError: the URL cannot be used.
    """
    check_duration("command_seconds", command_seconds)
    address = address_of(url) if isinstance(url, str) else url
    if not isinstance(address, ClusterAddress) and not hasattr(address, "connect"):
        raise ConfigurationError(  # only its type: another library's URL may have a password in it
            "a Redis is named by its URL, which is a str, such as 'redis://localhost:6379/0', not by a "
            f"{type(url).__name__}"
        )
    if isinstance(address, ClusterAddress):
        cluster = Cluster(address, scripts, command_seconds=command_seconds)
        return Topology(
            str(address),
            address,
            AnyServer(cluster),
            ClusterConnections(cluster, ordered=False),
            ClusterConnections(cluster, ordered=True),
            cluster,
        )
    return Topology(
        str(address),
        address,
        address,
        PipelinedConnections(address, scripts, count=2, command_seconds=command_seconds),
        OrderedConnection(address, scripts, command_seconds=command_seconds),
        None,
    )
