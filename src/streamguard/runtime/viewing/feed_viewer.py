"""What a feed tells its viewers."""

from __future__ import annotations

from typing import Protocol

from ...wire.base import WireProtocol

__all__ = ["FeedViewer"]


class FeedViewer(Protocol):
    """One that reads a feed."""

    def protocol_decided(self, protocol: WireProtocol) -> None:
        """The feed's stream had not said in what protocol it speaks, and now has."""
