"""Subscriptions in a cluster to channels that are in slots, each at the server that has the slot.

What is published on a plain channel goes to every server of a cluster, whether anybody listens there or not. On a
sharded one (Redis 7 and later) it stays with the server of the channel's slot, and its replicas. Which of the two
carries the messages is decided by what each server says to `SSUBSCRIBE`: one that does not know it, or forbids it to
this account, has plain channels. One that refuses it for another reason, such as a long script of another application,
is asked again. Publishers use the sharded channel, and the plain one if nobody heard that
(`Scripts.publishing_to_shards`), so that whoever is subscribed in either way is told.

One task finds a new place for subscribers whose slot was moved, or whose server is gone, and tells them that they may
have missed something.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from ...contained import gathered
from ...deadlines import Deadline
from ...errors import StoreUnavailableError
from ...values import StreamRef
from .cluster import AnyServer, Cluster, ClusterServer, OneServer
from .driver import CommandError
from .errors import closed_error
from .refusals import error_code
from .slot_map import Place, Redirect, read_redirection
from .subscriber import Subscriber
from .subscriptions import Subscriptions

__all__ = ["ShardSubscriptions"]

_PLAIN_SECONDS: Final = 300.0
"""How long a server that has no sharded channels, or none for this account, is not asked again."""
_FOR_GOOD: Final = frozenset({"ERR", "NOPERM"})
"""Codes of such refusals: the command is unknown, or forbidden. Others are about the moment, as `BUSY` is."""

PLACED_AT_ONCE: Final = 100
"""How many subscribers a place is found for at once."""
PAUSE_SECONDS: Final = 0.02
"""Between attempts to subscribe at servers each of which names another one."""


class _Shard:
    """The sharded channels at one server."""

    def __init__(self, cluster: Cluster, server: ClusterServer, doubted: asyncio.Event) -> None:
        self._cluster = cluster
        self.server: ClusterServer = server
        """As the cluster knows it now: one that was without slots for a time is another object afterwards."""
        self._doubted = doubted
        self.plain_until = 0.0
        """`time.monotonic` until when its channels are plain ones."""

    def refused(self, error: CommandError) -> Sequence[int] | None:
        """See `ShardEvents`."""
        self._doubted.set()
        said = read_redirection(error, self.server.place)
        if said is None and error_code(error) in _FOR_GOOD:
            self.plain_until = time.monotonic() + _PLAIN_SECONDS
        elif said is not None and said.kind is Redirect.MOVED and said.place is not None:
            self._cluster.moved(said.slot, said.place)
            return [said.slot]
        else:  # of a cluster that is down, or busy with somebody's script: for the moment
            self._cluster.doubt(self.server)
        return None

    def lost(self) -> None:
        """See `ShardEvents`."""
        self._cluster.doubt(self.server)
        self._doubted.set()


class ShardSubscriptions:
    """The subscriptions of one event loop. As `Subscriptions`, for channels of streams."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        command_seconds: float,
        mark_watched: Callable[[Sequence[StreamRef]], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._seconds = command_seconds
        self._mark_watched = mark_watched
        self.plain: Final = Subscriptions(
            AnyServer(cluster), command_seconds=command_seconds, mark_watched=mark_watched
        )
        """The channels that are in no slot, and those of servers without sharded ones."""
        self._shards: dict[Place, tuple[_Shard, Subscriptions]] = {}
        self._homes: dict[Subscriber, Subscriptions] = {}
        self._doubted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @asynccontextmanager
    async def entered(self, subscriber: Subscriber) -> AsyncIterator[None]:
        """Subscribe while entered, which is once a server confirmed all channels. They share a slot.

        Raises:
            StoreUnavailableError: none did within the command timeout.
        """
        deadline = Deadline.after(self._seconds)
        home = await self._home(subscriber, deadline)
        tried: list[Subscriptions] = []
        while True:
            version = self._cluster.version
            try:
                await home.enter(subscriber)
                break
            except StoreUnavailableError:
                tried.append(home)
                home = await self._home(subscriber, deadline)
                if home is tried[-1] or deadline.left_seconds < PAUSE_SECONDS:
                    raise
                if home in tried:  # servers that name each other do not agree yet
                    await asyncio.sleep(PAUSE_SECONDS)
        self._homes[subscriber] = home
        if self._cluster.version != version:  # its slot may have left that place before it was known to be there
            self._doubted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._kept_placed())
        try:
            yield
        finally:
            await self._homes.pop(subscriber).leave(subscriber)

    async def _home(self, subscriber: Subscriber, deadline: Deadline) -> Subscriptions:
        """Where a subscriber's channels are to be heard.

        Raises:
            StoreUnavailableError: no server has their slot, as far as known.
        """
        if self._closed:
            raise closed_error("subscribe")
        server = await self._cluster.server_of("subscribe", subscriber.channels[0], deadline)
        found = self._shards.get(server.place)
        if found is None:
            self._give_up_others()
            shard = _Shard(self._cluster, server, self._doubted)
            found = self._shards[server.place] = (
                shard,
                Subscriptions(
                    OneServer(self._cluster, server),
                    command_seconds=self._seconds,
                    mark_watched=self._mark_watched,
                    shards=shard,
                ),
            )
        shard, subscriptions = found
        shard.server = server
        return self.plain if time.monotonic() < shard.plain_until else subscriptions

    def _give_up_others(self) -> None:
        """End what is left of servers that the cluster does without: all subscribers have gone elsewhere."""
        kept = {server.place for server in self._cluster.known_servers()}
        for place, (_, subscriptions) in tuple(self._shards.items()):
            if place not in kept and not subscriptions.subscribers:
                del self._shards[place]
                subscriptions.close_soon()

    async def _kept_placed(self) -> None:
        """Find places until cancelled. If that fails, it is begun again, with all subscribers."""
        while True:
            try:
                await self._place_all()
            except Exception as exc:  # noqa: BLE001 -- a mistake of ours, which must not leave subscribers where they are
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "the task of the cluster's subscriptions failed", "exception": exc}
                )
                await asyncio.sleep(self._seconds / 4)
                self._doubted.set()

    async def _place_all(self) -> None:
        """Whenever something may have moved, find a place for every subscriber, until all have one."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            left, placed = [*self._homes], True
            while left:  # side by side: some may have gone to a server that is silent
                some, left = left[:PLACED_AT_ONCE], left[PLACED_AT_ONCE:]
                placed = all(await gathered([partial(self._placed, one) for one in some])) and placed
            if not placed:
                await asyncio.sleep(self._seconds / 8)
                self._doubted.set()

    async def _placed(self, subscriber: Subscriber) -> bool:
        """Whether a subscriber is where its channels are, now. It goes on to hear where it was, until it does there."""
        before = self._homes.get(subscriber)
        if before is None:
            return True
        try:
            home = await self._home(subscriber, Deadline.after(self._seconds))
            if home is before:
                return home.connected and not await home.ask_again(subscriber)
            await home.enter(subscriber)
        except StoreUnavailableError:
            return False
        if subscriber not in self._homes:  # it left meanwhile
            await home.leave(subscriber)
            return True
        self._homes[subscriber] = home
        await before.leave(subscriber)
        Subscriptions.tell(subscriber.on_doubt)
        return True

    def close_soon(self) -> None:
        """See `Subscriptions.close_soon`."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        for one in self._all():
            one.close_soon()

    async def aclose(self) -> None:
        """See `Subscriptions.aclose`."""
        self.close_soon()
        if self._task is not None:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._task])
        for one in self._all():
            await one.aclose()

    def abandon(self) -> None:
        """See `Subscriptions.abandon`."""
        for one in self._all():
            one.abandon()

    def _all(self) -> list[Subscriptions]:
        return [self.plain, *(subscriptions for _, subscriptions in self._shards.values())]
