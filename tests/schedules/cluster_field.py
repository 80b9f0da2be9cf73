"""The cluster in which many schedules are played side by side, and its failures: masters fail for all of them together,
one after the other."""

from __future__ import annotations

import asyncio
from typing import Final

from ..harness.redis_cluster import SLOTS, ClusterNode, RedisCluster
from ..harness.waiting import wait_until_async
from .cluster_world import ClusterWorld
from .losses import Losses

__all__ = ["ClusterField", "schedules_cluster"]

AGREED_SECONDS: Final = 60.0
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
