"""Where schedules are played: a memory store, a Redis, a cluster; each with the failures that it can have."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, cast

import redis

from streamguard.errors import StoreUnavailableError
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.store import StreamStore
from streamguard.values import StreamRef

from ..harness.redis import RedisServer
from ..harness.redis_cluster import ClusterNode, RedisCluster, SlotMigration
from .plan import WORKERS

__all__ = ["ClusterWorld", "Link", "MemoryWorld", "RedisWorld", "World"]

COMMAND_SECONDS: Final = 1.0
PAUSED_SECONDS: Final = 1.2
MIGRATING_SECONDS: Final = 0.02


class Link:
    """One worker's way to its store: the next call may not arrive, or its reply may not."""

    def __init__(self, store: Callable[[], StreamStore], lost: Callable[[], None]) -> None:
        self._store = store
        self._lost = lost
        self.loses_request = self.loses_reply = False
        self.losses = 0

    def __getattr__(self, name: str) -> object:
        async def call(*args: object, **kwargs: object) -> object:
            if self.loses_request:
                self.loses_request = False
                self.losses += 1
                self._lost()
                raise StoreUnavailableError(f"{name}: the request is lost", operation=name)
            result = await getattr(self._store(), name)(*args, **kwargs)
            if self.loses_reply:
                self.loses_reply = False
                self.losses += 1
                self._lost()
                raise StoreUnavailableError(f"{name}: the reply is lost", operation=name)
            return result

        return call


class MemoryWorld:
    """A memory store, of which an older state comes back at a failover."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._kept: MemoryStore | None = None
        self.links = [Link(lambda: self._store, lambda: None) for _ in range(WORKERS)]

    async def begin(self, number: int) -> None:
        """Be empty, before a schedule."""
        del number
        self._store, self._kept = MemoryStore(), None
        for link in self.links:
            link.loses_request = link.loses_reply = False

    async def aclose(self) -> None:
        """Nothing is left."""

    def store(self, who: int) -> StreamStore:
        """A worker's store."""
        return cast("StreamStore", self.links[who])

    async def lose(self, who: int, ref: StreamRef, *, reply: bool) -> None:
        """Lose a worker's next request, or the reply to it."""
        del ref
        self.links[who].loses_request, self.links[who].loses_reply = not reply, reply

    async def cut(self) -> None:
        """Cut every connection: there is none."""

    async def pause(self, ref: StreamRef) -> None:
        """Nothing here takes time."""

    async def lag(self, ref: StreamRef) -> None:
        """Keep the present state for a failover."""
        del ref
        self._kept = copy.deepcopy(self._store)

    async def fail_over(self, ref: StreamRef) -> None:
        """Bring the kept state back, if there is one."""
        del ref
        if self._kept is not None:
            self._store, self._kept = self._kept, None

    async def migrate(self, ref: StreamRef) -> None:
        """There are no slots."""

    async def move(self, ref: StreamRef) -> None:
        """There are no slots."""

    async def migrated(self) -> None:
        """There are no slots."""


class RedisWorld(MemoryWorld):
    """A Redis. At a failover all keys are what they were, and every connection is cut: all that a client can see of
    one. A lost reply cuts the connections too."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._masters: Callable[[], Sequence[redis.Redis]] = lambda: [server.client()]
        self._open([RedisStore(server.url, command_seconds=COMMAND_SECONDS) for _ in range(WORKERS)])

    def _open(self, stores: Sequence[RedisStore]) -> None:
        self._stores = stores
        self._dumps: list[tuple[redis.Redis, dict[bytes, tuple[bytes, int]]]] | None = None
        self.links = [Link(lambda store=store: store, self._kill) for store in stores]  # type: ignore[misc] # bound

    async def begin(self, number: int) -> None:
        del number
        for master in self._masters():
            master.flushall()
        self._dumps = None
        for link in self.links:
            link.loses_request = link.loses_reply = False

    async def aclose(self) -> None:
        for store in self._stores:
            await store.aclose()

    def _kill(self) -> None:
        for master in self._masters():
            master.client_kill_filter(_type="normal", skipme=True)

    async def cut(self) -> None:
        self._kill()

    async def lag(self, ref: StreamRef) -> None:
        del ref
        self._dumps = [(master, _dump(master)) for master in self._masters()]

    async def fail_over(self, ref: StreamRef) -> None:
        del ref
        dumps, self._dumps = self._dumps, None
        for master, dump in dumps or ():
            with master.pipeline(transaction=False) as pipe:
                pipe.flushall()
                for key, (value, ttl_ms) in dump.items():
                    pipe.restore(key, max(0, ttl_ms), value, replace=True)
                pipe.execute()
        self._kill()


class ClusterWorld(RedisWorld):
    """A cluster whose nodes have replicas and fault proxies. Slots really move; the proxies lose replies. At most
    failovers all keys are what they were, which takes no time; in each `REAL`th schedule a replica really takes over.
    """

    REAL: Final = 25

    def __init__(self, cluster: RedisCluster) -> None:
        MemoryWorld.__init__(self)
        self._cluster = cluster
        self._masters = lambda: [node.client() for node in cluster.masters()]
        self._open([RedisStore(cluster.url, command_seconds=COMMAND_SECONDS) for _ in range(WORKERS)])
        self._real = False
        self._lagging: ClusterNode | None = None
        """The replica that nothing reaches."""
        self._migration: SlotMigration | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._paused: ClusterNode | None = None
        self._waking: asyncio.TimerHandle | None = None
        self.migrations = self.failovers = 0

    async def begin(self, number: int) -> None:
        self._wake()
        await self.migrated()
        self._end_lag()
        self._real = number % self.REAL == 0 and len(self._cluster.nodes) > 3
        await super().begin(number)

    async def lose(self, who: int, ref: StreamRef, *, reply: bool) -> None:
        del who
        self._wake()
        proxy = self._cluster.master_of(_key(ref)).proxy
        assert proxy is not None
        mark = ref.stream_id.encode()
        if reply:
            proxy.lose_reply(mark)
        else:
            proxy.lose_request(mark)

    async def pause(self, ref: StreamRef) -> None:
        """Until the next failure, or for longer than a command may take."""
        self._wake()
        self._paused = self._cluster.master_of(_key(ref))
        self._paused.pause()
        self._waking = asyncio.get_running_loop().call_later(PAUSED_SECONDS, self._wake)

    def _wake(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.resume()

    async def cut(self) -> None:
        self._wake()
        await super().cut()

    async def aclose(self) -> None:
        self._wake()
        self._finish()
        await super().aclose()

    async def lag(self, ref: StreamRef) -> None:
        self._wake()
        await self.migrated()
        if not self._real:
            await super().lag(ref)
            return
        replica = self._cluster.replica_of(self._cluster.master_of(_key(ref)))
        await asyncio.to_thread(self._cluster.wait_until_replicated)
        # It cannot log in to its master any more, so that nothing more reaches it.
        replica.command("CONFIG", "SET", "masterauth", "wrong")
        replica.command("CLIENT", "KILL", "TYPE", "master")
        self._lagging = replica

    def _end_lag(self) -> None:
        replica, self._lagging = self._lagging, None
        if replica is not None:
            replica.command("CONFIG", "SET", "masterauth", "")

    async def fail_over(self, ref: StreamRef) -> None:
        self._wake()
        await self.migrated()
        if not self._real:
            await super().fail_over(ref)
            return
        self.failovers += 1
        master = self._cluster.master_of(_key(ref))
        if self._lagging is not None:
            await asyncio.to_thread(self._cluster.take_over, master)
            self._end_lag()
        else:
            # Not as `fail_over` does: of two in half a minute, the other masters refuse the second their vote.
            await asyncio.to_thread(self._cluster.wait_until_replicated)
            await asyncio.to_thread(self._cluster.take_over, master)
        await asyncio.to_thread(self._cluster.wait_until_agreed)
        await asyncio.to_thread(self._cluster.wait_until_replicated)

    async def migrate(self, ref: StreamRef) -> None:
        self._wake()
        if self._migration is None and self._lagging is None and self._dumps is None:
            self.migrations += 1
            self._migration = self._cluster.begin_migration(_key(ref))
            # Half way, most steps have to wait: no server has the whole session.
            self._ending = asyncio.get_running_loop().call_later(MIGRATING_SECONDS, self._finish)

    async def move(self, ref: StreamRef) -> None:
        del ref
        self._wake()
        if self._migration is not None:
            self._migration.move(*self._migration.keys_left()[:1])

    async def migrated(self) -> None:
        self._wake()
        self._finish()

    def _finish(self) -> None:
        self._wake()
        if self._ending is not None:
            self._ending.cancel()
        migration, self._migration = self._migration, None
        if migration is not None:
            with suppress(redis.exceptions.RedisError):
                migration.finish()


World = MemoryWorld


def _key(ref: StreamRef) -> bytes:
    return Keys("streamguard").stream(ref).log


def _dump(master: redis.Redis) -> dict[bytes, tuple[bytes, int]]:
    found = {}
    for key in master.scan_iter(count=1000):
        value = master.dump(key)
        if isinstance(value, bytes):
            found[bytes(key)] = (value, int(master.pttl(key)))
    return found
