"""Pipelined connections: the requests of many callers that wait go out in one write.

No caller reads its own replies. So one that is cancelled, or whose time is up, does not lose those of the others, and a
hundred streams that begin at once cost a few exchanges and not hundreds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ...deadlines import Deadline
from ...loops import PerLoop
from ...lua import Call
from .driver import Command, Connection, Connector, Reply, Usual, pack
from .errors import checked, closed_error
from .index_calls import ShardCall
from .pipelined_connection import PipelinedConnection, Request
from .scripts import Scripts

__all__ = ["Connections", "OrderedConnection", "PipelinedConnections", "Server"]


class Server(NamedTuple):
    """One of the servers that connections lead to."""

    name: str
    """Scheme, host and port, or the socket."""
    connections: Connections
    owns: Callable[[bytes], bool]
    """Whether it has a key's slot."""


class Connections(ABC):
    """Connections to a Redis, which may be one server or a cluster, and calls of its scripts."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def script(self, name: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()) -> Command:
        """A call of the script `name`."""
        packed = pack(("EVALSHA", self._scripts.digests[name], len(keys), *keys, *args))
        return Command(packed, name, key=keys[0] if keys else None)

    def command(self, call: Call[Any]) -> Command:
        """A call of one of our scripts, to be sent."""
        (key_count, words), script = call.sent(), call.script
        packed = pack(("EVALSHA", self._scripts.digests[script], key_count, *words))
        on_index = call.shard_key if isinstance(call, ShardCall) else None
        key: Any = words[0]
        return Command(packed, script, on_index, key)

    def script_start(self, name: str, keys: Sequence[bytes], args: Sequence[str | bytes | int], *, more: int) -> bytes:
        """The beginning of a call of the script `name` with `more` arguments after `args`, which the caller packs
        behind it: for a call that is made over and over with little else that changes."""
        fixed = ("EVALSHA", self._scripts.digests[name], len(keys), *keys, *args)
        _, _, packed = pack(fixed).partition(b"\r\n")
        return b"*%d\r\n%b" % (len(fixed) + more, packed)

    @abstractmethod
    async def run(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        """The replies to `commands`, error replies among them, in one exchange with whatever else waits.

        A script the server does not know is loaded and called again, and only that. Cancelling a call takes back
        nothing that was sent, and disturbs no other.

        Raises:
            StoreUnavailableError: no connection, or no answer within the command timeout.
        """

    @abstractmethod
    def post(self, operation: str, commands: Sequence[Command]) -> None:
        """Send `commands` with the next exchange, and do not wait for the replies. For clearing up."""

    async def load_scripts(self) -> None:
        """Load all scripts, to spare the first stream the round trip."""
        sources: Mapping[str, str] = self._scripts.sources
        checked("start", await self.run("start", [Command.of("SCRIPT", "LOAD", sources[n]) for n in sorted(sources)]))

    @abstractmethod
    async def servers(self, operation: str) -> list[Server]:
        """Every server that takes writes.

        Raises:
            StoreUnavailableError: they cannot be found.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections; later calls are refused, waiting ones fail. Those of other event loops are closed
        there, soon."""

    @abstractmethod
    def reopen(self) -> None:
        """Allow calls again after `aclose`."""


class PipelinedConnections(Connections):
    """To one server: a fixed number of connections for each event loop, opened when needed. With one, commands run
    strictly in the order of the calls (see `OrderedConnection`)."""

    def __init__(self, address: Connector, scripts: Scripts, *, count: int, command_seconds: float) -> None:
        super().__init__(scripts)
        self._address = address
        self._connections: PerLoop[list[PipelinedConnection]] = PerLoop(
            lambda: [PipelinedConnection(Connection(address), scripts) for _ in range(count)], _abandon
        )
        self._seconds = command_seconds
        self._closed = False

    async def run(
        self, operation: str, commands: Sequence[Command], *, deadline: Deadline | None = None
    ) -> list[Reply]:
        """As `Connections.run`; `deadline` instead of the command timeout."""
        if len(commands) == 1:  # nearly always
            ((packed, script, _, _),) = commands
            _, replies = self._least_busy(operation).ask(operation, (packed,), (script,), self._seconds, deadline)
        else:
            connection = self._least_busy(operation)
            if not commands:
                return []
            every, scripts = [one.packed for one in commands], [one.script for one in commands]
            _, replies = connection.ask(operation, every, scripts, self._seconds, deadline)
        return await replies

    def post(self, operation: str, commands: Sequence[Command]) -> None:
        if not self._closed and commands:
            packed, scripts = [one.packed for one in commands], [one.script for one in commands]
            connection = self._least_busy(operation)
            connection.submit(Request(operation, packed, scripts, None, connection.until(self._seconds)))

    async def servers(self, operation: str) -> list[Server]:
        return [Server(str(self._address), self, lambda _: True)]

    async def aclose(self) -> None:
        self._closed = True
        for loop, connections in self._connections.pop_others():
            for connection in connections:
                with suppress(RuntimeError):  # it was closed meanwhile
                    loop.call_soon_threadsafe(connection.close_soon)
        for connection in self._connections.pop() or ():
            await connection.aclose()

    def reopen(self) -> None:
        self._closed = False

    def close_soon(self) -> None:
        """As `aclose`, without waiting for the connections' ends."""
        self._closed = True
        for connection in self._connections.pop() or ():
            connection.close_soon()
        for loop, connections in self._connections.pop_others():
            for connection in connections:
                with suppress(RuntimeError):  # it was closed meanwhile
                    loop.call_soon_threadsafe(connection.close_soon)

    def _least_busy(self, operation: str) -> PipelinedConnection:
        """The first connection that is free, else the one with the fewest requests: a second one is opened only under
        load.

        Raises:
            StoreUnavailableError: the store is closed.
        """
        if self._closed:
            raise closed_error(operation)
        connections = self._connections.get()
        if len(connections) == 1:
            return connections[0]
        for connection in connections:
            if not connection.busy and not connection.waiting:
                return connection
        return min(connections, key=lambda connection: (connection.busy, len(connection.waiting)))


class OrderedConnection(PipelinedConnections):
    """To one server: one connection for each event loop, which keeps the order of the calls. It can have a state, such
    as a transaction's, and calls can be packed by hand."""

    def __init__(self, address: Connector, scripts: Scripts, *, command_seconds: float) -> None:
        super().__init__(address, scripts, count=1, command_seconds=command_seconds)

    @property
    def here(self) -> PipelinedConnection:
        """The connection of the running loop: its calls go over this one, unless the store is closed meanwhile."""
        return self._connections.get()[0]

    async def run_packed(
        self,
        operation: str,
        packed: Sequence[bytes],
        scripts: Sequence[str | None],
        *,
        count: int | None = None,
        only_on: int = 0,
        usual: Usual | None = None,
    ) -> tuple[list[Reply], int]:
        """`run` for commands that are packed already, with the scripts that the last of them call. Also gives the
        `number` of the connection over which all replies came; 0 if it is gone, or they came over several. With a
        `count` of commands, those that call no script may be in pieces; `usual` is what the replies nearly always begin
        with.

        Raises:
            OtherConnectionError: the connection is not the one with the number `only_on`; nothing was sent.
            StoreUnavailableError: see `run`.
        """
        request, replies = self._least_busy(operation).ask(
            operation, packed, scripts, self._seconds, count=count, only_on=only_on, usual=usual
        )
        return await replies, request.number


def _abandon(connections: list[PipelinedConnection]) -> None:
    """Drop connections whose event loop is closed, and with it everything that waited."""
    for pipelined in connections:
        pipelined.connection.abandon()
