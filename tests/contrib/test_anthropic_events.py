"""Events of Anthropic's Messages API."""

from __future__ import annotations

from typing import Any

import pytest

from streamguard import FaultCode, FaultError
from streamguard.contrib import anthropic

from .reading import Stream, kinds, read, spent, without_ids

pytestmark = pytest.mark.anyio

Json = Any


def event(kind: str, **fields: Json) -> object:
    from anthropic._models import construct_type
    from anthropic.types import RawMessageStreamEvent

    found: object = construct_type(type_=RawMessageStreamEvent, value={"type": kind, **fields})
    assert "anthropic.types" in type(found).__module__
    return found


def start(**usage: Json) -> object:
    head = {"id": "msg", "type": "message", "role": "assistant", "content": [], "model": "m"}
    return event(
        "message_start",
        message={**head, "stop_reason": None, "usage": {"input_tokens": 10, "output_tokens": 1} | usage},
    )


def end(reason: str = "end_turn", **usage: Json) -> list[object]:
    told = {"output_tokens": 5, **usage}
    return [event("message_delta", delta={"stop_reason": reason}, usage=told), event("message_stop")]


def block(index: int, content: Json, *deltas: Json) -> list[object]:
    return [
        event("content_block_start", index=index, content_block=content),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def text(index: int, said: str) -> list[object]:
    return block(index, {"type": "text", "text": ""}, {"type": "text_delta", "text": said})


async def test_input_is_charged_at_once_and_output_in_the_end() -> None:
    stream = Stream([start(cache_creation_input_tokens=3, cache_read_input_tokens=4), *text(0, "x"), *end()])
    items = await read(anthropic.message_parts(stream))
    assert spent(items[:1]) == {"input_tokens": 17, "output_tokens": 1, "total_tokens": 18, "cached_input_tokens": 4}
    assert spent(items) == {"input_tokens": 17, "output_tokens": 5, "total_tokens": 22, "cached_input_tokens": 4}
    assert stream.closed


async def test_usage_that_the_end_repeats_is_charged_once() -> None:
    items = await read(anthropic.message_parts(Stream([start(), *text(0, "x"), *end(input_tokens=10)])))
    assert spent(items) == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content-filter"),
        ("pause_turn", "other"),
    ],
)
async def test_stop_reasons(reason: str, shown: str) -> None:
    *_, last = await read(anthropic.message_parts(Stream([start(), *text(0, "x"), *end(reason)])))
    assert last == {"type": "finish", "finishReason": shown}


async def test_thinking_with_and_without_a_text() -> None:
    signed = {"type": "signature_delta", "signature": "signed"}
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    events = [
        start(),
        *block(0, thinking, {"type": "thinking_delta", "thinking": "Hm."}, signed),
        *block(1, thinking, signed),
        *block(2, {"type": "redacted_thinking", "data": "xyz"}),
        *text(3, "Yes."),
        *end(),
    ]
    turn = anthropic.MessageTurn()
    items = without_ids(await read(anthropic.message_parts(Stream(events), turn)))
    metadata = {"anthropic": {"signature": "signed"}}
    redacted = {"anthropic": {"redactedData": "xyz"}}
    assert items[1:8] == [
        {"type": "reasoning-start"},
        {"type": "reasoning-delta", "delta": "Hm."},
        {"type": "reasoning-end", "providerMetadata": metadata},
        {"type": "reasoning-start", "providerMetadata": metadata},
        {"type": "reasoning-end", "providerMetadata": metadata},
        {"type": "reasoning-start", "providerMetadata": redacted},
        {"type": "reasoning-end"},
    ]
    assert turn.history == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "signed"},
                {"type": "thinking", "thinking": "", "signature": "signed"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "Yes."},
            ],
        }
    ]


async def test_a_search_that_anthropic_runs_and_its_sources() -> None:
    found = {"type": "web_search_result", "url": "https://example.org", "title": "Example", "encrypted_content": "e"}
    cited = {"type": "web_search_result_location", "url": "https://example.org", "title": "Example", "cited_text": "c"}
    citation = {"type": "citations_delta", "citation": {**cited, "encrypted_index": "i"}}
    events = [
        start(),
        *block(
            0,
            {"type": "server_tool_use", "id": "st", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query": "weather"}'},
        ),
        *block(1, {"type": "web_search_tool_result", "tool_use_id": "st", "content": [found]}),
        *block(2, {"type": "text", "text": ""}, citation, {"type": "text_delta", "text": "Sunny."}, citation),
        *end(),
    ]
    turn = anthropic.MessageTurn()
    items = await read(anthropic.message_parts(Stream(events), turn))
    assert kinds(items)[1:5] == [
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
        "tool-output-available",
    ]
    assert all(part["providerExecuted"] for part in items if isinstance(part, dict) and "tool-output" in part["type"])
    assert kinds(items).count("source-url") == 1
    assert turn.calls == []
    assert [one["type"] for one in turn.history[0]["content"]] == [  # type: ignore[attr-defined] # a list
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]


async def test_a_search_that_fails() -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    events = [
        start(),
        *block(0, {"type": "server_tool_use", "id": "st", "name": "web_search", "input": {"query": "x"}}),
        *block(1, {"type": "web_search_tool_result", "tool_use_id": "st", "content": error}),
        *text(2, "I could not look."),
        *end(),
    ]
    items = await read(anthropic.message_parts(Stream(events)))
    (failed,) = [part for part in items if isinstance(part, dict) and part["type"] == "tool-output-error"]
    assert (failed["errorText"], failed["providerExecuted"]) == ("max_uses_exceeded", True)


async def test_calls_without_arguments_and_with_broken_ones() -> None:
    called = {"type": "tool_use", "name": "f", "input": {}}
    events = [
        start(),
        *block(0, {**called, "id": "a"}),
        *block(1, {**called, "id": "b"}, {"type": "input_json_delta", "partial_json": '{"city": "Par'}),
        *end("tool_use"),
    ]
    turn = anthropic.MessageTurn()
    await read(anthropic.message_parts(Stream(events), turn))
    first, second = turn.calls
    assert first.input == {}
    with pytest.raises(ValueError, match="no JSON object"):
        _ = second.input
    turn.returned(first, {"ok": True})
    said, results = turn.history
    assert [one["input"] for one in said["content"]] == [{}, {}]  # type: ignore[attr-defined] # a list
    assert results["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": '{"ok":true}'},
        {"type": "tool_result", "tool_use_id": "b", "content": "The call was not carried out.", "is_error": True},
    ]
    assert "tool-output-error" in kinds(await read(anthropic.message_parts(Stream(events))))


async def test_a_message_without_a_stop_reason_is_broken_off() -> None:
    with pytest.raises(FaultError) as raised:
        await read(anthropic.message_parts(Stream([start(), *text(0, "x")])))
    assert raised.value.fault.code is FaultCode.PROVIDER_ABORTED
