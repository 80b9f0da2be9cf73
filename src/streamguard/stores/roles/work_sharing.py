"""How workers find the streams of dead workers, and share that work out among themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...values import StreamRef
from ..records import Partition

__all__ = ["WorkSharing"]


class WorkSharing(ABC):
    """The index of leases, and the workers that look through it."""

    @abstractmethod
    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        """Streams whose lease ran out on the store's clock and that are not closed, oldest first; of all, or of one
        `partition`: all partitions together are all streams, and no two have one in common.

        Entries of streams that no longer exist are removed on the way, and their sessions' active pointers to them.
        """

    async def defer(  # noqa: B027 -- not every store can hold what it cannot read
        self, ref: StreamRef, *, seconds: float, readable: bool = False
    ) -> None:
        """Make `expired_leases` leave the stream out for so long: one whose record cannot be read, and its session
        takes another stream; or a `readable` one that this version cannot end, of which nothing is changed.

        A store of which neither can be true has nothing to do.
        """

    async def repair_indexes(self) -> None:  # noqa: B027 -- not every store can lose an entry and keep its stream
        """Look at a bounded part of all streams, another one with each call, and index those again that
        `expired_leases` or `Outbox.claim_due` ought to give, and whose entries are lost.

        A store that finds them without an index, or never loses one of its entries alone, has nothing to do.

        Raises:
            StoreUnavailableError: the store did not answer.
        """

    @abstractmethod
    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        """Count `worker` among those that share the work, for `lease_seconds` from now, or with 0 no longer.

        Returns its partition among those that count at present. Two workers may be given one partition while workers
        come or go: a partition says where to look, and protects nothing.
        """
