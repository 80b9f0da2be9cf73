"""Finds out whether the last step of an answer that ended early has content that a model's provider accepts.

Each step becomes a message of the history. Anthropic's provider leaves out reasoning that was cut off, because it has
no signature; AI SDK 6 leaves out data. An empty message or a text of spaces remains, and Anthropic refuses both.
So such a step gets the text `CUT_OFF`, on the page and in the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .parts import encode_part

__all__ = ["CUT_OFF", "LastStep"]

CUT_OFF: Final = "…"
"""The text of a step that was cut off before it had one."""

_TEXT_ID: Final = "cut-off"
_BEGINS: Final = frozenset({"text-start", "reasoning-start", "reasoning-delta", "file", "reasoning-file", "custom"})
_SPEAKS: Final = frozenset({"tool-input-start", "tool-input-available", "tool-input-error"})
_LEFT: Final = frozenset({"start-step", "reset-step", "steering-message"})


class LastStep:
    """Follows the parts of one stream."""

    def __init__(self) -> None:
        self.began: bool = False
        """Whether the step has a part that the message keeps."""
        self.spoke: bool = False
        """Whether the step has a call, or a text of more than spaces. A caller that knows this may set it."""

    def note(self, kind: str, fields: Mapping[str, object]) -> None:
        """Take in a part of type `kind` that was sent."""
        if kind == "text-delta":
            self.began = True
            self.spoke = self.spoke or bool(str(fields.get("delta")).strip())
        elif kind in _SPEAKS:
            self.spoke = True
        elif kind in _BEGINS or (kind.startswith("data-") and fields.get("transient") is not True):
            self.began = True
        elif kind in _LEFT:
            self.began = self.spoke = False

    def ends_in(self, spans: Iterable[tuple[str, str]]) -> list[bytes]:
        """The missing text of the step, appended to a text that is still open; empty when no text is open or none is
        missing. `spans` are the open texts and reasonings, by kind and id."""
        texts = [part_id for what, part_id in spans if what == "text"]
        if self.spoke or not texts:
            return []
        self.spoke = True
        return [encode_part({"type": "text-delta", "id": texts[-1], "delta": CUT_OFF})]

    def ends(self) -> list[bytes]:
        """The missing text of the step, as a new text after everything else; empty when called again."""
        if self.spoke or not self.began:
            return []
        self.spoke = True
        steps = ({"type": "text-start"}, {"type": "text-delta", "delta": CUT_OFF}, {"type": "text-end"})
        return [encode_part({**step, "id": _TEXT_ID}) for step in steps]
