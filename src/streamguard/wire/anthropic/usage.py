"""Usage in Anthropic's words, under our names.

Source: `Usage` and `MessageDeltaUsage` of the Python package `anthropic` 2.14. `input_tokens` there leaves out what was
read from the cache or written to it. Ours counts all of the input, as OpenAI and AI SDK do, and
`cached_input_tokens` is the part of it that was read from the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..partial_json import Json
from ..upstream.json_events import MOST, amount_of, mapping_of

__all__ = ["AnthropicUsage"]

_INPUTS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_NAMES: Final = (*_INPUTS, "output_tokens")


class AnthropicUsage:
    """Adds up one message's usage objects, which are cumulative: a later figure replaces an earlier one."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def note(self, usage: Mapping[str, Json]) -> dict[str, int]:
        """Take in one usage object. Returns the amounts by unit; empty as long as there are none."""
        latest = self._latest
        for name in _NAMES:
            if (amount := amount_of(usage, name)) is not None:
                latest[name] = amount
        if (thought := amount_of(mapping_of(usage, "output_tokens_details"), "thinking_tokens")) is not None:
            latest["thinking_tokens"] = thought
        if not latest:
            return {}
        found: dict[str, int] = {}
        if any(name in latest for name in _INPUTS):
            found["input_tokens"] = sum(latest.get(name, 0) for name in _INPUTS)
        if "output_tokens" in latest:
            found["output_tokens"] = latest["output_tokens"]
        if latest.get("cache_read_input_tokens"):
            found["cached_input_tokens"] = latest["cache_read_input_tokens"]
        if "thinking_tokens" in latest:
            found["reasoning_tokens"] = latest["thinking_tokens"]
        if "input_tokens" in found and "output_tokens" in found:
            found["total_tokens"] = found["input_tokens"] + found["output_tokens"]
        return {unit: min(amount, MOST) for unit, amount in found.items()}
