"""One of many schedules in a cluster: it has a stream in slots of its own, which it moves, and connections of its own,
which it cuts."""

from __future__ import annotations

import asyncio
import binascii
import itertools
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import redis

from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.keys import Keys
from streamguard.stores.redis.outbox import AWAY_SECONDS, RedisOutbox
from streamguard.stores.redis.removed_entries import RemovedEntries
from streamguard.stores.redis.work_sharing import RedisWorkSharing
from streamguard.values import StreamRef

from ..harness.redis_cluster import SLOTS, ClusterNode, SlotMigration
from .history import History
from .plan import WORKERS
from .worlds import Link, MemoryWorld, ref_of

if TYPE_CHECKING:
    from .cluster_field import ClusterField

__all__ = ["ClusterWorld"]

KEYS: Final = Keys("streamguard")
COMMAND_SECONDS: Final = 1.0
AT_LEASE_INDEX, AT_OWNER = 3, 4
"""At which server a request or reply is lost, if not at the one that has the stream."""
LATE_SECONDS: Final = 1.3
MIGRATING_SECONDS: Final = 0.02
SLOTS_EACH: Final = 48
"""How many slots each schedule has to choose from. They are moved to and fro: were there many, the maps of slots would
become long."""
STEPS_IN_FLIGHT: Final = 3
"""What was acknowledged in the last so many steps that had an acknowledgement, before a master dies, may not have
reached its replica."""


class ClusterWorld(MemoryWorld):
    """One of the schedules that are played side by side, and its place in the cluster."""

    found_within_seconds = 3 * AWAY_SECONDS
    """What is owed is left alone for that long if the server of its record did not answer."""

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
        self._ref = ref_of(0)
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
        """In every request about the stream to the server that has it."""
        self._armed: list[bytes] = []
        """What requests have in them for which proxies have traps."""
        self._indexed: set[int] = set()
        """The slots of the indexes that the stream is in."""

    def add_user(self, node: ClusterNode) -> None:
        """Let this schedule's workers log in to a node."""
        node.command("ACL", "SETUSER", self._user, "on", f">{self._user}", "~*", "&*", "+@all")

    @property
    def owner(self) -> ClusterNode:
        """The master that has the stream."""
        return self._field.owner(self._slot)

    def is_indexed_at(self, master: ClusterNode) -> bool:
        """Whether a master has an entry of the stream in an index."""
        return any(self._field.owner(slot) is master for slot in self._indexed)

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
        for attempt in itertools.count():
            ref = ref_of(number, attempt)
            slot = _slot(KEYS.stream(ref).meta)
            if slot in self._slots:
                break
        self._disarm()
        self._indexed = {_slot(KEYS.stream(ref).lease_shard), _slot(KEYS.outbox_shard(ref))}
        self._ref, self._slot, self.history, self._mark = ref, slot, history, ref.stream_id.encode()
        await self._on_owner(self._delete)
        return ref

    def _disarm(self) -> None:
        for node in self._cluster.nodes:
            for mark in self._armed:
                if node.proxy is not None:
                    node.proxy.disarm(mark)
        self._armed.clear()

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

    async def lose(self, who: int, ref: StreamRef, *, reply: bool, where: int) -> None:
        keys = KEYS.stream(ref)
        node, mark = {
            AT_LEASE_INDEX: (self._field.owner(_slot(keys.lease_shard)), keys.member),
            AT_OWNER: (self._field.owner(_slot(KEYS.owner(ref.key.owner))), KEYS.owner(ref.key.owner)),
        }.get(where, (self.owner, self._mark))
        assert node.proxy is not None
        if reply:
            node.proxy.lose_reply(mark)
        else:
            node.proxy.lose_request(mark)
        self._armed.append(mark)

    async def pause(self, ref: StreamRef) -> None:
        """The next call arrives when whoever made it has given up."""
        proxy = self.owner.proxy
        assert proxy is not None
        proxy.delay_request(self._mark, LATE_SECONDS)
        self._armed.append(self._mark)

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
        self._disarm()
        self.finish()
        await self._end_lag()
        await self._field.steady.wait()
        if not self._ending_it:
            self._ending_it = True
            self._field.ending += 1

    def later(self) -> None:
        # Workers of all schedules sweep, so any of them may have taken this stream's entry for one that was left over.
        ours = [_removed_by(store) for store in self._stores]
        for world in self._field.worlds:
            for theirs in map(_removed_by, world._stores):
                for removed, mine in zip(theirs, ours[0], strict=True):
                    if any(ref == self._ref for _, ref in removed._removed):
                        mine.add(self._ref)
        for indexes in ours:
            for removed in indexes:
                removed._removed = deque(((-math.inf, ref) for _, ref in removed._removed), removed._removed.maxlen)

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


def _removed_by(store: RedisStore) -> tuple[RemovedEntries, RemovedEntries]:
    """What a store remembers of the entries that it removed, from the lease index and from the outbox."""
    sharing, outbox = store._sharing, store._outbox
    assert isinstance(sharing, RedisWorkSharing)
    assert isinstance(outbox, RedisOutbox)
    return sharing._leases.removed, outbox._index.removed


def _slot(key: bytes) -> int:
    """The slot of a key with a hash tag."""
    return binascii.crc_hqx(key[key.index(b"{") + 1 : key.index(b"}")], 0) % SLOTS
