"""`Cursor`: a position in a stream as clients send it back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .errors import CursorInvalidError
from .values import MAX_EPOCH, MAX_SEQ, Position

__all__ = ["MAX_CURSOR_BYTES", "Cursor"]

MAX_CURSOR_BYTES: Final = 64
"""A cursor of ours has at most 60 bytes; anything past this is refused unread."""

_CURSOR = re.compile(r"1\.([0-9a-f]{24})\.(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a stream, self-describing: version, stream and the last event seen.

    On the wire, in the SSE `id` field, it is `1.<stream id>.<epoch>.<seq>`: printable ASCII without spaces, because
    `eventsource` in Node cannot send other ids back. It carries no secret: whoever presents one must own the stream.
    """

    stream_id: str
    epoch: int
    """That of the writer that wrote the event. No epoch is issued twice, so a cursor names one event for ever."""
    seq: int

    def __str__(self) -> str:
        return f"1.{self.stream_id}.{self.epoch}.{self.seq}"

    @property
    def position(self) -> Position:
        """The same, without the stream."""
        return Position(self.epoch, self.seq)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from outside.

        Raises:
            CursorInvalidError: it is longer than `MAX_CURSOR_BYTES` or not of our form.
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
