"""The leases of `MemoryStore`, as workers share them out among themselves."""

from __future__ import annotations

from itertools import islice
from zlib import crc32

from ...values import StreamRef
from ..records import Partition
from ..roles.work_sharing import WorkSharing
from .tables import MemoryTables

__all__ = ["MemoryWorkSharing"]


class MemoryWorkSharing(WorkSharing):
    """Every stream that is not closed has a lease."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self._workers: dict[str, float] = {}
        """Until when each worker counts among those that share the work."""

    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        with self._tables.lock:
            now = self._tables.begin()
            late = (
                stream.ref
                for stream in self._tables.leased_until(now)
                if partition is None or _place_of(stream.ref, partition.of) == partition.place
            )
            return list(islice(late, limit))

    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        with self._tables.lock:
            now = self._tables.begin()
            self._workers[worker] = now + lease_seconds
            self._workers = {name: until for name, until in self._workers.items() if until > now}
            return Partition(sum(name < worker for name in self._workers), max(1, len(self._workers)))


def _place_of(ref: StreamRef, of: int) -> int:
    """The place of the partition that a stream is in; every stream of a session is in the same."""
    return crc32(f"{ref.key.owner}\0{ref.key.session_id}".encode("utf-8", "surrogatepass")) % of
