"""What operators look at: running streams, and the outbox."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...values import StreamRef
from ..records import OutboxEntry, StreamMeta

__all__ = ["Inspection"]


class Inspection(ABC):
    """Listings for the command line and for dry runs. They change nothing."""

    @abstractmethod
    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        """At most `limit` streams that are not closed, first those whose lease ended, or ends, first.

        Only what the streams' records confirm, and without those that this version cannot read.
        """

    @abstractmethod
    async def peek_due(self, *, limit: int) -> list[OutboxEntry]:
        """For a dry run: at most `limit` outbox entries that `Outbox.claim_due` would give now, oldest first.

        Only what the streams' records confirm: there may be more although fewer are given, but the number of entries
        that are looked at depends on `limit` alone.
        """

    @abstractmethod
    async def outbox_entries(self, *, dead: bool, limit: int, after: StreamRef | None = None) -> list[OutboxEntry]:
        """What is owed, or the dead letters, ordered by stream id, beginning after that of `after`.

        Only what the streams' records confirm. Fewer than `limit` means that there are no more. It reads the whole
        outbox, unlike every other method.
        """
