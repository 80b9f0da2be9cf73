"""The servers of a Redis Cluster: found through any of them, each with connections of its own, and how each is.

The map of slots is read when it is first needed, and again when a server that has slots fails, or says that it is not
the one to write to: only who needs that server waits for that. A server that a command was sent to in vain rests: for a
moment calls to it fail at once, since the calls to the others must not wait for it.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby, islice
from typing import Final, TypeVar

from ...contained import Contained
from ...deadlines import Deadline
from ...errors import StoreForbiddenError, StoreUnavailableError
from ...locks import step_lock
from ...loops import PerLoop
from ...unavailable import UnavailableReason, reason_of
from .address import Address, ClusterAddress
from .clock import ServerClock
from .driver import Command, CommandError, Connection, RawConnection
from .errors import checked, mapped_errors
from .pipeline import PipelinedConnections
from .scripts import Scripts
from .slot_map import Place, read_slots, slot_of

__all__ = ["AnyServer", "Cluster", "ClusterServer", "OneServer"]

ASKED_AT_ONCE: Final = 3
"""How many servers are asked for the map at once: one of them may be silent. As many more are asked whenever none of
them has answered for `SILENT_SECONDS`."""
READ_AGAIN_SECONDS: Final = 0.1
"""The map is read at most so often."""
REST_SECONDS: Final = 0.25
"""How long a server is left alone that did not answer."""
SILENT_SECONDS: Final = 0.15
"""A server that has not answered for so long may be down: less than a request waits before it goes on without."""
RECENT_SECONDS: Final = 3.0
"""A server that answered so lately counts as one that answers."""

T = TypeVar("T")


class ClusterServer:
    """One master, and the connections to it."""

    def __init__(self, address: Address, scripts: Scripts, *, command_seconds: float) -> None:
        self.address: Final = address
        self.place: Final = Place(address.host, address.port)
        self.connections: Final = PipelinedConnections(address, scripts, count=2, command_seconds=command_seconds)
        self.ordered: Final = PipelinedConnections(address, scripts, count=1, command_seconds=command_seconds)
        self.clock: Final = ServerClock()
        self._patience = command_seconds
        self._answered_at = -math.inf
        self._failing_since: float | None = None
        self._reason = UnavailableReason.OTHER  # of the last failure
        self._rests_until = -math.inf
        self._asked: dict[object, float] = {}
        """When those who wait for an answer began to, the first one first."""

    @property
    def failing(self) -> bool:
        """Whether the last command that was sent to it had no answer, or one has waited for it for long."""
        return self._failing_since is not None or self._silent

    @property
    def answers(self) -> bool:
        """Whether it answered lately, and has not failed since."""
        return not self.failing and time.monotonic() - self._answered_at < RECENT_SECONDS

    @property
    def rests(self) -> bool:
        """Whether it failed so long, and so lately, that there is no use in waiting for it."""
        return time.monotonic() < self._rests_until

    @property
    def _silent(self) -> bool:
        oldest = next(iter(tuple(self._asked.values())), None)  # a copy: other threads ask it too
        return oldest is not None and time.monotonic() - oldest > SILENT_SECONDS

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around an exchange: who breaks it off after a while had no answer, just as who waited for long enough."""
        token = object()
        self._asked[token] = began = time.monotonic()
        try:
            yield
        except StoreUnavailableError as exc:
            self.failed(reason_of(exc))
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began > SILENT_SECONDS:
                self.failed(UnavailableReason.TIMEOUT)
            raise
        else:
            self.answered()
        finally:
            del self._asked[token]

    def answered(self) -> None:
        """It did what it was asked, or said why not."""
        self._answered_at = time.monotonic()
        self._failing_since = None

    def failed(self, reason: UnavailableReason) -> None:
        """It did not answer."""
        now, self._reason = time.monotonic(), reason
        since = self._failing_since  # which another thread may take back meanwhile
        if since is None:
            self._failing_since = now
        elif now - since >= self._patience / 2:
            self._rests_until = now + REST_SECONDS

    def resting(self, operation: str) -> StoreUnavailableError:
        """The error of a call while it rests."""
        text = f"{operation}: the server of the cluster that has this slot did not answer just now"
        return StoreUnavailableError(text, operation=operation, reason=self._reason)

    def close_soon(self) -> None:
        """Close its connections: it is a master no longer."""
        self.connections.close_soon()
        self.ordered.close_soon()


class Cluster:
    """The masters of one cluster, by slot."""

    def __init__(self, address: ClusterAddress, scripts: Scripts, *, command_seconds: float) -> None:
        """Nothing is connected yet."""
        self.address: Final = address
        self.version: int = 0
        """Changes whenever a slot may have changed its server."""
        self.scripts: Final = scripts
        self.command_seconds: Final = command_seconds
        self._changing = step_lock()
        """Held while a server is found or made, or gets or loses slots: each event loop may do so, in its thread."""
        self._servers: dict[Place, ClusterServer] = {}
        self._masters: list[ClusterServer | None] = []
        """By slot; empty until the map was read."""
        self._doubted: set[ClusterServer | None] = set()
        """They may have lost their slots: the map is read again before they are used; None stands for slots that no
        server had."""
        self._read_at = -math.inf
        self._reading: PerLoop[asyncio.Lock] = PerLoop(asyncio.Lock, lambda _: None)
        self._listening: dict[RawConnection, tuple[Place, asyncio.AbstractEventLoop]] = {}
        """Connections that hear what is published, and where they lead to."""

    # -- who has what ---------------------------------------------------------------------------------------------

    @property
    def servers(self) -> list[ClusterServer]:
        """Every master that has slots, as far as known."""
        return list(dict.fromkeys(one for one in self._masters if one is not None))

    @property
    def partly_down(self) -> bool:
        """Whether some servers fail while others answer."""
        servers = self.known_servers()
        return any(one.failing for one in servers) and any(one.answers for one in servers)

    def known(self, key: bytes) -> ClusterServer | None:
        """The server of a key, as far as known."""
        return self._masters[slot_of(key)] if self._masters else None

    async def server_of(self, operation: str, key: bytes, deadline: Deadline) -> ClusterServer:
        """The server of a key.

        Raises:
            StoreUnavailableError: none has its slot, or it has just failed, or the map cannot be read.
        """
        server = self.known(key)
        if server is None or server in self._doubted:
            await self._read(operation, deadline)
            server = self.known(key)
        if server is None:
            text = f"{operation}: no server of the cluster has this slot"
            raise StoreUnavailableError(text, operation=operation, reason=UnavailableReason.CLUSTER_DOWN)
        if server.rests:
            raise server.resting(operation)
        return server

    async def all_servers(self, operation: str) -> list[ClusterServer]:
        """Every master that has slots.

        Raises:
            StoreUnavailableError: the map cannot be read.
        """
        if not self._masters or self._doubted:
            await self._read(operation, Deadline.after(self.command_seconds))
        return self.servers

    def moved(self, slot: int, place: Place) -> ClusterServer:
        """A server says that another one has a slot now; that one."""
        with self._changing:
            server = self._server(place)
            if self._masters and self._masters[slot] is not server:
                # It may have lost more slots, or all of them.
                self._doubted.add(self._masters[slot])
                self._masters[slot] = server
                self.version += 1
        return server

    def at(self, place: Place) -> ClusterServer:
        """The server that another one named."""
        return self._server(place)

    def doubt(self, server: ClusterServer | None) -> None:
        """Read the map again before a server is used."""
        self._doubted.add(server)

    def _server(self, place: Place) -> ClusterServer:
        with self._changing:
            server = self._servers.get(place)
            if server is None:
                address = self.address.seeds[0].at(*place)
                server = ClusterServer(address, self.scripts, command_seconds=self.command_seconds)
                self._servers[place] = server
        return server

    # -- reading the map --------------------------------------------------------------------------------------------

    async def _read(self, operation: str, deadline: Deadline) -> None:
        """Read the map, unless somebody just did.

        Raises:
            StoreUnavailableError: no server answers.
        """
        with mapped_errors(operation):
            async with deadline.limit(), self._reading.get():
                if self._masters and time.monotonic() - self._read_at < READ_AGAIN_SECONDS:
                    return
                try:
                    masters = await _first([partial(self._ask, one) for one in self.addresses()])
                finally:
                    self._read_at = time.monotonic()
                self._take(masters)

    async def _ask(self, address: Address) -> list[Place | None]:
        connection = Connection(address)
        try:
            with mapped_errors("cluster"):
                words = Command.of("CLUSTER", "SLOTS").packed
                (reply,), _ = await connection.exchange([words], deadline=Deadline.after(self.command_seconds))
        finally:
            await connection.drop()
        if isinstance(reply, CommandError):
            if "NOPERM" in str(reply):
                lacks = ("CLUSTER SLOTS",)
                text = "cluster: this account lacks CLUSTER SLOTS"
                raise StoreForbiddenError(text, operation="cluster", lacks=lacks) from reply
            checked("cluster", [reply])
        return read_slots(reply, Place(address.host, address.port))

    def _take(self, places: Sequence[Place | None]) -> None:
        masters: list[ClusterServer | None] = []
        with self._changing:
            for place, slots in groupby(places):
                server = None if place is None else self._server(place)
                masters += [server] * sum(1 for _ in slots)
            if masters != self._masters:
                self._masters = masters
                self.version += 1
            self._doubted.clear()
            kept = set(masters)
            gone = [(place, one) for place, one in self._servers.items() if one not in kept]
            for place, _ in gone:
                del self._servers[place]
        for place, one in gone:
            one.close_soon()
            self._leave(place)

    # -- the life of the connections ----------------------------------------------------------------------------------

    @staticmethod
    def in_turn(servers: Collection[ClusterServer]) -> list[ClusterServer]:
        """Servers in the order in which any of them is asked: by chance, and those that fail last."""
        some = [*servers]
        return sorted(random.sample(some, len(some)), key=lambda one: one.failing)

    def addresses(self) -> list[Address]:
        """Where to ask about the cluster: servers that do not fail first."""
        servers = self.in_turn(self._servers.values())
        known = {one.place: one.address for one in servers if not one.failing}
        seeds = {Place(seed.host, seed.port): seed for seed in self.address.seeds}
        return list({**known, **seeds, **{one.place: one.address for one in servers}}.values())

    def listen(self, raw: RawConnection, place: Place) -> None:
        """A connection hears at a place what is published, until that server has no slots any more: one that was taken
        out of the cluster goes on to answer, and hears nothing."""
        self._listening[raw] = place, asyncio.get_running_loop()
        raw.on_end = lambda: self._forget(raw)

    def _forget(self, raw: RawConnection) -> None:
        self._listening.pop(raw, None)

    def _leave(self, place: Place) -> None:
        for raw, (there, loop) in tuple(self._listening.items()):
            if there == place:
                with suppress(RuntimeError):  # its loop was closed meanwhile
                    loop.call_soon_threadsafe(raw.lose, ConnectionResetError("the cluster does without this server"))

    def known_servers(self) -> list[ClusterServer]:
        """Every server that there are connections to."""
        return list(self._servers.values())


class AnyServer:
    """Connects to whichever server of a cluster answers first: a message that is published at one reaches all."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __str__(self) -> str:
        return str(self._cluster.address)

    async def connect(self) -> RawConnection:
        """See `Connector`. A server that accepts connections and answers nothing is not taken; nor is one that the URL
        names and the cluster does without, since it may still answer, and hears nothing."""
        servers = await self._cluster.all_servers("subscribe")
        asks = [partial(_greeted, one.address) for one in self._cluster.in_turn(servers)]
        try:
            raw, place = await _first(asks, drop=lambda greeted: greeted[0].close())
        except BaseException:
            self._cluster.doubt(None)  # all of them may have gone
            raise
        self._cluster.listen(raw, place)
        return raw


class OneServer:
    """Connects to one server of a cluster, for what is published in its own slots."""

    def __init__(self, cluster: Cluster, server: ClusterServer) -> None:
        self._cluster = cluster
        self._address = server.address

    def __str__(self) -> str:
        return str(self._address)

    async def connect(self) -> RawConnection:
        """See `Connector`."""
        raw, place = await _greeted(self._address)
        self._cluster.listen(raw, place)
        return raw


async def _greeted(address: Address) -> tuple[RawConnection, Place]:
    raw = await address.connect()
    try:
        await raw.log_in([Command.of("PING").packed])
    except BaseException:
        raw.close()
        raise
    return raw, Place(address.host, address.port)


async def _first(asks: Sequence[Callable[[], Awaitable[T]]], *, drop: Callable[[T], None] = lambda _: None) -> T:
    """What the first of several returns that succeeds, a few of them at a time. The others are cancelled, and what they
    returned all the same is dropped.

    Raises the error of the last one when none succeeds; of several, one that says more than that nobody answered.
    """
    left = iter(asks)
    begun = [Contained(ask, name="streamguard-redis-cluster") for ask in islice(left, ASKED_AT_ONCE)]
    waiting, won = list(begun), list[Contained[T]]()
    error: BaseException | None = None
    try:
        while waiting:
            tasks = [one.task for one in waiting]
            await asyncio.wait(tasks, timeout=SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            ended = [one for one in waiting if one.task.done()]
            waiting = [one for one in waiting if not one.task.done()]
            won = [one for one in ended if one.error is None]
            if won:
                return won[0].result()
            for one in ended:
                if error is None or isinstance(one.error, StoreForbiddenError):
                    error = one.error
            next_ones = islice(left, len(ended) or ASKED_AT_ONCE)
            more = [Contained(ask, name="streamguard-redis-cluster") for ask in next_ones]
            begun += more
            waiting += more
    finally:
        for one in waiting:
            one.task.cancel()
        if waiting:
            await asyncio.wait([one.task for one in waiting])
        for one in begun:
            if one not in won[:1] and one.error is None and not one.task.cancelled():
                drop(one.result())
    raise error or StoreUnavailableError("cluster: no server is named", operation="cluster")
