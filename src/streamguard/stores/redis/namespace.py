"""What every step on Redis is made of: ask, check the replies, read the status."""

from __future__ import annotations

from typing import TypeVar

from ...lua import Call
from ...values import StreamRef
from ..damage import Unreadable
from ..records import Status
from ..store import StreamStore
from .codec import STATUSES, newer_format
from .driver import Command, Reply
from .keys import Keys
from .pipeline import PipelinedConnections
from .sharded_index import ask, read_answer

__all__ = ["Steps"]

R = TypeVar("R")


class Steps(StreamStore):
    """A store that has connections and keys."""

    _keys: Keys
    _connections: PipelinedConnections
    """The connections for everything but appends and heartbeats."""

    async def _ask(self, operation: str, *commands: Command) -> list[Reply]:
        return await ask(self._connections, self._unreadable, operation, commands)

    def _unreadable(self, found: Unreadable) -> None:
        if self.on_unreadable is not None:
            self.on_unreadable(found)

    async def _call(self, operation: str, call: Call[R]) -> R:
        (reply,) = await self._ask(operation, self._connections.command(call))
        return read_answer(operation, call, reply)

    def _status(self, number: int, ref: StreamRef | None, operation: str) -> Status:
        if number == len(STATUSES):
            raise newer_format(ref, operation)
        return STATUSES[number]
