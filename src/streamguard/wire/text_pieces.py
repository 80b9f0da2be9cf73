"""Text that comes in pieces: halves of surrogate pairs that two pieces share, and pieces too large for one event."""

from __future__ import annotations

from collections.abc import Callable

from .sse import encode_text

__all__ = ["REPLACEMENT", "Halves", "fitting"]

REPLACEMENT = "\ufffd"
"""What half a surrogate pair becomes that never meets its other half."""


class Halves:
    """Halves of surrogate pairs at the end of a piece, which wait for the next piece of the same text."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, str], str] = {}
        """By text."""

    def complete(self, key: tuple[str, str], piece: str) -> str:
        """The piece with the half that waits for it, valid, without one at its own end; perhaps nothing."""
        if self.waiting:
            piece = self.waiting.pop(key, "") + piece
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            self.waiting[key] = piece[-1]
            piece = piece[:-1]
        try:
            piece.encode()
        except UnicodeEncodeError:
            return encode_text(piece).decode()
        return piece

    def end(self, key: tuple[str, str]) -> str:
        """The text is over: what is left of it to say."""
        return REPLACEMENT if self.waiting.pop(key, "") else ""

    def drop(self, key: tuple[str, str]) -> None:
        """The text counts no more: something else says it whole."""
        self.waiting.pop(key, None)

    def take(self) -> list[tuple[str, str]]:
        """Every text that a half waits for, which is over."""
        keys = list(self.waiting)
        self.waiting.clear()
        return keys


def fitting(text: str, encode: Callable[[str], bytes], limit_bytes: int) -> list[bytes]:
    """`text` in as few payloads as fit the limit, or one character each."""
    payload = encode(text)
    if len(payload) <= limit_bytes or len(text) < 2:
        return [payload]
    # Pieces of equal size, as many as the first try says, halved where characters differ in size.
    count = -(-len(payload) // limit_bytes)
    size = max(1, -(-len(text) // count))
    out: list[bytes] = []
    for start in range(0, len(text), size):
        out += fitting(text[start : start + size], encode, limit_bytes)
    return out
