"""What one stream speaks: its protocol, the encoder of its items, and the id of the message that they make.

All is known when the stream is registered, or is decided by its first item: then the record in the store learns it with
the first append, in one step, so that nobody reads an event in a protocol that the record does not name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...settings import Settings
from ...stores.appends import LateDecision
from ...wire import UNDECIDED
from ...wire.base import Encoder, OnLeftOut, OnTool, WireProtocol
from ..viewing.feed import Feed

if TYPE_CHECKING:
    from ..request import StreamRequest

__all__ = ["Speaking"]


class Speaking:
    """The protocol of one stream, at registration and since its first item."""

    __slots__ = (
        "_continued",
        "_feed",
        "_on_left_out",
        "_on_tool",
        "_request",
        "_settings",
        "encoder",
        "message_id",
        "protocol",
    )

    def __init__(
        self,
        request: StreamRequest,
        feed: Feed,
        settings: Settings,
        *,
        on_left_out: OnLeftOut,
        on_tool: OnTool,
    ) -> None:
        """`on_tool` is called with every tool that the stream calls, and how that came out."""
        self._request = request
        self._feed = feed
        self._settings = settings
        self._on_left_out = on_left_out
        self._continued: Sequence[Mapping[str, object]] = ()
        """The parts of the message that the stream continues."""
        self.protocol: WireProtocol = request.protocol
        self.message_id: str = request.message_id
        self._on_tool: OnTool | None = on_tool
        self.encoder: Encoder = self._encoder()

    def release(self) -> None:
        """Nobody is told of tools any more."""
        self._on_tool = self.encoder.on_tool = None

    @property
    def undecided(self) -> bool:
        """Whether the first item is still to decide."""
        return self.protocol.name == UNDECIDED.name

    def decide(self, protocol: WireProtocol, message_id: str | None) -> LateDecision:
        """Speak `protocol` from the first event on. Returns what the record must learn.

        Raises:
            RuntimeError: that was decided before, or this decides nothing.
        """
        if not self.undecided or protocol.name == UNDECIDED.name:
            raise RuntimeError(f"a stream of protocol {self.protocol.name} cannot be given {protocol.name}")
        version = self._request.protocol.client_version
        self.protocol = protocol = protocol.for_client(version) if version else protocol
        if message_id is not None and message_id != self.message_id:
            self.message_id, self._continued = message_id, ()
        self.encoder = self._encoder()
        self.encoder.answered(self._continued)
        self._feed.speak(protocol)
        return LateDecision(protocol.name, protocol.client_version, self.message_id)

    def end(self) -> None:
        """Nothing is produced any more. A stream that ends without an event goes back to what its record says."""
        if self._feed.emitted == 0 and self.protocol is not self._request.protocol:
            self.protocol, self.message_id = self._request.protocol, self._request.message_id
            self._feed.speak(self.protocol)

    def answered(self, parts: Sequence[Mapping[str, object]]) -> None:
        """See `Encoder.answered`."""
        self._continued = parts
        self.encoder.answered(parts)

    def _encoder(self) -> Encoder:
        encoder = self.protocol.encoder(
            message_id=self.message_id,
            max_event_bytes=self._settings.max_event_bytes,
            on_left_out=self._on_left_out,
        )
        encoder.on_tool = self._on_tool
        return encoder
