"""Which tools a stream calls that is passed on byte for byte: what its saved reply has, told while it goes by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from streamguard.wire import protocol_named
from streamguard.wire.base import ToolNews

TRANSCRIPTS: Final = Path(__file__).parent / "transcripts"
EXPECTED: Final[dict[str, dict[str, Any]]] = json.loads((TRANSCRIPTS / "expected.json").read_text())
PASSED_ON: Final = [
    name for name, one in EXPECTED.items() if one["protocol"] in ("anthropic", "openai", "ui-message-raw")
]


def told_of(name: str, size: int) -> list[ToolNews]:
    told: list[ToolNews] = []
    encoder = protocol_named(EXPECTED[name]["protocol"]).encoder(message_id="m", max_event_bytes=1_000_000)
    encoder.on_tool = told.append
    body = (TRANSCRIPTS / f"{name}.sse").read_bytes()
    for start in range(0, len(body), size):
        encoder.encode(body[start : start + size])
    encoder.finish()
    return told


@pytest.mark.parametrize("size", [7, 100_000])
@pytest.mark.parametrize("name", PASSED_ON)
def test_each_tool_of_the_reply_is_told_of(name: str, size: int) -> None:
    outcomes = {"input-available": ["called"], "output-available": ["called", "finished"]}
    expected = [
        ToolNews(part["type"].removeprefix("tool-"), part["toolCallId"], outcome)  # type: ignore[arg-type]
        for part in EXPECTED[name]["parts"]
        if part["type"].startswith("tool-")
        for outcome in outcomes[part["state"]]
    ]
    assert told_of(name, size) == expected


def test_some_of_them_call_tools() -> None:
    assert len([name for name in PASSED_ON if told_of(name, 1_000)]) >= 5


@pytest.mark.parametrize(
    ("protocol", "block", "told"),
    [
        (
            "anthropic",
            {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "a\n1", "name": "x" * 100}},
            [ToolNews("x" * 64, "a?1", "called")],
        ),
        (
            "anthropic",
            {
                "type": "content_block_start",
                "content_block": {
                    "type": "web_search_tool_result",
                    "tool_use_id": "w1",
                    "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
                },
            },
            [ToolNews("", "w1", "failed")],
        ),
        ("anthropic", {"type": "content_block_start", "content_block": "tool_use"}, []),
        ("openai", {"choices": [{"delta": {"tool_calls": [{"function": {"name": 7}}]}}]}, []),
        ("openai", {"choices": [{"delta": {"tool_calls": "name", "name": 1}}]}, []),
        ("openai", {"type": "response.output_item.done", "item": {"type": ["_call"]}, "_call": 1}, []),
        (
            "openai",
            {"type": "response.output_item.done", "item": {"type": "mcp_call", "id": "m", "name": "q", "error": "no"}},
            [ToolNews("q", "m", "called"), ToolNews("q", "m", "failed")],
        ),
        (
            "ui-message-raw",
            {"type": "tool-output-error", "toolCallId": "c", "errorText": "no"},
            [ToolNews("", "c", "failed")],
        ),
        ("ui-message-raw", {"type": "text-delta", "delta": 'says "type":"tool-output-available"'}, []),
    ],
)
def test_whatever_a_block_holds(protocol: str, block: dict[str, object], told: list[ToolNews]) -> None:
    """Names are cut and kept in one line; nothing that a model writes raises."""
    found: list[ToolNews] = []
    encoder = protocol_named(protocol).encoder(message_id="m", max_event_bytes=1_000_000)
    encoder.on_tool = found.append
    encoder.encode(f"data: {json.dumps(block, separators=(',', ':'))}\n\n")
    assert found == told
