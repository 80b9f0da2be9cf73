"""How much of its stream a feed keeps."""

from __future__ import annotations

from enum import Enum

__all__ = ["FeedMode"]


class FeedMode(Enum):
    """Which events a feed keeps at hand."""

    RECENT = "recent"
    """The newest, bounded in bytes. The log has the others."""
    ALL = "all"
    """Every event from now on: the log is lost, so nothing else has them. `max_stream_bytes` bounds them."""
