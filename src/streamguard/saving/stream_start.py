"""When a stream began, as far as its session's erasure is concerned."""

from __future__ import annotations

import asyncio

from ..facts import facts
from ..stores.records import Erasure, StreamMeta

__all__ = ["StreamStart"]


@facts
class StreamStart:
    """A moment that can be compared with an erasure without using this process's wall clock."""

    created_at: float | None
    """On the store's clock; None for a stream that the store never heard of in time."""
    opened_at: float = 0.0
    """Loop time at which such a stream was opened here."""

    @classmethod
    def of_meta(cls, meta: StreamMeta) -> StreamStart:
        """Of any stream, from its record."""
        return cls(meta.created_at)

    def precedes(self, erasure: Erasure) -> bool:
        """Whether the stream began before the erasure, which the store told of just now.

        Where the store never said when the stream began, the ages of both are compared, on monotonic clocks. The time
        that the answer took counts in favour of the erasure.
        """
        if self.created_at is not None:
            return self.created_at <= erasure.at
        return erasure.seconds_ago <= asyncio.get_running_loop().time() - self.opened_at
