"""A protocol whose blocks can be read: they fold into a message, and tell of usage."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from ...decoding import DAMAGE
from ...values import Event, EventKind
from ..base import OpenParts
from ..sse import BOM, Block, encode_text
from .block_reader import BlockReader
from .json_events import JsonEvent, json_event
from .protocol import UpstreamProtocol

__all__ = ["ReadableProtocol", "ToldUsage", "block_of"]

_SAID = (EventKind.DATA, EventKind.CLOSING)


class ReadableProtocol(UpstreamProtocol):
    """A subclass gives the reader and the fold."""

    def open_parts(self) -> OpenParts:
        return ToldUsage(self.reader())

    def usage(self, held: Sequence[bytes]) -> Mapping[str, int]:
        reader = self.reader()
        for payload in held:
            reader.closes(self.logged_block(payload))
        return reader.usage

    @abstractmethod
    def said(self, event: JsonEvent) -> Iterable[str]:
        """The pieces of the model's text in one event, whatever events came before. An event that repeats pieces of
        earlier ones has none."""

    def text(self, events: Iterable[Event]) -> str:
        """The model's text."""
        pieces: list[str] = []
        for event in events:
            if event.kind in _SAID and (found := json_event(self.logged_block(event.data))) is not None:
                with suppress(*DAMAGE):  # an event in an unexpected form
                    pieces += self.said(found)
        return encode_text("".join(pieces)).decode()


class ToldUsage(OpenParts):
    """Reads what an upstream's stream said of its usage, from its log. Nothing may be added to such a stream, so it has
    no ends."""

    def __init__(self, reader: BlockReader) -> None:
        self._reader = reader

    @property
    def usage(self) -> Mapping[str, int]:
        return self._reader.usage

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        """Nothing: a call that the client answered belongs to the client's request."""

    def add(self, payload: bytes) -> None:
        self._reader.closes(block_of(payload))

    def ends(self) -> Sequence[bytes]:
        return ()


def block_of(payload: bytes) -> Block:
    """A logged block, without a byte order mark."""
    return Block(payload.removeprefix(BOM))
