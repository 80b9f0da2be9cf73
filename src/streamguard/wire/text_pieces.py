"""Text in pieces: surrogate pairs that two pieces share, and pieces that are too large for one event."""

from __future__ import annotations

from collections.abc import Callable

from .sse import encode_text

__all__ = ["REPLACEMENT", "Halves", "fitting"]

REPLACEMENT = "\ufffd"
"""What half a surrogate pair becomes when its other half never comes."""


class Halves:
    """Halves of surrogate pairs at the end of a piece. They wait for the next piece of the same text."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, str], str] = {}
        """The waiting half of each text."""

    def complete(self, key: tuple[str, str], piece: str) -> str:
        """The valid text of the waiting half and `piece`. A half at the end of `piece` waits in its turn, so the result
        may be empty."""
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
        """The rest of a text that has ended."""
        return REPLACEMENT if self.waiting.pop(key, "") else ""

    def drop(self, key: tuple[str, str]) -> None:
        """Forget a text, because another part carries all of it."""
        self.waiting.pop(key, None)

    def take(self) -> list[tuple[str, str]]:
        """Remove and return all texts that have a waiting half, because they have ended."""
        keys = list(self.waiting)
        self.waiting.clear()
        return keys


def fitting(text: str, encode: Callable[[str], bytes], limit_bytes: int) -> list[bytes]:
    """`text` as payloads within the limit: as few as possible, at worst one for each character."""
    payload = encode(text)
    if len(payload) <= limit_bytes or len(text) < 2:
        return [payload]
    # Cut into pieces of equal length, as many as the whole text's size suggests. Halve pieces that are still too large,
    # because characters differ in size.
    count = -(-len(payload) // limit_bytes)
    size = max(1, -(-len(text) // count))
    out: list[bytes] = []
    for start in range(0, len(text), size):
        out += fitting(text[start : start + size], encode, limit_bytes)
    return out
