"""Telling server-sent events written by hand from a reply's text, before they become the text of an answer.

An endpoint that was written for a bare `StreamingResponse` yields whole blocks, and from its first item on.
A model may say the same characters, but in the middle of an answer, or in pieces. So only the first texts of a stream
are looked at, item by item, for as long as each is made of whole lines of an event stream. They are blocks when

1. a blank line ends one within an item, whose other lines are of an event stream too; or
2. a blank line of a later item ends one that has a `data` line; or
3. an item is one `data` line that holds a JSON object, as an upstream read line by line gives them, or `[DONE]` and a
   line end.

A line is one of an event stream when it begins with `data:`, `event:`, `id:` or `retry:`, or is a comment such as
`: ping`. (`:` alone before a blank line is one token of some models, and `:)` is what others begin with.)
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import InvalidPartError

__all__ = ["MOST_HELD", "RawSseCheck"]

MOST_HELD: Final = 16
"""So many texts are kept back: hand-written events have fewer lines."""

_EOL: Final = re.compile(r"\r\n|\n|\r")
_FIELD: Final = re.compile(r"(?:data|event|id|retry):|: [^ ]")
_NAMES: Final = ("data:", "event:", "id:", "retry:")
_JSON_LINE: Final = re.compile(r"data: ?(?:\{.*\}[\r\n]*|\[DONE\][\r\n]+)")


class RawSseCheck:
    """Looks at the first texts of one stream, and keeps them back until it knows. Not thread-safe."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._held: list[str] = []
        """Whole lines of an event stream, without a blank one."""
        self._has_data = False
        """One of them is a `data` line."""

    def passed(self, text: str) -> str | None:
        """The text that may go out with this one, which is not empty; None while nothing can be said yet. Once
        something went out, nothing more is looked at.

        Raises:
            InvalidPartError: it is, or ends, a block of an event stream.
        """
        if _JSON_LINE.fullmatch(text):
            raise self._refusal()
        if self._goes_on(text) and len(self._held) < MOST_HELD:
            self._held.append(text)
            return None
        return self.rest() + text

    def rest(self) -> str:
        """What is kept back, which may go out after all: no more text follows it."""
        held = "".join(self._held)
        self._held.clear()
        return held

    def _goes_on(self, text: str) -> bool:
        """Whether it is made of whole lines of an event stream."""
        if not self._has_data and _FIELD.match(text) is None:
            return False
        *lines, rest = _EOL.split(text)
        if any(line and _FIELD.match(line) is None for line in lines):
            return False
        if rest and _FIELD.match(rest) is None and not any(name.startswith(rest) for name in _NAMES):
            return False
        if "" in lines and (self._has_data or lines[0]):
            raise self._refusal()
        self._has_data = self._has_data or any(line.startswith("data:") for line in lines)
        return bool(lines) and not rest

    def _refusal(self) -> InvalidPartError:
        return InvalidPartError(
            f"the endpoint yields server-sent events as text, and its protocol is {self._protocol}: yield the text "
            "itself, or parts of AI SDK as dicts or models, or name protocol='opaque' in @guard.stream to pass the "
            "events on as they are",
            protocol=self._protocol,
        )
