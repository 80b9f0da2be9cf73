"""What all roles of the store work with: one namespace of one Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from ...decoding import DAMAGE
from ...errors import StoreCorruptError
from ...lua import Call
from ..damage import RecordKind, Unreadable
from .clock import ServerClock
from .cluster import Cluster
from .cluster_connections import ClusterConnections
from .driver import Command, CommandError, Reply
from .errors import UnansweredError, checked, concerns_record
from .index_calls import ResetIndex
from .keys import Keys, key_text
from .pipeline import Connections, OrderedConnection

__all__ = ["RedisNamespace", "milliseconds", "read_answer"]

R = TypeVar("R")


class RedisNamespace:
    """The keys of a namespace, the connections to its Redis, and how scripts are called there."""

    def __init__(
        self,
        keys: Keys,
        connections: Connections,
        ordered: OrderedConnection | ClusterConnections,
        report: Callable[[Unreadable], None],
        *,
        cluster: Cluster | None = None,
    ) -> None:
        self.keys: Final = keys
        self.connections: Final = connections
        """For everything but appends and heartbeats."""
        self.ordered: Final = ordered
        """One connection to each server, which keeps the order of what it is given: for appends and heartbeats."""
        self.report: Final = report
        """Called for what cannot be read where no caller asked for it."""
        self.clock: Final = ServerClock()
        """The clock of the server, if it is one; see `clock_of`."""
        self.cluster: Final = cluster
        """The servers, if they are several."""
        self.one_server: Final[bool] = cluster is None
        """Whether all keys are on one server, where a script may take keys of several slots (see `FarKey`)."""

    def far(self, key: bytes) -> bytes | None:
        """A key on another slot than a script's other keys, as the script takes it."""
        return key if self.cluster is None else None

    def clock_of(self, key: bytes) -> ServerClock:
        """The clock of the server that has a key."""
        server = None if self.cluster is None else self.cluster.known(key)
        return self.clock if server is None else server.clock

    def command(self, call: Call[Any]) -> Command:
        """A call of a script, to be sent with others."""
        return self.connections.command(call)

    async def ask(self, operation: str, *commands: Command, partly: bool = False) -> list[Reply]:
        """The replies to `commands`. An index among their keys that is of another type is begun anew, and the commands
        on it are sent again.

        With `partly`, an `UnansweredError` is the reply to each command whose server did not answer, while others of
        its cluster did.

        Raises:
            StoreCorruptError: a key holds something else than ours do.
            StoreUnavailableError: no answer in time, or Redis refused.
        """
        return await self._repaired(operation, commands, await self.connections.run(operation, commands), partly=partly)

    async def _repaired(
        self, operation: str, commands: Sequence[Command], replies: list[Reply], *, partly: bool = False
    ) -> list[Reply]:
        """These replies, if they say of no index that it is of another type; see `ask`."""
        damaged = [
            n
            for n, reply in enumerate(replies)
            if isinstance(reply, CommandError) and commands[n].on_index is not None and concerns_record(reply)
        ]
        if damaged:
            indexes = list(dict.fromkeys(index for n in damaged if (index := commands[n].on_index) is not None))
            await self._reset(operation, indexes)
            repeated = await self.connections.run(operation, [commands[n] for n in damaged])
            for n, reply in zip(damaged, repeated, strict=True):
                replies[n] = reply
        checked(operation, [one for one in replies if not isinstance(one, UnansweredError)] if partly else replies)
        return replies

    async def call(self, operation: str, call: Call[R]) -> R:
        """What a script answers.

        Raises:
            StoreCorruptError: a key holds something else than ours do.
            StoreUnavailableError: no answer in time, or Redis refused.
        """
        command = self.connections.command(call)
        (reply,) = await self.connections.run(operation, (command,))
        if isinstance(reply, CommandError):
            (reply,) = await self._repaired(operation, (command,), [reply])
        return read_answer(operation, call, reply)

    async def call_each(self, operation: str, calls: Sequence[Call[int]]) -> None:
        """Make calls that each concern one stream. A record that one of them cannot use does not fail the others."""
        replies = await self.connections.run(operation, [self.command(call) for call in calls])
        checked(operation, [one for one in replies if not (isinstance(one, CommandError) and concerns_record(one))])

    async def _reset(self, operation: str, indexes: Sequence[bytes]) -> None:
        resets = [self.command(ResetIndex(shard_key=index)) for index in indexes]
        replies = await self.connections.run(operation, resets)
        checked(operation, replies)
        for index, removed in zip(indexes, replies, strict=True):
            if removed == 1:
                self.report(Unreadable(_kind_of(index), key_text(index), "wrong_type", "begun_anew"))


def read_answer(operation: str, call: Call[R], reply: Reply) -> R:
    """What a script replied.

    Raises:
        StoreCorruptError: it is no such reply.
    """
    try:
        return call.read(reply)
    except DAMAGE as exc:
        raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation) from exc


@lru_cache(maxsize=256)
def milliseconds(seconds: float) -> int:
    """Whole milliseconds, at least one: Redis deletes a key that is given none. Nearly always of a setting."""
    return max(1, round(seconds * 1000))


def _kind_of(index: bytes) -> RecordKind:
    if b":{lease." in index:
        return RecordKind.LEASE_INDEX
    return RecordKind.OUTBOX if b":{outbox." in index else RecordKind.OWNER_SLOTS
