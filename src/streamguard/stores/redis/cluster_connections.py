"""Calls to a Redis Cluster: each command goes to the server that has its key, and all servers are asked side by side.

A command that a server did not carry out (its slot was moved, or is being moved) is sent again, to where it belongs
now: that is safe, whatever the command does. One that was sent and had no answer is never sent again here; the store's
callers know what is safe to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from ...contained import gathered
from ...deadlines import Deadline
from ...errors import StoreUnavailableError
from .cluster import Cluster, ClusterServer
from .driver import Command, CommandError, Reply, Usual
from .errors import UnansweredError
from .pipeline import Connections, Server
from .slot_map import Redirect, Redirection, read_redirection

__all__ = ["ClusterConnections", "ServerConnections"]

REDIRECTIONS: Final = 5
"""How often one command is sent on at most."""
TRY_AGAIN_SECONDS: Final = 0.02
"""The pause before a command is repeated whose keys are being moved."""

_ASKING: Final = Command.of("ASKING")


class _Router:
    """Sends commands to servers, and on to others where they say so."""

    def __init__(self, cluster: Cluster, *, ordered: bool) -> None:
        self.cluster = cluster
        self._scripts = cluster.scripts
        self._ordered = ordered
        """Whether commands are sent over the one connection to each server that keeps their order. A command whose keys
        are being moved is not waited for there: it would hold up all others."""

    async def exchange(
        self, server: ClusterServer, operation: str, commands: Sequence[Command], deadline: Deadline
    ) -> list[Reply]:
        """The replies of one server.

        Raises:
            StoreUnavailableError: it did not answer in time. The map of the cluster is read before it is used again.
        """
        connections = server.ordered if self._ordered else server.connections
        try:
            with server.asked():
                return await connections.run(operation, commands, deadline=deadline)
        except StoreUnavailableError:
            self.cluster.doubt(server)
            raise

    async def follow(
        self,
        server: ClusterServer,
        operation: str,
        commands: Sequence[Command],
        replies: list[Reply],
        deadline: Deadline,
    ) -> list[Reply]:
        """Send those commands on that the server did not carry out, and put their replies in the place of what it
        said."""
        asked = dict.fromkeys(range(len(replies)), server)
        for _ in range(REDIRECTIONS if self._ordered else 1_000):
            sent: dict[tuple[ClusterServer, bool], list[int]] = {}
            pausing = False
            for n in list(asked):
                said = read_redirection(replies[n], asked[n].place)
                target = None if said is None else self._target(said, asked[n], commands[n])
                if said is None or target is None:
                    del asked[n]
                    continue
                pausing = pausing or said.kind is Redirect.TRYAGAIN
                asked[n] = target
                sent.setdefault((target, said.kind is Redirect.ASK), []).append(n)
            if not sent:
                break
            if pausing:
                if self._ordered or deadline.left_seconds < TRY_AGAIN_SECONDS:
                    break
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            for (target, asking), numbers in sent.items():
                again = await self._again(target, operation, [commands[n] for n in numbers], deadline, asking=asking)
                for n, reply in zip(numbers, again, strict=True):
                    replies[n] = reply
        return replies

    def _target(self, said: Redirection, asked: ClusterServer, command: Command) -> ClusterServer | None:
        """Where a command belongs; None where no server would carry it out now."""
        match said.kind:
            case Redirect.MOVED if said.place is not None:
                return self.cluster.moved(said.slot, said.place)
            case Redirect.ASK if said.place is not None:
                return self.cluster.at(said.place)
            case Redirect.TRYAGAIN:
                return asked if command.key is None else self.cluster.known(command.key)
            case _:
                self.cluster.doubt(asked)
                return None

    async def _again(
        self, server: ClusterServer, operation: str, commands: Sequence[Command], deadline: Deadline, *, asking: bool
    ) -> list[Reply]:
        if not asking:
            return await self.exchange(server, operation, commands, deadline)
        # Its scripts are loaded before: the one call that ASKING allows must not end in NOSCRIPT.
        names = sorted({one.script for one in commands if one.script is not None})
        loads = [Command.of("SCRIPT", "LOAD", self._scripts.sources[name]) for name in names]
        asked = [one for command in commands for one in (_ASKING, command)]
        replies = await self.exchange(server, operation, [*loads, *asked], deadline)
        return replies[len(loads) + 1 :: 2]


class ServerConnections(Connections):
    """Ordered calls to one server of a cluster, for appends to streams that it has: they take no detour unless their
    slot was moved."""

    def __init__(self, cluster: Cluster, server: ClusterServer) -> None:
        super().__init__(cluster.scripts)
        self._server = server
        self._router = _Router(cluster, ordered=True)
        self._seconds = cluster.command_seconds

    async def run(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        deadline = Deadline.after(self._seconds)
        replies = await self._router.exchange(self._server, operation, commands, deadline)
        if any(isinstance(reply, CommandError) for reply in replies):
            return await self._router.follow(self._server, operation, commands, replies, deadline)
        return replies

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
        calls = [Command(one, script) for one, script in zip(packed, scripts, strict=True)]
        return await self.run(operation, calls), 0

    def post(self, operation: str, commands: Sequence[Command]) -> None:
        self._server.ordered.post(operation, commands)

    async def servers(self, operation: str) -> list[Server]:
        return [Server(str(self._server.address), self, lambda _: True)]

    async def aclose(self) -> None:
        await self._server.ordered.aclose()

    def reopen(self) -> None:
        self._server.ordered.reopen()


class ClusterConnections(Connections):
    """To every server of a cluster."""

    def __init__(self, cluster: Cluster, *, ordered: bool) -> None:
        super().__init__(cluster.scripts)
        self._cluster = cluster
        self._ordered = ordered
        self._router = _Router(cluster, ordered=ordered)
        self._seconds = cluster.command_seconds
        self._closed = False

    async def run(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        """As `Connections.run`. Every command names a key. Where some servers answer and others do not, the commands of
        these have errors for replies."""
        if self._closed:
            raise StoreUnavailableError(f"{operation}: the store is closed", operation=operation)
        if not commands:
            return []
        deadline = Deadline.after(self._seconds)
        replies: list[Reply] = [None] * len(commands)
        groups: dict[ClusterServer, list[int]] = {}
        failures: list[StoreUnavailableError] = []
        for n, command in enumerate(commands):
            if command.key is None:
                raise ValueError(f"{operation}: a command to a cluster names the key that it works on")
            try:
                server = await self._cluster.server_of(operation, command.key, deadline)
            except StoreUnavailableError as exc:
                failures.append(exc)
                replies[n] = _unavailable(exc)
            else:
                groups.setdefault(server, []).append(n)

        async def ask(server: ClusterServer, numbers: list[int]) -> list[Reply]:
            some = [commands[n] for n in numbers]
            try:
                found = await self._router.exchange(server, operation, some, deadline)
                if any(isinstance(reply, CommandError) for reply in found):
                    found = await self._router.follow(server, operation, some, found, deadline)
            except StoreUnavailableError as exc:
                failures.append(exc)
                return [_unavailable(exc)] * len(numbers)
            return found

        if len(groups) == 1:
            ((server, numbers),) = groups.items()
            answers = [await ask(server, numbers)]
        else:
            answers = await gathered([partial(ask, server, numbers) for server, numbers in groups.items()])
        for numbers, found in zip(groups.values(), answers, strict=True):
            for n, reply in zip(numbers, found, strict=True):
                replies[n] = reply
        if failures and all(isinstance(reply, UnansweredError) for reply in replies):
            raise failures[0]
        return replies

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
        raise NotImplementedError("packed calls go to one server: see ServerConnections")

    def post(self, operation: str, commands: Sequence[Command]) -> None:
        """As `Connections.post`. A command whose slot has no server, or was moved, is not carried out."""
        if self._closed:
            return
        groups: dict[ClusterServer, list[Command]] = {}
        for command in commands:
            server = None if command.key is None else self._cluster.known(command.key)
            if server is not None:
                groups.setdefault(server, []).append(command)
        for server, some in groups.items():
            (server.ordered if self._ordered else server.connections).post(operation, some)

    async def load_scripts(self) -> None:
        """Load all scripts at every server."""
        await gathered([server.connections.load_scripts for server in await self.servers("start")])

    async def servers(self, operation: str) -> list[Server]:
        if self._closed:
            raise StoreUnavailableError(f"{operation}: the store is closed", operation=operation)
        found = await self._cluster.all_servers(operation)
        return [Server(str(one.address), one.connections, partial(self._owns, one)) for one in found]

    def _owns(self, server: ClusterServer, key: bytes) -> bool:
        return self._cluster.known(key) is server

    async def aclose(self) -> None:
        self._closed = True
        for server in self._cluster.known_servers():
            await (server.ordered if self._ordered else server.connections).aclose()

    def reopen(self) -> None:
        self._closed = False
        for server in self._cluster.known_servers():
            (server.ordered if self._ordered else server.connections).reopen()


def _unavailable(error: StoreUnavailableError) -> UnansweredError:
    reply = UnansweredError("UNANSWERED by one server of the cluster")
    reply.__cause__ = error.__cause__
    return reply
