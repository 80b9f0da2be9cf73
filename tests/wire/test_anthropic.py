"""Anthropic's messages: what they fold to, and what they tell."""

from __future__ import annotations

import json
from typing import Final

import pytest

from streamguard.values import Outcome
from streamguard.wire import protocol_named
from streamguard.wire.closed_calls import CALL_CLOSED
from streamguard.wire.partial_json import Json, Part

from .upstreams import cut, folded, logged

PROTOCOL: Final = protocol_named("anthropic")
STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def event(kind: str, **more: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def block(index: int, content: Part, *deltas: Part, ended: bool = True) -> bytes:
    out = event("content_block_start", index=index, content_block=content)
    for delta in deltas:
        out += event("content_block_delta", index=index, delta=delta)
    return out + (event("content_block_stop", index=index) if ended else b"")


def parts(*blocks: bytes) -> list[Part]:
    return list(folded(PROTOCOL, logged(PROTOCOL, blocks).payloads).parts)


def pieces(*texts: str) -> list[Part]:
    return [{"type": "input_json_delta", "partial_json": text} for text in texts]


USE: Final[Part] = {"type": "tool_use", "id": "c", "name": "f", "input": {}}


def test_an_input_may_come_whole() -> None:
    (part,) = parts(block(0, {**USE, "input": {"n": 1}}), STOP)
    assert (part["type"], part["state"], part["input"]) == ("tool-f", "input-available", {"n": 1})


def test_two_calls_at_a_time() -> None:
    begun = [block(index, {**USE, "id": f"c{index}"}, ended=False) for index in (0, 1)]
    said = [
        event("content_block_delta", index=index, delta=piece)
        for first, second in zip(pieces('{"a":', "1}"), pieces('{"b":', "2}"), strict=True)
        for index, piece in ((0, first), (1, second))
    ]
    ended = [event("content_block_stop", index=index) for index in (0, 1)]
    found = parts(*begun, *said, *ended, STOP)
    assert [(part["toolCallId"], part["input"]) for part in found] == [("c0", {"a": 1}), ("c1", {"b": 2})]


def test_a_call_that_was_cut_gets_an_end() -> None:
    got = cut(PROTOCOL, block(0, USE, *pieces('{"a":"b'), ended=False))
    (part,) = folded(PROTOCOL, got.data).parts
    assert (part["state"], part["input"], part["errorText"]) == ("output-error", {"a": "b"}, CALL_CLOSED)


def test_a_call_without_pieces_has_an_empty_input() -> None:
    (part,) = parts(block(0, USE), STOP)
    assert (part["state"], part["input"]) == ("input-available", {})


def test_a_signature_without_thinking_is_kept() -> None:
    """A request that goes on must hand it back."""
    thinking: Part = {"type": "thinking", "thinking": "", "signature": ""}
    (part,) = parts(block(0, thinking, {"type": "signature_delta", "signature": "Eq="}), STOP)
    assert (part["type"], part["text"]) == ("reasoning", "")
    assert part["providerMetadata"] == {"anthropic": {"signature": "Eq="}}


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ({"type": "web_search_tool_result", "content": []}, "output-available"),
        ({"type": "web_search_tool_result", "content": {"error_code": "max_uses_exceeded"}}, "output-error"),
        ({"type": "mcp_tool_result", "is_error": True, "content": []}, "output-error"),
        ({"type": "code_execution_tool_result", "content": {"stdout": "7"}}, "output-available"),
    ],
)
def test_results_of_the_providers_own_tools(result: Part, state: str) -> None:
    use: Part = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    (part,) = parts(block(0, use, *pieces('{"q":1}')), block(1, {**result, "tool_use_id": "s"}), STOP)
    assert (part["state"], part["input"], part["providerExecuted"]) == (state, {"q": 1}, True)


def test_cited_documents_are_sources() -> None:
    text: Part = {"type": "text", "text": ""}
    cited: Part = {"type": "page_location", "document_title": "A", "cited_text": "x", "document_index": 0}
    found = parts(
        block(0, text, {"type": "citations_delta", "citation": cited}, {"type": "text_delta", "text": "x"}), STOP
    )
    assert [(part["type"], part.get("title")) for part in found] == [("source-document", "A"), ("text", None)]


def test_usage_is_cumulative_and_counts_the_cache_as_input() -> None:
    usage: Part = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 20,
        "output_tokens": 1,
    }
    said = event("message_start", message={"usage": usage})
    assert dict(cut(PROTOCOL, said).encoder.usage) == {
        "input_tokens": 35,
        "cached_input_tokens": 20,
        "output_tokens": 1,
        "total_tokens": 36,
    }
    for output in (7, 9):
        said += event(
            "message_delta",
            delta={},
            usage={"output_tokens": output, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 4}},
        )
    assert dict(cut(PROTOCOL, said).encoder.usage) == {
        "input_tokens": 35,
        "cached_input_tokens": 20,
        "output_tokens": 9,
        "reasoning_tokens": 4,
        "total_tokens": 44,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"type": "overloaded_error", "message": "x"}, "provider_error"),
        ({"type": "rate_limit_error", "message": "x"}, "provider_rate_limited"),
        ({"type": "timeout_error", "message": "x"}, "provider_timeout"),
        ({}, "provider_error"),
        (None, "provider_error"),
    ],
)
def test_an_error_is_a_failure_in_the_upstreams_words(error: Json, code: str) -> None:
    failed = event("error", error=error)
    got = logged(PROTOCOL, [block(0, {"type": "text", "text": "x"}), failed])
    assert (got.encoder.failure, list(got.held)) == (code, [failed])
    assert PROTOCOL.closing(Outcome.FAILED, None, got.held) == [failed]


def test_a_ping_is_passed_on_and_means_nothing() -> None:
    ping = event("ping")
    got = logged(PROTOCOL, [ping])
    assert (list(got.data), folded(PROTOCOL, got.data).parts) == ([ping], ())


def test_a_message_that_ends_without_its_end_has_failed() -> None:
    """Its upstream broke off, and the SDK would take half an answer for a whole one."""
    begun = event("message_start", message={})
    assert logged(PROTOCOL, [begun]).encoder.failure == "provider_aborted"
    assert logged(PROTOCOL, [begun, STOP]).encoder.failure is None
    assert logged(PROTOCOL, [event("ping")]).encoder.failure is None
