"""The mark of a tool call that was closed because its answer ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CALL_CLOSED", "is_closed_call", "is_closing"]

CALL_CLOSED: Final = "The answer ended before this call did."
"""The error text of a call that was closed because its answer ended. It marks the call: a late result replaces it."""


def is_closed_call(part: Mapping[str, object]) -> bool:
    """Whether this part of a message is a call that was closed because its answer ended."""
    return part.get("state") == "output-error" and part.get("errorText") == CALL_CLOSED


def is_closing(kind: str, fields: Mapping[str, object]) -> bool:
    """Whether this part of a stream closes a call because its answer ended."""
    return kind == "tool-output-error" and fields.get("errorText") == CALL_CLOSED
