"""What a feed tells its viewers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ...wire.base import WireProtocol

__all__ = ["FeedViewer", "OnNews"]

OnNews: TypeAlias = "Callable[[bytes, int], None]"
"""Is told of a change: the frame of the one event that was just shown, if it is at hand (see `Feed.newest`), and the
number of the last visible event. Every other change comes with an empty frame."""


class FeedViewer(Protocol):
    """One that reads a feed."""

    def protocol_decided(self, protocol: WireProtocol) -> None:
        """The feed's stream had not said in what protocol it speaks, and now has."""
