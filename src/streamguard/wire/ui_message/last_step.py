"""Whether the last step of an answer that ended early says anything that a model's provider takes.

Each step becomes a message of the history. Reasoning that broke off has no signature, and Anthropic's provider leaves
it out, as AI SDK 6 does with data. What remains is an empty message, or a text of spaces, and Anthropic refuses both.
So such a step gets a text, `CUT_OFF`, on the page and in the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .parts import encode_part

__all__ = ["CUT_OFF", "LastStep"]

CUT_OFF: Final = "…"
"""The text of a step that broke off before it had one."""

_TEXT_ID: Final = "cut-off"
_BEGINS: Final = frozenset({"text-start", "reasoning-start", "reasoning-delta", "file", "reasoning-file", "custom"})
_SPEAKS: Final = frozenset({"tool-input-start", "tool-input-available", "tool-input-error"})
_LEFT: Final = frozenset({"start-step", "reset-step", "steering-message"})


class LastStep:
    """Follows the parts of one stream."""

    def __init__(self) -> None:
        self._began = False
        """The step has a part that is kept."""
        self.spoke: bool = False
        """It has a text that is more than spaces, or a call. May be set by whoever knows."""

    def note(self, kind: str, fields: Mapping[str, object]) -> None:
        """Take in a part of type `kind` that was said."""
        if kind == "text-delta":
            self._began = True
            self.spoke = self.spoke or bool(str(fields.get("delta")).strip())
        elif kind in _SPEAKS:
            self.spoke = True
        elif kind in _BEGINS or (kind.startswith("data-") and fields.get("transient") is not True):
            self._began = True
        elif kind in _LEFT:
            self._began = self.spoke = False

    def ends_in(self, spans: Iterable[tuple[str, str]]) -> list[bytes]:
        """The text that the step lacks, at the end of a text that is still open: `spans` are those and reasonings, by
        kind and id. None where no text is open."""
        texts = [part_id for what, part_id in spans if what == "text"]
        if self.spoke or not texts:
            return []
        self.spoke = True
        return [encode_part({"type": "text-delta", "id": texts[-1], "delta": CUT_OFF})]

    def ends(self) -> list[bytes]:
        """The text that the step lacks, after everything else; none when called again."""
        if self.spoke or not self._began:
            return []
        self.spoke = True
        steps = ({"type": "text-start"}, {"type": "text-delta", "delta": CUT_OFF}, {"type": "text-end"})
        return [encode_part({**step, "id": _TEXT_ID}) for step in steps]
