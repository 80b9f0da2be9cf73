"""A cluster in which many schedules are played side by side: each has a stream in slots of its own, which it moves, and
connections of its own, which it cuts. Masters fail for all of them together, one after the other."""

from __future__ import annotations

import asyncio
import binascii
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import redis

from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.values import StreamRef

from ..harness.redis_cluster import SLOTS, ClusterNode, RedisCluster, SlotMigration
from ..harness.waiting import wait_until_async
from .history import History
from .losses import Losses
from .plan import WORKERS
from .worlds import Link, MemoryWorld, ref_of

__all__ = ["ClusterField", "ClusterWorld", "schedules_cluster"]

COMMAND_SECONDS: Final = 1.0
LATE_SECONDS: Final = 1.3
MIGRATING_SECONDS: Final = 0.02
AGREED_SECONDS: Final = 60.0
SLOTS_EACH: Final = 48
"""How many slots each schedule has to choose from. They are moved to and fro: were there many, the maps of slots would
become long."""
STEPS_IN_FLIGHT: Final = 3
"""What was acknowledged in the last so many steps that had an acknowledgement, before a master dies, may not have
reached its replica."""

NODE_TIMEOUT_SECONDS: Final = 3.0
"""The other masters vote for a replica of one once in twice this time."""


def schedules_cluster() -> RedisCluster:
    """A cluster for schedules, to be started."""
    config = {
        # No replica takes over by itself: what no schedule asked for, none could account for.
        "cluster-replica-no-failover": "yes",
        # A replica that follows another master gets its data at once, not after five seconds.
        "repl-diskless-sync-delay": "0",
    }
    return RedisCluster(replicas=1, proxied=True, node_timeout_seconds=NODE_TIMEOUT_SECONDS, config=config)


class ClusterField:
    """The cluster, what all schedules in it know of its slots, and the failures that all of them have together."""

    def __init__(self, cluster: RedisCluster, *, together: int, real: int = 50) -> None:
        """Args:
        cluster: with replicas, behind proxies.
        together: how many schedules are played side by side.
        real: one schedule in so many has real failovers; at those of the others, the keys of the schedule's slot are
            what they were.
        """
        self.cluster = cluster
        self.real = real
        self.migrations = self.takeovers = self.deaths = self.handovers = 0
        self.failing = asyncio.Lock()
        """Held by the schedule that makes masters fail."""
        self.steady = asyncio.Event()
        """Not set while a master is being replaced: nothing else is done to the cluster then."""
        self.steady.set()
        self.may_migrate = True
        self.ending = 0
        """How many schedules are being looked at, of which nothing may go wrong any more."""
        self.owners: list[ClusterNode | None] = [None] * SLOTS
        self.read_owners()
        self.worlds = [ClusterWorld(self, number) for number in range(together)]

    def read_owners(self) -> None:
        """Ask the nodes which slots they have."""
        for node in self.cluster.masters():
            for some in node.slots:
                for slot in some:
                    self.owners[slot] = node

    def owner(self, slot: int) -> ClusterNode:
        """The master that has a slot."""
        node = self.owners[slot]
        assert node is not None
        return node

    async def prepare(self) -> None:
        """Finish all migrations, begin no more, and wait until every node knows who has which slot: a replica that does
        not know of a slot that its master gave away takes it back when it becomes the master."""
        self.may_migrate = False
        for world in self.worlds:
            world.finish()
        await asyncio.to_thread(self.cluster.wait_until_agreed)

    async def settle(self) -> None:
        """Wait until the cluster is whole, and every replica has what its master had: one that says that it follows may
        still wait for the first of the commands that came after its snapshot."""
        await asyncio.to_thread(self.cluster.wait_until_agreed)
        await asyncio.to_thread(self.cluster.wait_until_replicated)
        self.read_owners()

    async def unsettle(self) -> None:
        """Look at no schedule until a master is replaced: the old one answers for a while with what it has."""
        self.steady.clear()
        await wait_until_async(lambda: not self.ending, description="the schedules end", timeout=AGREED_SECONDS)

    def note(self, what: str, master: ClusterNode) -> None:
        """Note in every schedule what happens to a master."""
        for world in self.worlds:
            if world.history is not None:
                whose = "its own" if world.owner is master else "another"
                world.history.note(f"{what}, {whose} master ({master.port})")

    async def hand_over(self, master: ClusterNode) -> None:
        """A replica takes over in agreement with its master: nothing may be lost."""
        self.handovers += 1
        self.note("handed over", master)
        await asyncio.to_thread(self.cluster.fail_over, master, busy=True)
        await self.settle()

    async def take_over(self, master: ClusterNode) -> None:
        """A replica takes over without asking, while the master takes writes."""
        self.takeovers += 1
        self.note("taken over", master)
        with Losses(self, master):
            await asyncio.to_thread(self.cluster.take_over, master)
            await self.settle()

    async def kill(self, master: ClusterNode) -> None:
        """The master dies, a replica takes over, and the old one comes back as its replica."""
        self.deaths += 1
        self.note("killed", master)
        replica = self.cluster.replica_of(master)
        with Losses(self, master):
            master.kill()
            await wait_until_async(
                lambda: replica.info("replication").get("master_link_status") == "down",
                description="the replica has read all that there was",
                timeout=AGREED_SECONDS,
            )
            replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
            master.start()
            for world in self.worlds:
                world.add_user(master)
            await self.settle()
        self.note("replaced", master)

    def __str__(self) -> str:
        return (
            f"{self.migrations} slots moved, {self.handovers} masters handed over, {self.takeovers} taken over, "
            f"{self.deaths} killed"
        )


class ClusterWorld(MemoryWorld):
    """One of the schedules that are played side by side, and its place in the cluster."""

    def __init__(self, field: ClusterField, number: int) -> None:
        super().__init__()
        self._field = field
        self._cluster = field.cluster
        self._user = f"world{number}"
        for node in self._cluster.nodes:
            self.add_user(node)
        url = self._cluster.url_of(f"{self._user}:{self._user}@")
        self._stores = [RedisStore(url, command_seconds=COMMAND_SECONDS) for _ in range(WORKERS)]
        self.links = [Link(lambda store=store: store, lambda: None) for store in self._stores]  # type: ignore[misc] # bound
        self._slots = {
            SLOTS * n // 3 + number * (SLOTS_EACH // 3) + k for n in range(3) for k in range(SLOTS_EACH // 3)
        }
        self._slot = min(self._slots)
        self._real = False
        self._lags = False
        """This schedule keeps a replica from following its master."""
        self._lagged: dict[ClusterNode, int] = {}
        """The masters whose replicas do not follow, by whatever schedule, and this one's step when that began."""
        self._dump: dict[bytes, tuple[bytes, int]] | None = None
        self._migration: SlotMigration | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._number = 0
        self.history: History | None = None
        self._ending_it = False
        self._mark = b""
        """In every request about the stream."""

    def add_user(self, node: ClusterNode) -> None:
        """Let this schedule's workers log in to a node."""
        node.command("ACL", "SETUSER", self._user, "on", f">{self._user}", "~*", "&*", "+@all")

    @property
    def owner(self) -> ClusterNode:
        """The master that has the stream."""
        return self._field.owner(self._slot)

    def lagged_at(self, master: ClusterNode) -> int:
        """The step after which nothing may have reached the replica of a master."""
        if self.history is None:
            return 0
        now = self.history.now
        return self.history.before_last(STEPS_IN_FLIGHT, min(self._lagged.get(master, now), now))

    async def begin(self, number: int, history: History) -> StreamRef:
        field = self._field
        await field.steady.wait()
        self._real, self._number, self._dump = number % field.real == 0, number, None
        self._lagged = {world.owner: 0 for world in field.worlds if world._lags}
        keys = Keys("streamguard")
        for attempt in itertools.count():
            ref = ref_of(number, attempt)
            slot = _slot(keys.stream(ref).meta)
            if slot in self._slots:
                break
        for node in self._cluster.nodes:
            if node.proxy is not None:
                node.proxy.disarm(self._mark)
        self._slot, self.history, self._mark = slot, history, ref.stream_id.encode()
        await self._on_owner(self._delete)
        return ref

    def _delete(self, node: ClusterNode) -> None:
        if names := self._keys(node):
            node.command("DEL", *names)

    def _keys(self, node: ClusterNode) -> list[bytes]:
        found = node.command("CLUSTER", "GETKEYSINSLOT", self._slot, 10_000)
        assert isinstance(found, list)
        return found

    async def _on_owner(self, change: Callable[[ClusterNode], None]) -> None:
        """Change something at the master that has the slot, which may have just become one."""
        while True:
            await self._field.steady.wait()
            with suppress(redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                change(self.owner)
                return
            await asyncio.sleep(MIGRATING_SECONDS)

    async def lose(self, who: int, ref: StreamRef, *, reply: bool) -> None:
        proxy = self.owner.proxy
        assert proxy is not None
        if reply:
            proxy.lose_reply(self._mark)
        else:
            proxy.lose_request(self._mark)

    async def pause(self, ref: StreamRef) -> None:
        """The next call arrives when whoever made it has given up."""
        proxy = self.owner.proxy
        assert proxy is not None
        proxy.delay_request(self._mark, LATE_SECONDS)

    async def cut(self) -> None:
        await self._field.steady.wait()
        for node in self._cluster.nodes:
            with suppress(redis.exceptions.RedisError):
                node.command("CLIENT", "KILL", "USER", self._user)

    async def lag(self, ref: StreamRef) -> None:
        self.finish()
        if self._real:
            await self._lag()
        else:
            await self._on_owner(self._keep)

    def _keep(self, node: ClusterNode) -> None:
        client, dump = node.client(), {}
        for key in self._keys(node):
            value = client.dump(key)
            if isinstance(value, bytes):
                dump[key] = value, int(client.pttl(key))
        self._dump = dump

    async def _lag(self) -> None:
        field = self._field
        await field.failing.acquire()
        self._lags = True
        await field.prepare()
        master = self.owner
        field.note("not followed any more", master)
        for world in field.worlds:
            if world.history is not None:
                world._lagged[master] = world.history.now
        # It cannot log in to its master any more, so that nothing more reaches it.
        replica = self._cluster.replica_of(master)
        replica.command("CONFIG", "SET", "masterauth", "wrong")
        replica.command("CLIENT", "KILL", "TYPE", "master")

    async def _end_lag(self) -> None:
        if self._lags:
            try:
                for node in self._cluster.nodes:
                    node.command("CONFIG", "SET", "masterauth", "")
                await self._field.settle()
                self._field.note("followed again", self.owner)
            finally:
                self._lags = False
                for world in self._field.worlds:
                    world._lagged.clear()
                self._field.may_migrate = True
                self._field.failing.release()

    async def fail_over(self, ref: StreamRef) -> None:
        self.finish()
        if not self._real:
            if self._dump is not None:
                await self._on_owner(self._restore)
            await self.cut()
            return
        field = self._field
        if self._lags:
            try:
                await field.unsettle()
                await field.take_over(self.owner)
            finally:
                field.steady.set()
                await self._end_lag()
            return
        async with field.failing:
            try:
                await field.prepare()
                await field.settle()
                await field.unsettle()
                await [field.hand_over, field.kill, field.take_over][self._number // field.real % 3](self.owner)
            finally:
                field.steady.set()
                field.may_migrate = True

    def _restore(self, node: ClusterNode) -> None:
        dump, self._dump = self._dump, None
        with node.client().pipeline(transaction=True) as pipe:
            if names := self._keys(node):
                pipe.delete(*names)
            for key, (value, ttl_ms) in (dump or {}).items():
                pipe.restore(key, max(0, ttl_ms), value, replace=True)
            pipe.execute()

    async def migrate(self, ref: StreamRef) -> None:
        field = self._field
        if self._migration is None and self._dump is None and field.may_migrate:
            field.migrations += 1
            source = self.owner
            target = next(node for node in self._cluster.masters() if node is not source)
            self._migration = SlotMigration(self._cluster, self._slot, target, source=source)
            # Half way, most steps have to wait: no server has the whole session.
            self._ending = asyncio.get_running_loop().call_later(MIGRATING_SECONDS, self.finish)

    async def move(self, ref: StreamRef) -> None:
        if self._migration is not None:
            self._migration.move(*self._migration.keys_left()[:1])

    async def migrated(self) -> None:
        self.finish()

    def finish(self) -> None:
        """End the migration that is half way, if any."""
        if self._ending is not None:
            self._ending.cancel()
        migration, self._migration = self._migration, None
        if migration is not None:
            migration.finish()
            self._field.owners[migration.slot] = migration.target

    async def calm(self) -> None:
        self.finish()
        await self._end_lag()
        await self._field.steady.wait()
        if not self._ending_it:
            self._ending_it = True
            self._field.ending += 1

    async def over(self) -> None:
        if self._ending_it:
            self._ending_it = False
            self._field.ending -= 1
        self.finish()
        await self._end_lag()

    async def aclose(self) -> None:
        self.finish()
        for store in self._stores:
            await store.aclose()


def _slot(key: bytes) -> int:
    """The slot of a key with a hash tag."""
    return binascii.crc_hqx(key[key.index(b"{") + 1 : key.index(b"}")], 0) % SLOTS
