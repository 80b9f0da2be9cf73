"""A Redis that fails over to replicas that missed its newest changes, as asynchronous replication allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Self

from streamguard.stores.redis import RedisStore

from ..harness.proxy import FaultProxy
from ..harness.redis import RedisServer
from ..harness.waiting import wait_until

__all__ = ["Failover"]

REPLICAS: Final = 2


class Failover:
    """A primary with replicas behind one address. `freeze` lets the replicas miss what comes after it; each `lose_tail`
    promotes one of them, whose state is that of the freeze."""

    def __init__(self, primary: RedisServer, replicas: list[RedisServer], proxy: FaultProxy) -> None:
        self._primary = primary
        self._replicas = replicas
        self._frozen: list[RedisServer] = []
        self.proxy = proxy

    @classmethod
    @contextmanager
    def of(cls, own_redis: Callable[..., RedisServer]) -> Iterator[Self]:
        primary = own_redis(config={"repl-diskless-sync-delay": "0"})
        replicas = [own_redis() for _ in range(REPLICAS)]
        for replica in replicas:
            replica.client().replicaof("127.0.0.1", primary.port)
        with FaultProxy(primary.port) as proxy:
            yield cls(primary, replicas, proxy)

    def store(self) -> RedisStore:
        """One more way to whichever server is the primary."""
        return RedisStore(self.proxy.redis_url(), command_seconds=2.0)

    def freeze(self) -> None:
        """From now on the replicas miss everything."""
        written = self._primary.client().info("replication")["master_repl_offset"]
        for replica in self._replicas:
            wait_until(lambda: has(replica, written), description="the replica has everything")  # noqa: B023 # at once
            replica.client().replicaof("NO", "ONE")
        self._frozen, self._replicas = self._replicas, []

    def lose_tail(self) -> None:
        """Promote a frozen replica: whoever asks from now on asks it."""
        self.proxy.retarget(self._frozen.pop().port)


def has(replica: RedisServer, offset: int) -> bool:
    told = replica.client().info("replication")
    return told["master_link_status"] == "up" and int(told["slave_repl_offset"]) >= offset
