"""The events that all servers send, in a form that proves their arrival."""

from __future__ import annotations

import json
import re
import time
from typing import Final

__all__ = ["PIECE", "PIECE_BYTES", "as_plain_block", "as_ui_block", "piece"]

PIECE_BYTES: Final = 60
"""About the size of a token in a chat protocol's JSON form."""

_PAD: Final = "the quick brown fox jump"
PIECE: Final = re.compile(rb"s(\d{5}) e(\d{6}) t(\d{19}) " + _PAD.encode())


def piece(stream: int, seq: int) -> str:
    """The text of one event: its stream, its number from 1, and the time at which it was made (`time.monotonic_ns`).

    On Linux all processes share that clock, so a receiver in another process can subtract this time from its own.
    """
    return f"s{stream:05d} e{seq:06d} t{time.monotonic_ns():019d} {_PAD}"


def as_plain_block(stream: int, seq: int) -> bytes:
    """The event as a host writes it by hand for an EventSource."""
    return f"data: {piece(stream, seq)}\n\n".encode()


def as_ui_block(stream: int, seq: int) -> bytes:
    """The event as a host writes it by hand for AI SDK's `useChat`."""
    part = {"type": "text-delta", "id": "0", "delta": piece(stream, seq)}
    return f"data: {json.dumps(part, separators=(',', ':'))}\n\n".encode()
