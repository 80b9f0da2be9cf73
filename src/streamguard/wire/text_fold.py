"""Folding a stream that holds only text into a message with one part."""

from __future__ import annotations

from collections.abc import Callable

from .folding import UIMessage
from .large_json import decode_text
from .partial_json import Part

__all__ = ["TextFold"]


class TextFold:
    """Collects payloads. `part` turns their text into the message's part; without text there is no part."""

    def __init__(self, message_id: str, previous: UIMessage | None, part: Callable[[str], Part]) -> None:
        self._id = message_id
        self._previous = previous
        self._part = part
        self._pieces: list[bytes] = []

    def add(self, payload: bytes) -> None:
        """Take in one payload."""
        self._pieces.append(payload)

    def message(self) -> UIMessage:
        """The message so far."""
        text = decode_text(b"".join(self._pieces), "replace")
        before = () if self._previous is None else self._previous.parts
        metadata = None if self._previous is None else self._previous.metadata
        return UIMessage(self._id, (*before, self._part(text)) if text else before, metadata)
