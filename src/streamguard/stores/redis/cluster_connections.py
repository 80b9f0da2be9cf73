"""Calls to a Redis Cluster: each command goes to the server that has its key, and all servers are asked side by side.

A command that a server did not carry out (its slot was moved, or is being moved) is sent again, to where it belongs
now: that is safe, whatever the command does. One that was sent and had no answer is never sent again here; the store's
callers know what is safe to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

from ...contained import gathered
from ...deadlines import Deadline
from ...errors import StoreUnavailableError
from .cluster import Cluster, ClusterServer
from .driver import Command, CommandError, Reply
from .errors import UnansweredError, closed_error
from .pipeline import Connections, Server
from .slot_map import Redirect, Redirection, read_redirection

__all__ = ["ClusterConnections", "Remake", "Router"]

REDIRECTIONS: Final = 5
"""How often one command is sent on at most."""
TRY_AGAIN_SECONDS: Final = 0.02
"""The pause before a command is repeated whose keys are being moved."""

_ASKING: Final = Command.of("ASKING")


Remake: TypeAlias = "Callable[[ClusterServer, Sequence[int]], Awaitable[list[Command]]]"
"""Makes commands anew for another server than the one that they were made for; they go by their numbers."""


class Router:
    """Sends commands to servers, and on to others where they say so."""

    def __init__(self, cluster: Cluster, *, ordered: bool) -> None:
        self.cluster: Final = cluster
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
        *,
        remake: Remake | None = None,
    ) -> list[Reply]:
        """Send those commands on that the server did not carry out, and put their replies in the place of what it
        said. A server that they were sent on to and that does not answer is no reason to lose the replies of others."""
        asked = dict.fromkeys(range(len(replies)), server)
        for times in range(REDIRECTIONS if self._ordered else 1_000):
            sent: dict[tuple[ClusterServer, bool], list[int]] = {}
            pausing = times >= REDIRECTIONS  # servers that name each other do not agree yet
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
                try:
                    if target.rests:
                        raise target.resting(operation)
                    some = await remake(target, numbers) if remake else [commands[n] for n in numbers]
                    again = await self._again(target, operation, some, deadline, asking=asking)
                except StoreUnavailableError as exc:
                    again = [UnansweredError(exc)] * len(numbers)
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


class ClusterConnections(Connections):
    """To every server of a cluster."""

    def __init__(self, cluster: Cluster, *, ordered: bool) -> None:
        super().__init__(cluster.scripts)
        self.cluster: Final = cluster
        self._ordered = ordered
        self.router: Final = Router(cluster, ordered=ordered)
        self._seconds = cluster.command_seconds
        self._closed = False

    async def run(self, operation: str, commands: Sequence[Command]) -> list[Reply]:
        """As `Connections.run`. Every command names a key. Where some servers answer and others do not, the commands of
        these have errors for replies."""
        if self._closed:
            raise closed_error(operation)
        if not commands:
            return []
        deadline = Deadline.after(self._seconds)
        replies: list[Reply] = [None] * len(commands)
        groups: dict[ClusterServer, list[int]] = {}
        for n, command in enumerate(commands):
            if command.key is None:
                raise ValueError(f"{operation}: a command to a cluster names the key that it works on")
            try:
                server = await self.cluster.server_of(operation, command.key, deadline)
            except StoreUnavailableError as exc:
                replies[n] = UnansweredError(exc)
            else:
                groups.setdefault(server, []).append(n)

        async def ask(server: ClusterServer, numbers: list[int]) -> list[Reply]:
            some = [commands[n] for n in numbers]
            try:
                found = await self.router.exchange(server, operation, some, deadline)
                if any(isinstance(reply, CommandError) for reply in found):
                    found = await self.router.follow(server, operation, some, found, deadline)
            except StoreUnavailableError as exc:
                return [UnansweredError(exc)] * len(numbers)
            return found

        if len(groups) == 1:
            ((server, numbers),) = groups.items()
            answers = [await ask(server, numbers)]
        else:
            answers = await gathered([partial(ask, server, numbers) for server, numbers in groups.items()])
        for numbers, found in zip(groups.values(), answers, strict=True):
            for n, reply in zip(numbers, found, strict=True):
                replies[n] = reply
        unanswered = [reply.error for reply in replies if isinstance(reply, UnansweredError)]
        if len(unanswered) == len(replies):
            raise unanswered[0]
        return replies

    def post(self, operation: str, commands: Sequence[Command]) -> None:
        """As `Connections.post`. A command whose slot has no server, or was moved, is not carried out."""
        if self._closed:
            return
        groups: dict[ClusterServer, list[Command]] = {}
        for command in commands:
            server = None if command.key is None else self.cluster.known(command.key)
            if server is not None:
                groups.setdefault(server, []).append(command)
        for server, some in groups.items():
            (server.ordered if self._ordered else server.connections).post(operation, some)

    async def load_scripts(self) -> None:
        """Load all scripts at every server."""
        await gathered([server.connections.load_scripts for server in await self.servers("start")])

    async def servers(self, operation: str) -> list[Server]:
        if self._closed:
            raise closed_error(operation)
        found = await self.cluster.all_servers(operation)
        return [Server(str(one.address), one.connections, partial(self._owns, one)) for one in found]

    def _owns(self, server: ClusterServer, key: bytes) -> bool:
        return self.cluster.known(key) is server

    async def aclose(self) -> None:
        self._closed = True
        for server in self.cluster.known_servers():
            await (server.ordered if self._ordered else server.connections).aclose()

    def reopen(self) -> None:
        self._closed = False
        for server in self.cluster.known_servers():
            (server.ordered if self._ordered else server.connections).reopen()
