"""What every step on Redis is made of: ask, check the replies, read the status."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import StoreCorruptError
from ...values import StreamRef
from ..damage import Unreadable
from ..records import Status
from ..store import StreamStore
from .codec import STATUSES, newer_format
from .driver import Command, Reply
from .keys import Keys
from .pipeline import PipelinedConnections
from .sharded_index import ask

__all__ = ["Steps"]


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

    async def _call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> Reply:
        return (await self._ask(operation, self._connections.script(script, keys, args)))[0]

    def _status(self, number: Reply, ref: StreamRef, operation: str) -> Status:
        if not isinstance(number, int):
            raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)
        if number == len(STATUSES):
            raise newer_format(ref, operation)
        return STATUSES[number]
