"""Reads usage from AI SDK's parts: `totalUsage` or `usage` in the metadata of the `finish` part.

Source: `LanguageModelUsage` of the npm package `ai`, 5.0.0 to 7.0.173, and the `messageMetadata` that its documentation
tells hosts to send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...decoding import read_json

__all__ = ["usage_of"]

_NAMES: Final[Mapping[str, str]] = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "totalTokens": "total_tokens",
    "reasoningTokens": "reasoning_tokens",
    "cachedInputTokens": "cached_input_tokens",
}
_MAX: Final = 2**53 - 1


def usage_of(payloads: Sequence[bytes]) -> dict[str, int]:
    """The amounts by unit, under our names; empty when no closing part reports usage."""
    for payload in payloads:
        if b"sage" not in payload:
            continue
        part = read_json(payload)
        metadata = part.get("messageMetadata") if part.get("type") == "finish" else None
        if not isinstance(metadata, dict):
            continue
        for name in ("totalUsage", "usage"):
            found = metadata.get(name)
            if isinstance(found, dict):
                amounts = {ours: found.get(theirs) for theirs, ours in _NAMES.items()}
                return {unit: n for unit, n in amounts.items() if type(n) is int and 0 <= n <= _MAX}
    return {}
