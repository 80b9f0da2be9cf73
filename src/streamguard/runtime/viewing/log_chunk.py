"""Events of a log, framed once for all viewers that read the same part of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import accumulate, groupby
from typing import Final

from ...values import Event, EventKind, Position
from ...wire.base import WireProtocol
from .log_events import is_tombstone

__all__ = ["LogChunk", "LogEnd", "framed"]

CHUNK_OVERHEAD: Final = 512
"""About the memory that a chunk takes besides its bytes and its offsets."""


class LogEnd(Enum):
    """What follows a chunk's last event."""

    NONE = "none"
    """More of the log, or nothing yet."""
    WHOLE = "whole"
    """Nothing: its last event is the stream's own terminal record."""
    LOST = "lost"
    """The terminal record of a log that is not the whole stream."""


class LogChunk:
    """The frames of consecutive events that one epoch wrote. It never changes, so viewers share it."""

    __slots__ = ("_body", "_offsets", "after", "end", "last", "size")

    def __init__(self, after: Position, last: Position, frames: Sequence[bytes], end: LogEnd) -> None:
        self.after: Position = after
        """The event that its first one follows."""
        self.last: Position = last
        """Its last event; `after` if it has none."""
        self.end: LogEnd = end
        self._body = b"".join(frames)
        self._offsets = array("I", accumulate(map(len, frames), initial=0))
        """Where each event's frame begins in the bytes; one more for the end of the last one."""
        self.size: int = len(self._body) + self._offsets.itemsize * len(self._offsets) + CHUNK_OVERHEAD
        """About the memory that it takes, in bytes."""

    def goes_on(self, after: Position) -> bool:
        """Whether it has the event that follows `after`."""
        if after == self.after:
            return self.last != after
        return self.after.seq < after.seq < self.last.seq and after.epoch == self.last.epoch

    def bytes_between(self, after_seq: int, last_seq: int) -> bytes:
        """The frames of its events after number `after_seq`, up to number `last_seq`."""
        first = self.after.seq
        begin, stop = self._offsets[after_seq - first], self._offsets[last_seq - first]
        return self._body[begin:stop]  # the whole of it is not copied


def framed(
    protocol: WireProtocol, stream_id: str, after: Position, events: Sequence[Event], *, ids: bool
) -> Iterator[LogChunk]:
    """`events`, which follow event `after`, as one chunk for each epoch: at least one, also for a tombstone alone.

    What framing a damaged event raises comes through.
    """
    end = LogEnd.NONE
    if events[-1].kind is EventKind.TERMINAL:
        end = LogEnd.LOST if is_tombstone(events[-1].data) else LogEnd.WHOLE
        if end is LogEnd.LOST:
            events = events[:-1]
    if not events:
        yield LogChunk(after, after, (), end)
        return
    newest = events[-1]
    runs: Iterable[Iterable[Event]] = (events,)
    if events[0].epoch != newest.epoch:
        runs = (list(run) for _, run in groupby(events, key=lambda event: event.epoch))
    for run in runs:
        seqs, kinds, payloads, epochs = zip(*run, strict=True)
        prefix = f"id: 1.{stream_id}.{epochs[0]}.".encode() if ids else None
        frames = protocol.blocks(seqs[0], kinds, payloads, prefix)
        last = Position(epochs[0], seqs[-1])
        yield LogChunk(after, last, frames, end if last.seq == newest.seq else LogEnd.NONE)
        after = last
