"""What a part says of a tool that the reply calls: for operators, without its arguments and its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from ..base import ToolNews
from .open_calls import OpenCalls

__all__ = ["tool_news"]

_OUTCOMES: Final[Mapping[str, Literal["called", "finished", "failed"]]] = {
    "tool-input-available": "called",
    "tool-input-error": "failed",
    "tool-output-available": "finished",
    "tool-output-error": "failed",
    "tool-output-denied": "failed",
}
_NAME_CHARACTERS: Final = 64
_ID_CHARACTERS: Final = 128


def tool_news(kind: str, fields: Mapping[str, object], calls: OpenCalls) -> ToolNews | None:
    """What a part of type `kind` says of a tool; None if nothing. Ask before `calls` takes the part in."""
    outcome = _OUTCOMES.get(kind)
    if outcome is None or fields.get("preliminary") is True:
        return None
    call_id = str(fields.get("toolCallId"))
    name = calls.name_of(call_id) or str(fields.get("toolName", ""))
    return ToolNews(_safe(name, _NAME_CHARACTERS), _safe(call_id, _ID_CHARACTERS), outcome)


def _safe(text: str, most: int) -> str:
    """A name that fits into a line: a model chose it."""
    return "".join(character if character.isprintable() else "?" for character in text[:most])
