"""What OpenAI and Anthropic refuse in a history: a call without its result, the reverse, an empty message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["REFUSALS"]

Json = Any
"""Read from a request's body."""


def _objects(calls: Sequence[str]) -> list[str]:
    """The arguments that are no JSON objects."""
    return [arguments for arguments in calls if not isinstance(json.loads(arguments), dict)]


def refused_by_chat(body: Mapping[str, Json]) -> list[str]:
    """OpenAI's chat: a message with calls is followed by their results, one each."""
    wrong: list[str] = []
    expected: list[str] = []
    for at, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in expected:
                wrong.append(f"{at}: a result without a call")
            else:
                expected.remove(message["tool_call_id"])
            continue
        wrong += [f"{at}: {call} has no result before" for call in expected]
        calls = message.get("tool_calls") or []
        expected = [call["id"] for call in calls]
        wrong += [f"{at}: no object: {one}" for one in _objects([call["function"]["arguments"] for call in calls])]
        if not calls and message.get("content") is None:
            wrong.append(f"{at}: an empty message")
    return wrong + [f"{call} has no result" for call in expected]


def refused_by_responses(body: Mapping[str, Json]) -> list[str]:
    """OpenAI's responses: each call has its output somewhere after it."""
    wrong: list[str] = []
    expected: list[str] = []
    for at, item in enumerate(body["input"]):
        if item.get("type") == "function_call":
            expected.append(item["call_id"])
            wrong += [f"{at}: no object: {one}" for one in _objects([item["arguments"]])]
        elif item.get("type") == "function_call_output":
            if item["call_id"] in expected:
                expected.remove(item["call_id"])
            else:
                wrong.append(f"{at}: a result without a call")
    return wrong + [f"{call} has no result" for call in expected]


def refused_by_anthropic(body: Mapping[str, Json]) -> list[str]:
    """Anthropic: the message after a `tool_use` has its result, before all else; no message or text is empty."""
    wrong: list[str] = []
    expected: list[str] = []
    for at, message in enumerate(body["messages"]):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            wrong.append(f"{at}: an empty message")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if results[: len(expected)] != expected or len(results) != len(expected):
            wrong.append(f"{at}: results of {results}, not of {expected}")
        if any(block["type"] != "tool_result" for block in blocks[: len(results)]):
            wrong.append(f"{at}: something comes before a result")
        wrong += [f"{at}: a text of spaces" for block in blocks if not block.get("text", "…").strip()]
        uses = [block for block in blocks if block["type"] in ("tool_use", "server_tool_use")]
        wrong += [
            f"{at}: no object: {block.get('input')}" for block in uses if not isinstance(block.get("input"), dict)
        ]
        expected = [block["id"] for block in uses if block["type"] == "tool_use"]
        served = [block["id"] for block in uses if block["type"] == "server_tool_use"]
        if served != [block["tool_use_id"] for block in blocks if block["type"].endswith("search_tool_result")]:
            wrong.append(f"{at}: a tool of the provider's has no result")
    return wrong + [f"{call} has no result" for call in expected]


REFUSALS: Final = {
    "chat": refused_by_chat,
    "responses": refused_by_responses,
    "anthropic": refused_by_anthropic,
}
"""By provider, what it would refuse of a request's body."""
