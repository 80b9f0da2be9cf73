"""Detects server-sent events that an endpoint wrote by hand, before they become the text of an answer.

An endpoint that was written for a bare `StreamingResponse` yields whole blocks from its first item on.
A model may say the same characters, but in the middle of an answer, or in pieces. So the check looks only at the first
texts of a stream, item by item, as long as each one consists of whole lines of an event stream. They are blocks when

1. a blank line ends a block within one item, and the item's other lines are lines of an event stream too; or
2. a blank line in a later item ends a block that has a `data` line; or
3. an item is one `data` line that holds a JSON object (as when an upstream is read line by line), or `[DONE]` and a
   line end.

A line of an event stream begins with `data:`, `event:`, `id:` or `retry:`, or is a comment such as `: ping`.
(`:` alone before a blank line is one token of some models, and answers of others begin with `:)`.)
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import InvalidPartError

__all__ = ["MOST_HELD", "RawSseCheck"]

MOST_HELD: Final = 16
"""The most texts that are held back. Hand-written events have fewer lines."""

_EOL: Final = re.compile(r"\r\n|\n|\r")
_FIELD: Final = re.compile(r"(?:data|event|id|retry):|: [^ ]")
_NAMES: Final = ("data:", "event:", "id:", "retry:")
_JSON_LINE: Final = re.compile(r"data: ?(?:\{.*\}[\r\n]*|\[DONE\][\r\n]+)")


class RawSseCheck:
    """Checks the first texts of one stream, and holds them back until it has decided. Not thread-safe."""

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._held: list[str] = []
        """Whole lines of an event stream, without a blank one."""
        self._has_data = False
        """Whether one of the held lines is a `data` line."""

    def passed(self, text: str) -> str | None:
        """The held text together with `text`, once it may be sent; None while the check is undecided. `text` must not
        be empty. After a result that is not None, the check is over.

        Raises:
            InvalidPartError: `text` is, or ends, a block of an event stream.
        """
        if _JSON_LINE.fullmatch(text):
            raise self._refusal()
        if self._goes_on(text) and len(self._held) < MOST_HELD:
            self._held.append(text)
            return None
        return self.rest() + text

    def rest(self) -> str:
        """The held text, which may be sent because no more text follows."""
        held = "".join(self._held)
        self._held.clear()
        return held

    def _goes_on(self, text: str) -> bool:
        """Whether `text` consists of whole lines of an event stream."""
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
