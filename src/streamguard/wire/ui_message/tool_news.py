"""What a part says of a tool that the reply calls: for operators, without its arguments and its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..base import ToolNews, ToolOutcome
from .open_calls import OpenCalls

__all__ = ["tool_news"]

_OUTCOMES: Final[Mapping[str, ToolOutcome]] = {
    "tool-input-available": "called",
    "tool-input-error": "failed",
    "tool-output-available": "finished",
    "tool-output-error": "failed",
    "tool-output-denied": "failed",
}


def tool_news(kind: str, fields: Mapping[str, object], calls: OpenCalls) -> ToolNews | None:
    """What a part of type `kind` says of a tool; None if nothing. Ask before `calls` takes the part in."""
    outcome = _OUTCOMES.get(kind)
    if outcome is None or fields.get("preliminary") is True:
        return None
    call_id = str(fields.get("toolCallId"))
    name = calls.name_of(call_id) or str(fields.get("toolName", ""))
    return ToolNews.of(name, call_id, outcome)
