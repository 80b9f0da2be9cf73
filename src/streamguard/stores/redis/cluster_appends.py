"""Appends to streams on the servers of a cluster: each server's side by side, in order and by its own clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from ...contained import gathered
from ...deadlines import Deadline
from ...errors import StoreUnavailableError
from ...values import StreamRef
from ..appends import AppendReply, AppendRequest
from ..records import Status
from .append_calls import AppendCalls, until
from .cluster import ClusterServer
from .cluster_connections import ClusterConnections
from .codec import append_reply, server_ms
from .driver import Command, CommandError
from .keys import Keys

__all__ = ["ClusterAppends"]


class ClusterAppends:
    """Appends of one store to all servers of a cluster."""

    def __init__(self, keys: Keys, ordered: ClusterConnections) -> None:
        self._keys = keys
        self._cluster = ordered.cluster
        self._router = ordered.router
        self._seconds = ordered.cluster.command_seconds
        self._calls = AppendCalls(ordered, keys)

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        """See `StreamWrites.append`. Where some servers answer and others do not, the appends to these are `REFUSED`:
        a writer for each server never sees that."""
        begun, deadline = time.monotonic(), Deadline.after(self._seconds)
        groups: dict[ClusterServer, list[int]] = {}
        replies: dict[int, AppendReply] = {}
        failures: list[StoreUnavailableError] = []
        answered: list[ClusterServer] = []
        for n, item in enumerate(batch):
            try:
                server = await self._cluster.server_of("append", self._keys.stream(item.ref).meta, deadline)
            except StoreUnavailableError as exc:
                failures.append(exc)
                replies[n] = _refused(exc)
            else:
                groups.setdefault(server, []).append(n)

        async def append(server: ClusterServer, numbers: list[int]) -> None:
            try:
                found = await self._append(server, [batch[n] for n in numbers], begun, deadline)
            except StoreUnavailableError as exc:
                failures.append(exc)
                replies.update(dict.fromkeys(numbers, _refused(exc)))
                return
            answered.append(server)
            replies.update(zip(numbers, found, strict=True))

        if len(groups) == 1:
            ((server, numbers),) = groups.items()
            await append(server, numbers)
        else:
            await gathered([partial(append, server, numbers) for server, numbers in groups.items()])
        if failures and not answered:
            raise failures[0]
        return [replies[n] for n in range(len(batch))]

    def server_of(self, ref: StreamRef) -> object:
        """See `Placement`. Streams of which no server is known yet have one server. A server is its place: one that
        lost its slots and got some again, or was a replica meanwhile, is the same one."""
        server = self._cluster.known(self._keys.stream(ref).meta)
        return None if server is None else server.place

    async def _append(
        self, server: ClusterServer, batch: Sequence[AppendRequest], begun: float, deadline: Deadline
    ) -> list[AppendReply]:
        """Append at one server, and where it says that streams are now.

        Raises:
            StoreUnavailableError: it did not answer in time.
        """
        asked = dict.fromkeys(range(len(batch)), server)

        async def calls(server: ClusterServer, numbers: Sequence[int]) -> list[Command]:
            """Each server has a clock of its own, and an append is carried out until a time by that."""
            if not server.clock.known:
                await self._learn_time(server, deadline)
            asked.update(dict.fromkeys(numbers, server))
            some = [batch[n] for n in numbers]
            return [
                Command(self._calls.call(item, until(server.clock, item.within_seconds, begun)), "append")
                for item in some
            ]

        commands = await calls(server, range(len(batch)))
        replies = await self._router.exchange(server, "append", commands, deadline)
        if any(isinstance(reply, CommandError) for reply in replies):
            replies = await self._router.follow(server, "append", commands, replies, deadline, remake=calls)
        for n, reply in enumerate(replies):
            asked[n].clock.heard(server_ms(reply))
        return [append_reply(reply, "append") for reply in replies]

    async def _learn_time(self, server: ClusterServer, deadline: Deadline) -> None:
        """Ask a server for its time, before the first append there: it says until when an append may be carried out."""
        (reply,) = await self._router.exchange(server, "append", [Command.of("TIME")], deadline)
        match reply:
            case [bytes() as seconds, bytes() as microseconds]:
                server.clock.heard(int(seconds) * 1_000 + int(microseconds) // 1_000)
            case _:  # an account that may not ask
                pass


def _refused(error: StoreUnavailableError) -> AppendReply:
    return AppendReply(Status.REFUSED, 0, stop_requested=False, refusal=error)
