"""A real Redis Cluster on loopback, and what happens to one: slots move, masters die, replicas take over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

import redis
from redis.crc import key_slot

from .ports import free_port_pair
from .proxy import FaultProxy
from .redis import RedisServer
from .redis_binaries import redis_binary
from .redis_group import RedisGroup
from .waiting import wait_until

__all__ = ["SLOTS", "ClusterNode", "RedisCluster", "SlotMigration"]

SLOTS: Final = 16_384

_START_SECONDS: Final = 60.0
_GIVEN_UP_SECONDS: Final = 6.0
"""After five seconds, a replica gives up a failover that it was told to make."""
_MIGRATE_MS: Final = 5_000
_AT_ONCE: Final = 100
"""How many keys one MIGRATE takes."""


class ClusterNode(RedisServer):
    """One node: a redis-server in cluster mode, with the fault proxy that clients find it behind, if any."""

    def __init__(self, *, config: dict[str, str], binary: Callable[[], str], aof: bool, proxied: bool) -> None:
        super().__init__(aof=aof, config=config, binary=binary, port=free_port_pair())
        self.proxy = FaultProxy(self.port) if proxied else None
        self.public_port = self.port if self.proxy is None else self.proxy.port
        """Where clients are told that it is."""
        self.config |= {
            "cluster-enabled": "yes",
            "cluster-announce-ip": "127.0.0.1",
            "cluster-announce-port": str(self.public_port),
            "cluster-announce-bus-port": str(self.port + 10_000),
        }
        self.node_id = ""
        """Its name in the cluster, once it has started."""

    def start(self) -> None:
        super().start()
        self.node_id = _text(self.command("CLUSTER", "MYID"))

    def info(self, section: str) -> dict[str, str]:
        """What it says of itself: a section of INFO, or `cluster` for CLUSTER INFO."""
        words = ("CLUSTER", "INFO") if section == "cluster" else ("INFO", section)
        return dict(line.split(":", 1) for line in _text(self.command(*words)).splitlines() if ":" in line)

    def view(self) -> dict[str, list[str]]:
        """Its lines of CLUSTER NODES in words, by node id."""
        lines = (line.split() for line in _text(self.command("CLUSTER", "NODES")).splitlines())
        return {words[0]: words for words in lines}

    @property
    def is_master(self) -> bool:
        """Whether it takes itself for one."""
        return "master" in self.view()[self.node_id][2]

    @property
    def sees_every_slot(self) -> bool:
        """Whether it finds that every slot has an owner who is there."""
        facts = self.info("cluster")
        return facts["cluster_state"] == "ok" and int(facts["cluster_slots_ok"]) == SLOTS

    @property
    def slots(self) -> list[range]:
        """The slots that it takes for its own."""
        ranges = []
        for word in self.view()[self.node_id][8:]:
            if not word.startswith("["):
                first, _, last = word.partition("-")
                ranges.append(range(int(first), int(last or first) + 1))
        return ranges


class SlotMigration:
    """A slot on its way from one master to another: the source answers ASK for keys that are gone, and TRYAGAIN to
    commands with several keys of which some are.

    It stays half way until `finish`.
    """

    def __init__(
        self, cluster: RedisCluster, slot: int, target: ClusterNode, *, source: ClusterNode | None = None
    ) -> None:
        self.slot = slot
        self.source = source or cluster.master_of_slot(slot)
        self.target = target
        self._cluster = cluster
        cluster.migrations.append(self)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.source.node_id)
        self.source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)

    def move(self, *keys: bytes) -> None:
        """Move these keys. Those that are not there are left out."""
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            self.source.command("MIGRATE", "127.0.0.1", self.target.port, "", 0, _MIGRATE_MS, "KEYS", *some)

    def move_all(self) -> int:
        """Move every key that the slot has now; how many there were."""
        moved = 0
        while keys := self.keys_left():
            self.move(*keys)
            moved += len(keys)
        return moved

    def keys_left(self) -> list[bytes]:
        """Some keys of the slot that the source still has; none if there are none."""
        found = self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, _AT_ONCE)
        assert isinstance(found, list)
        return found

    def finish(self) -> None:
        """Move what is left, and let the target own the slot; every master knows it at once. May be called twice."""
        if self not in self._cluster.migrations:
            return
        self._cluster.wait_until_epochs_known()
        self.move_all()
        # The target first: if it were the source, nobody would own the slot for a moment.
        others = [node for node in self._cluster.masters() if node not in (self.source, self.target)]
        for node in (self.target, self.source, *others):
            node.command("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.node_id)
        self._cluster.migrations.remove(self)


class RedisCluster(RedisGroup):
    """Masters that share out the slots in equal parts, with replicas if asked for. Use as a context manager.

    Args:
        masters: how many.
        replicas: how many each master has.
        node_timeout_seconds: after which silence a node counts as failed, and a replica takes over. A busy machine is
            silent for longer than one thinks: only tests of real failovers should make it short.
        config: more redis-server options for each node.
        binary: finds the program, which may be another version's, or Valkey's.
        aof: each keeps an append-only file, so that a killed node comes back with what it had.
        proxied: each node is behind a `FaultProxy`, which is where clients are sent.
    """

    def __init__(
        self,
        *,
        masters: int = 3,
        replicas: int = 0,
        node_timeout_seconds: float = 15.0,
        config: dict[str, str] | None = None,
        binary: Callable[[], str] = redis_binary,
        aof: bool = False,
        proxied: bool = False,
    ) -> None:
        options = {"cluster-node-timeout": str(round(node_timeout_seconds * 1000)), **(config or {})}
        self._masters = masters
        self.nodes = [
            ClusterNode(config=options, binary=binary, aof=aof, proxied=proxied)
            for _ in range(masters * (1 + replicas))
        ]
        """The masters first, as they were at the start."""
        self.migrations: list[SlotMigration] = []
        """Those that are half way."""
        super().__init__()

    def _members(self) -> list[tuple[RedisServer, FaultProxy | None]]:
        return [(node, node.proxy) for node in self.nodes]

    @property
    def url(self) -> str:
        """`redis+cluster://` URL that names every node."""
        return self.url_of("")

    def url_of(self, login: str) -> str:
        """As `url`, with a user's name and password: `name:password@`."""
        return f"redis+cluster://{login}" + ",".join(f"127.0.0.1:{node.public_port}" for node in self.nodes)

    def database_url(self, database: int) -> str:
        """As `url`: a cluster has database 0 alone."""
        assert database == 0
        return self.url

    # -- who has what -------------------------------------------------------------------------------------------------

    def masters(self) -> list[ClusterNode]:
        """The running nodes that take themselves for masters."""
        return [node for node in self.nodes if node.running and node.is_master]

    def master_of_slot(self, slot: int) -> ClusterNode:
        """The running node that owns a slot; the one of the highest epoch, should several think so."""
        owners = [
            (int(node.view()[node.node_id][6]), node)
            for node in self.masters()
            if any(slot in some for some in node.slots)
        ]
        if not owners:
            raise AssertionError(f"nobody owns slot {slot}")
        return max(owners, key=lambda owner: owner[0])[1]

    def master_of(self, key: bytes) -> ClusterNode:
        """The running node that owns a key's slot."""
        return self.master_of_slot(key_slot(key))

    def another_master(self, than: ClusterNode) -> ClusterNode:
        """A master that is not this one."""
        return next(node for node in self.masters() if node is not than)

    def replica_of(self, master: ClusterNode) -> ClusterNode:
        """A running replica of a master."""
        for node in self.nodes:
            if node.running and node is not master and node.view()[node.node_id][3] == master.node_id:
                return node
        raise AssertionError("this master has no replica that runs")

    def all_keys(self) -> Iterator[bytes]:
        """Every key of every master."""
        for node in self.masters():
            yield from node.client().scan_iter(count=1000)

    def keys_without_ttl(self, database: int = 0) -> list[bytes]:
        """Every key that would live for ever."""
        assert database == 0
        return [key for node in self.masters() for key in node.keys_without_ttl()]

    def clients(self, database: int = 0) -> list[redis.Redis]:
        """A client for each master."""
        assert database == 0
        return [node.client() for node in self.masters()]

    def flush(self, database: int = 0) -> None:
        """Finish every migration and delete every key."""
        assert database == 0
        for migration in tuple(self.migrations):
            migration.finish()
        for node in self.masters():
            node.client().flushall()

    # -- what happens to it -------------------------------------------------------------------------------------------

    def begin_migration(self, key: bytes, *, target: ClusterNode | None = None) -> SlotMigration:
        """Begin to move the slot of a key, to another master; its keys stay where they are until they are moved."""
        slot = key_slot(key)
        return SlotMigration(self, slot, target or self.another_master(self.master_of_slot(slot)))

    def migrate(self, key: bytes, *, target: ClusterNode | None = None) -> ClusterNode:
        """Move the slot of a key with all that is in it; its new owner."""
        migration = self.begin_migration(key, target=target)
        migration.finish()
        return migration.target

    def fail_over(self, master: ClusterNode, *, busy: bool = False) -> ClusterNode:
        """Let a replica take over from a master in agreement with it, so that nothing is lost; the new master. A `busy`
        one goes on to be written to."""
        replica = self.replica_of(master)
        if busy:
            self.wait_until_following()
        else:
            self.wait_until_replicated()
        told_at = -math.inf

        def taken() -> bool:
            nonlocal told_at
            if replica.is_master and not master.is_master:
                return True
            if time.monotonic() - told_at > _GIVEN_UP_SECONDS:
                told_at = time.monotonic()
                replica.command("CLUSTER", "FAILOVER")
            return False

        self._wait(taken, "the replica takes over")
        self.wait_until_agreed()
        return replica

    def take_over(self, master: ClusterNode) -> ClusterNode:
        """Let a replica take over without asking anybody; the old master may run, be paused or dead. What was not
        replicated is lost. The new master."""
        replica = self.replica_of(master)
        replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
        self._wait(lambda: replica.is_master, "the replica takes over")
        return replica

    def kill(self, master: ClusterNode) -> ClusterNode:
        """Kill a master, and wait until the cluster itself has made its replica one; the new master. It takes
        `node_timeout_seconds`, and a second or two."""
        replica = self.replica_of(master)
        master.kill()
        self._wait(lambda: replica.is_master, "the replica is elected")
        self.wait_until_agreed()
        return replica

    def wait_until_agreed(self) -> None:
        """Wait until every running node finds the cluster whole, and all give each slot the same owner."""
        self._wait(self._agreed, "all nodes agree")

    def wait_until_epochs_known(self) -> None:
        """Wait until all masters know the highest epoch. One that gets a slot makes its own the next one: had another
        the same or a higher one meanwhile, nobody might have the slot in the end."""

        def known() -> bool:
            return len({node.info("cluster")["cluster_current_epoch"] for node in self.masters()}) == 1

        self._wait(known, "all masters know the epoch")

    def wait_until_following(self) -> None:
        """Wait until every running replica is connected to its master and has caught up with it once."""

        def following() -> bool:
            facts = [node.info("replication") for node in self.nodes if node.running]
            replicas = [one for one in facts if one["role"] == "slave"]
            followed = sum(int(one["connected_slaves"]) for one in facts if one["role"] == "master")
            return followed == len(replicas) and all(one["master_link_status"] == "up" for one in replicas)

        self._wait(following, "the replicas follow")

    def wait_until_replicated(self) -> None:
        """Wait until every running replica has all that its master had when this was called, or, of a new master, when
        that was first asked."""
        had: dict[str, int] = {}

        def replicated() -> bool:
            running = [node for node in self.nodes if node.running]
            for node in running:
                if node.node_id not in had and (facts := node.info("replication"))["role"] == "master":
                    had[node.node_id] = int(facts["master_repl_offset"])
            for node in running:
                facts = node.info("replication")
                if facts["role"] == "master":
                    continue
                # Its own count: what its master knows of it is a second old.
                wanted = had.get(node.view()[node.node_id][3])
                if facts["master_link_status"] != "up" or wanted is None or int(facts["slave_repl_offset"]) < wanted:
                    return False
            return True

        self._wait(replicated, "the replicas have everything")

    def _agreed(self) -> bool:
        owners = set()
        for node in self.nodes:
            if node.running:
                if not node.sees_every_slot:
                    return False
                lines = node.view().values()
                owners.add(frozenset((words[0], *words[8:]) for words in lines if len(words) > 8))
        return len(owners) == 1

    # -- the beginning ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        for node in self.nodes:
            node.start()
        first, *others = self.nodes
        for number, node in enumerate(self.nodes[: self._masters]):
            begin, end = (SLOTS * place // self._masters for place in (number, number + 1))
            node.command("CLUSTER", "ADDSLOTS", *range(begin, end))
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in others:
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port, node.port + 10_000)
        self._wait(self._all_known, "the nodes know each other")
        for number, node in enumerate(self.nodes[self._masters :]):
            node.command("CLUSTER", "REPLICATE", self.nodes[number % self._masters].node_id)
        self.wait_until_agreed()
        self.wait_until_replicated()

    def _all_known(self) -> bool:
        return all(
            len(node.view()) == len(self.nodes)
            and all("handshake" not in words[2] and words[7] == "connected" for words in node.view().values())
            for node in self.nodes
        )

    @staticmethod
    def _wait(condition: Callable[[], bool], description: str) -> None:
        def asked() -> bool:
            try:
                return condition()
            except redis.exceptions.RedisError:  # a node that is just going away, or not there yet
                return False

        wait_until(asked, description=description, timeout=_START_SECONDS)


def _text(answer: object) -> str:
    assert isinstance(answer, (bytes, str))
    return answer.decode() if isinstance(answer, bytes) else answer
