"""`Cursor`: a position in a stream as clients send it back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .errors import CursorInvalidError
from .values import MAX_EPOCH, MAX_SEQ, Position

__all__ = ["MAX_CURSOR_BYTES", "Cursor"]

MAX_CURSOR_BYTES: Final = 64
"""Our cursors have at most 60 bytes; a longer text than this limit is refused without being parsed."""

_CURSOR = re.compile(r"1\.([0-9a-f]{24})\.(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a stream that describes itself: version, stream and the last event seen.

    In the SSE `id` field its form is `1.<stream id>.<epoch>.<seq>`: printable ASCII without spaces, because
    `eventsource` in Node cannot send other ids back. It carries no secret: a client that presents one must own the
    stream.
    """

    stream_id: str
    epoch: int
    """The epoch of the writer that wrote the event. No epoch is issued twice, so a cursor always names the same event.
    """
    seq: int

    def __str__(self) -> str:
        return f"1.{self.stream_id}.{self.epoch}.{self.seq}"

    @property
    def position(self) -> Position:
        """Epoch and seq, without the stream."""
        return Position(self.epoch, self.seq)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from outside.

        Raises:
            CursorInvalidError: the text is longer than `MAX_CURSOR_BYTES`, or it is not a cursor.
        """
        if len(text) > MAX_CURSOR_BYTES:
            raise CursorInvalidError(
                f"a cursor has at most {MAX_CURSOR_BYTES} bytes; send back the last SSE id exactly as received",
                cursor_bytes=len(text),
            )
        match = _CURSOR.fullmatch(text)
        if match is None or int(match[2]) > MAX_EPOCH or int(match[3]) > MAX_SEQ:
            raise CursorInvalidError(
                "not a cursor of this service; send back the last SSE id exactly as received", cursor_bytes=len(text)
            )
        return cls(match[1], int(match[2]), int(match[3]))
