"""What operators look at: running streams, and the outbox."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...values import SessionKey
from ..outbox_pages import OutboxPage
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
    async def outbox_page(self, *, dead: bool, limit: int, after: str | None = None) -> OutboxPage:
        """A page of what is owed, by when it is due, or of the dead letters, by when their records expire; the first
        one, or the one that begins at `after`, which the page before gave as its `next`.

        At most `limit` entries, and only what the streams' records confirm: there may be more although fewer are given
        (`next` says so), but what is read depends on `limit` alone. An entry that a worker moves between two pages may
        be in both, or in neither.

        Raises:
            ValueError: no page of this store begins at `after`.
        """

    @abstractmethod
    async def outbox_entry(self, stream_id: str, *, key: SessionKey | None = None) -> OutboxEntry | None:
        """What a stream owes, or its dead letter; None if nothing is owed.

        Without `key`, its session, the stream is found by its id alone: the store may look through the names of the
        whole outbox, a bounded number in each request to it.
        """

    async def outbox_entries(self, *, dead: bool, limit: int) -> list[OutboxEntry]:
        """The first `limit` entries of a kind, as pages give them. Fewer mean that there are no more."""
        found: list[OutboxEntry] = []
        after: str | None = None
        while len(found) < limit:
            page = await self.outbox_page(dead=dead, limit=limit - len(found), after=after)
            found += page.entries
            after = page.next
            if after is None:
                break
        return found
