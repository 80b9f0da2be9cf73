"""What is published on the channels of streams and of workers, read. Later versions may append to it."""

from __future__ import annotations

import struct
from typing import Final

from ...values import EventKind
from ..records import Hint
from ..worker_hints import MISSED_HINTS, WorkerHint

__all__ = ["EMPTY_HINT", "decode_hint", "decode_worker_hint"]

EMPTY_HINT: Final = Hint(0, (), False)

_KINDS: Final = {kind.encode(): kind for kind in EventKind}
_HINT: Final = struct.Struct(">BQQ")
_HINTED: Final = struct.Struct(">cI")
_WORKER_HINT: Final = struct.Struct(">BQ")


def decode_hint(payload: bytes) -> Hint:
    """A hint about a stream; what cannot be read is an empty one.

    Layout: a byte with the stop flag, the number of the first event and its epoch in eight bytes each, big-endian, then
    per event its kind letter, its length in four bytes and its payload.
    """
    try:
        stop, first_seq, epoch = _HINT.unpack_from(payload)
        events: list[tuple[EventKind, bytes]] = []
        at = _HINT.size
        while at < len(payload):
            kind, size = _HINTED.unpack_from(payload, at)
            at += _HINTED.size
            events.append((_KINDS[kind], payload[at : at + size]))
            at += size
        if at > len(payload):
            return EMPTY_HINT
    except (KeyError, struct.error):
        return EMPTY_HINT
    return Hint(first_seq, tuple(events), stop == 1, epoch)


def decode_worker_hint(payload: bytes) -> WorkerHint:
    """A hint to a worker; what cannot be read says that some were missed.

    Layout: a byte with the stop flag, the epoch in eight bytes, big-endian, then the stream's id.
    """
    try:
        stop, epoch = _WORKER_HINT.unpack_from(payload)
        stream_id = payload[_WORKER_HINT.size :].decode()
    except (struct.error, UnicodeDecodeError):
        return MISSED_HINTS
    return WorkerHint(stream_id, epoch, stop == 1)
