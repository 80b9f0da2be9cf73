"""Appends to streams on the servers of a cluster: each server's side by side, in order and by its own clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from ...contained import gathered
from ...deadlines import Deadline
from ...errors import StoreUnavailableError
from ...values import StreamRef
from ..appends import AppendReply, AppendRequest
from ..records import Status
from .appends import Appends
from .cluster import Cluster, ClusterServer
from .cluster_connections import ServerConnections
from .driver import Command
from .namespace import RedisNamespace

__all__ = ["ClusterAppends"]

_REFUSED: Final = AppendReply(Status.REFUSED, 0, stop_requested=False)


class ClusterAppends:
    """Appends of one store to all servers of a cluster."""

    def __init__(self, redis: RedisNamespace, cluster: Cluster) -> None:
        self._redis = redis
        self._cluster = cluster
        self._seconds = cluster.command_seconds
        self._appends: dict[ClusterServer, Appends] = {}

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        """See `StreamWrites.append`. Where some servers answer and others do not, the appends to these are `REFUSED`:
        a writer for each server never sees that."""
        begun, deadline = time.monotonic(), Deadline.after(self._seconds)
        groups: dict[ClusterServer, list[int]] = {}
        replies = [_REFUSED] * len(batch)
        failures: list[StoreUnavailableError] = []
        answered: list[ClusterServer] = []
        for n, item in enumerate(batch):
            try:
                meta = self._redis.keys.stream(item.ref).meta
                server = await self._cluster.server_of("append", meta, deadline)
            except StoreUnavailableError as exc:
                failures.append(exc)
            else:
                groups.setdefault(server, []).append(n)

        async def append(server: ClusterServer, numbers: list[int]) -> None:
            try:
                if not server.clock.known:
                    await self._learn_time(server)
                found = await self._at(server).append([batch[n] for n in numbers], begun=begun)
            except StoreUnavailableError as exc:
                failures.append(exc)
                return
            answered.append(server)
            for n, reply in zip(numbers, found, strict=True):
                replies[n] = reply

        if len(groups) == 1:
            ((server, numbers),) = groups.items()
            await append(server, numbers)
        else:
            await gathered([partial(append, server, numbers) for server, numbers in groups.items()])
        if failures and not answered:
            raise failures[0]
        return replies

    def server_of(self, ref: StreamRef) -> object:
        """See `Placement`. Streams of which no server is known yet have one server. A server is its place: one that
        lost its slots and got some again, or was a replica meanwhile, is the same one."""
        server = self._cluster.known(self._redis.keys.stream(ref).meta)
        return None if server is None else server.place

    def _at(self, server: ClusterServer) -> Appends:
        found = self._appends.get(server)
        if found is None:
            for one in self._appends.keys() - set(self._cluster.known_servers()):
                del self._appends[one]
            redis = self._redis
            ordered = ServerConnections(self._cluster, server)
            there = RedisNamespace(redis.keys, redis.connections, ordered, redis.report, clock=server.clock)
            found = self._appends[server] = Appends(there)
        return found

    async def _learn_time(self, server: ClusterServer) -> None:
        """Ask a server for its time, before the first append there: it says until when an append may be carried out."""
        (reply,) = await ServerConnections(self._cluster, server).run("append", [Command.of("TIME")])
        match reply:
            case [bytes() as seconds, bytes() as microseconds]:
                server.clock.heard(int(seconds) * 1_000 + int(microseconds) // 1_000)
            case _:  # an account that may not ask
                pass
