"""What operators look at: running streams, and the streams of one session."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...values import SessionKey
from ..records import StreamMeta

__all__ = ["Inspection"]


class Inspection(ABC):
    """Listings for the command line. They change nothing."""

    @abstractmethod
    async def active_streams(self, *, limit: int) -> list[StreamMeta]:
        """At most `limit` streams that are not closed, first those whose lease ended, or ends, first.

        Only what the streams' records confirm, and without those that this version cannot read.
        """

    @abstractmethod
    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        """At most `limit` of a session's streams, as far as their records are still there: the latest first, by
        ordinal, those that were never registered at the end."""
