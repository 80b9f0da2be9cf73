"""When a stream began, as far as its session's erasure is concerned."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..stores.records import Erasure, StreamMeta

__all__ = ["StreamStart"]


@dataclass(frozen=True, slots=True)
class StreamStart:
    """A moment that can be compared with an erasure although this process's wall clock is nobody's business."""

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

        Without the store's word on its beginning, how long ago each was is compared, both on clocks that only go
        forward. The answer's way counts in favour of the erasure.
        """
        if self.created_at is not None:
            return self.created_at <= erasure.at
        return erasure.seconds_ago <= asyncio.get_running_loop().time() - self.opened_at
