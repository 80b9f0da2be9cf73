"""A feed that can hold on to everything: once a stream's log is lost, its events are nowhere else."""

from __future__ import annotations

from ...values import Position
from ...wire.base import WireProtocol
from .feed import Feed

__all__ = ["KeptFeed"]


class KeptFeed(Feed):
    """Drops nothing more from the window once told to `keep`; what was dropped before stays so."""

    __slots__ = ("_kept",)

    def __init__(self, protocol: WireProtocol, stream_id: str, *, start: Position, limit_bytes: int) -> None:
        super().__init__(protocol, stream_id, start=start, limit_bytes=limit_bytes)
        self._kept = False

    def keep(self) -> None:
        """Hold on to every event from now on. What a stream may hold is bounded by `max_stream_bytes`."""
        self._kept = True

    def said(self) -> list[bytes]:
        """The payloads of the window's data, shown or not, in order."""
        return [data for seq, data in enumerate(self.data, self.base + 1) if seq not in self.kinds]

    def _trim(self, limit: int) -> None:
        if not self._kept:
            super()._trim(limit)
