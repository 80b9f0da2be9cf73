"""Pipelined connections: the requests of many callers that wait go out in one write.

One task per connection writes and reads. So a caller that is cancelled, or whose time is up, does not lose the replies
of the others, and a hundred streams that begin at once cost a few exchanges and not hundreds.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

from ...deadlines import Deadline
from ...errors import StoreUnavailableError
from ...loops import PerLoop
from ...lua import Call
from .driver import DRIVER_ERRORS, Command, Connection, Connector, Reply, pack, unknown_script
from .errors import checked, mapped_error, mapped_errors
from .index_calls import ShardCall
from .scripts import Scripts

__all__ = ["Connections", "OtherConnectionError", "PipelinedConnections", "Server"]

EXCHANGE_COMMANDS: Final = 1_000
"""Commands in one exchange, unless a single request has more: its replies must arrive well within the timeout."""


class OtherConnectionError(Exception):
    """The connection that a request was meant for is not there any more; nothing was sent."""


class _Request:
    """The commands of one call."""

    __slots__ = ("deadline", "number", "only_on", "operation", "packed", "replies", "scripts")

    def __init__(
        self,
        operation: str,
        packed: Sequence[bytes],
        scripts: Sequence[str | None],
        replies: asyncio.Future[list[Reply]] | None,
        deadline: Deadline,
        only_on: int = 0,
    ) -> None:
        self.operation = operation
        self.packed = packed
        self.scripts = scripts
        """The script that each calls, if any."""
        self.replies = replies
        """None when the caller does not wait for them."""
        self.deadline = deadline
        """By when the replies must be there; the wait for the connection counts."""
        self.only_on = only_on
        """The number of the connection that it is meant for; 0 for any."""
        self.number = 0
        """That of the connection over which all its replies came, if it was one."""


class _PipelinedConnection:
    """One connection and its task, which owns the futures of all requests and resolves each, however it ends."""

    def __init__(self, connection: Connection, scripts: Scripts) -> None:
        self.connection = connection
        self.waiting: deque[_Request] = deque()
        """Requests that no exchange carries yet."""
        self.busy = False
        """An exchange is under way."""
        self._batch: list[_Request] = []
        """What the exchange under way carries."""
        self._scripts = scripts
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def submit(self, request: _Request) -> None:
        """Queue a request."""
        self.waiting.append(request)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="streamguard-redis-connection")
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close_soon(self) -> None:
        """End the task, and with it the connection, without waiting for that."""
        if self._task is not None:
            self._task.cancel()
        self._fail([*self._batch, *self.waiting], None)  # a task that is cancelled before its first step does not
        self.waiting.clear()

    async def aclose(self) -> None:
        """End the task, fail the requests that wait, disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._give_up(None)

    async def _run(self) -> None:
        """Exchange until cancelled."""
        try:
            await self._exchange_all()
        except asyncio.CancelledError:
            await self._give_up(None)
            raise
        except Exception as exc:  # noqa: BLE001 -- a mistake of ours must not leave callers waiting
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the task of a Redis connection failed", "exception": exc}
            )
            await self._give_up(exc)

    async def _give_up(self, cause: Exception | None) -> None:
        """Fail all requests, and drop the connection: what still arrives on it belongs to none of them."""
        self._fail([*self._batch, *self.waiting], cause)
        self._batch = []
        self.waiting.clear()
        self.busy = False
        with mapped_errors("aclose"):
            await self.connection.drop()

    async def _exchange_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self.waiting:
                self._wake = loop.create_future()
                await self._wake
            self._wake = None
            batch = self._batch = [self.waiting.popleft()]
            count = len(batch[0].packed)
            while self.waiting and count + len(self.waiting[0].packed) <= EXCHANGE_COMMANDS:
                count += len(self.waiting[0].packed)
                batch.append(self.waiting.popleft())
            self.busy = True
            try:
                await self._exchange(batch)
            except DRIVER_ERRORS as exc:
                self._fail(batch, exc)
            self.busy = False
            self._batch = []

    async def _exchange(self, batch: list[_Request]) -> None:
        deadline = batch[0].deadline
        raw = await self.connection.ready(deadline=deadline)
        number = raw.number
        if len(batch) > 1 or batch[0].only_on not in (0, number):
            batch = self._meant_for(number, batch)
            if not batch:
                return
        packed = batch[0].packed if len(batch) == 1 else [one for request in batch for one in request.packed]
        replies, refused = await self.connection.exchange(packed, deadline=deadline, over=raw)
        if refused:
            unknown = [n for n, reply in enumerate(replies) if unknown_script(reply)]
            if unknown:
                scripts = [name for request in batch for name in request.scripts]
                await self._repeat(packed, scripts, replies, unknown, deadline=deadline)
        if self.connection.number != number:  # what it says of a log may not be true of the next server's
            number = 0
        at = 0
        for request in batch:
            request.number = number
            end = at + len(request.packed)
            if request.replies is not None and not request.replies.done():
                request.replies.set_result(replies[at:end])
            at = end

    @staticmethod
    def _meant_for(number: int, batch: list[_Request]) -> list[_Request]:
        """Leave out the requests that were meant for another connection."""
        kept = []
        for request in batch:
            if request.only_on in (0, number):
                kept.append(request)
            elif request.replies is not None and not request.replies.done():
                request.replies.set_exception(OtherConnectionError())
        return kept

    async def _repeat(
        self,
        packed: Sequence[bytes],
        scripts: Sequence[str | None],
        replies: list[Reply],
        unknown: Sequence[int],
        *,
        deadline: Deadline,
    ) -> None:
        """Load the scripts the server did not know, and call those again, and only those."""
        names = {name for n in unknown if (name := scripts[n]) is not None}
        loads = [Command.of("SCRIPT", "LOAD", self._scripts.sources[name]).packed for name in sorted(names)]
        again, _ = await self.connection.exchange([*loads, *(packed[n] for n in unknown)], deadline=deadline)
        for n, reply in zip(unknown, again[len(loads) :], strict=True):
            replies[n] = reply

    @staticmethod
    def _fail(batch: Sequence[_Request], cause: Exception | None) -> None:
        for request in batch:
            if request.replies is None or request.replies.done():
                continue
            if cause is None:
                error = StoreUnavailableError(f"{request.operation}: the store was closed", operation=request.operation)
            else:
                error = mapped_error(request.operation, cause)
                error.__cause__ = cause
            request.replies.set_exception(error)


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
        words = call.words()
        packed = pack(("EVALSHA", self._scripts.digests[call.script], call.key_count, *words))
        on_index = call.shard_key if isinstance(call, ShardCall) else None
        return Command(packed, call.script, on_index, cast("bytes", words[0]))

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
    async def run_packed(
        self, operation: str, packed: Sequence[bytes], scripts: Sequence[str | None], *, only_on: int = 0
    ) -> tuple[list[Reply], int]:
        """`run` at one server for commands that are packed already, with the script that each calls. Also gives the
        `number` of the connection over which all replies came; 0 if it is gone, or they came over several.

        Raises:
            OtherConnectionError: the connection is not the one with the number `only_on`; nothing was sent.
        """

    @property
    def number(self) -> int:
        """The number of the connection, where there is one and no more; 0 while it is not connected; -1 where there is
        none that could keep a state, a transaction's say."""
        return -1

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
    strictly in the order of the calls."""

    def __init__(self, address: Connector, scripts: Scripts, *, count: int, command_seconds: float) -> None:
        super().__init__(scripts)
        self._address = address
        self._connections: PerLoop[list[_PipelinedConnection]] = PerLoop(
            lambda: [_PipelinedConnection(Connection(address), scripts) for _ in range(count)], _abandon
        )
        self._seconds = command_seconds
        self._closed = False

    async def run(
        self, operation: str, commands: Sequence[Command], *, deadline: Deadline | None = None
    ) -> list[Reply]:
        """As `Connections.run`; `deadline` instead of the command timeout."""
        packed, scripts = [one.packed for one in commands], [one.script for one in commands]
        replies, _ = await self._submit(operation, packed, scripts, deadline)
        return replies

    async def run_packed(
        self, operation: str, packed: Sequence[bytes], scripts: Sequence[str | None], *, only_on: int = 0
    ) -> tuple[list[Reply], int]:
        return await self._submit(operation, packed, scripts, only_on=only_on)

    @property
    def number(self) -> int:
        connections = self._connections.get()
        return connections[0].connection.number if len(connections) == 1 else -1

    async def _submit(
        self,
        operation: str,
        packed: Sequence[bytes],
        scripts: Sequence[str | None],
        deadline: Deadline | None = None,
        only_on: int = 0,
    ) -> tuple[list[Reply], int]:
        if self._closed:
            raise StoreUnavailableError(f"{operation}: the store is closed", operation=operation)
        if not packed:
            return [], 0
        replies: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        until = deadline or Deadline.after(self._seconds)
        request = _Request(operation, packed, scripts, replies, until, only_on)
        self._least_busy().submit(request)
        return await replies, request.number

    def post(self, operation: str, commands: Sequence[Command]) -> None:
        if not self._closed and commands:
            packed, scripts = [one.packed for one in commands], [one.script for one in commands]
            self._least_busy().submit(_Request(operation, packed, scripts, None, Deadline.after(self._seconds)))

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

    def _least_busy(self) -> _PipelinedConnection:
        """The first connection that is free, else the one with the fewest requests: a second one is opened only under
        load."""
        connections = self._connections.get()
        return min(connections, key=lambda connection: (connection.busy, len(connection.waiting)))


def _abandon(connections: list[_PipelinedConnection]) -> None:
    """Drop connections whose event loop is closed, and with it everything that waited."""
    for pipelined in connections:
        pipelined.connection.abandon()
