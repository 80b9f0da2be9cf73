"""Usage in OpenAI's words, under our names.

Source: `CompletionUsage` and `ResponseUsage` of the Python package `openai` 3.57. Compatible servers that report in
another place or on every chunk (Groq, DeepSeek, vLLM) report cumulative figures too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..partial_json import Json
from ..upstream.json_events import amount_of, mapping_of

__all__ = ["usage_of"]

_NAMES: Final = {
    "prompt_tokens": "input_tokens",
    "input_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "prompt_cache_hit_tokens": "cached_input_tokens",
}
_DETAILS: Final = {
    ("prompt_tokens_details", "cached_tokens"): "cached_input_tokens",
    ("input_tokens_details", "cached_tokens"): "cached_input_tokens",
    ("completion_tokens_details", "reasoning_tokens"): "reasoning_tokens",
    ("output_tokens_details", "reasoning_tokens"): "reasoning_tokens",
}


def usage_of(value: Mapping[str, Json]) -> dict[str, int]:
    """The amounts of a usage object, by unit; empty when it holds none."""
    found = {ours: amount_of(value, theirs) for theirs, ours in _NAMES.items() if theirs in value}
    for (part, theirs), ours in _DETAILS.items():
        if (amount := amount_of(mapping_of(value, part), theirs)) is not None:
            found[ours] = amount
    return {unit: amount for unit, amount in found.items() if amount is not None}
