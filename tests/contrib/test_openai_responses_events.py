"""Events of OpenAI's Responses API."""

from __future__ import annotations

from typing import Any

import pytest

from streamguard import FaultCode, FaultError
from streamguard.contrib import openai

from .reading import Stream, kinds, read, read_until_failure, spent, without_ids

pytestmark = pytest.mark.anyio

Json = Any


def event(kind: str, **fields: Json) -> object:
    """As the SDK builds one: `construct` of its union of events."""
    from openai._models import construct_type
    from openai.types.responses import ResponseStreamEvent

    found: object = construct_type(type_=ResponseStreamEvent, value={"type": kind, "sequence_number": 0, **fields})
    assert "openai.types.responses" in type(found).__module__
    return found


def response(status: str, **fields: Json) -> Json:
    head = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": []}
    return {**head, "status": status, "tool_choice": "auto", "parallel_tool_calls": True, **fields}


USED = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 3},
}
DONE = event("response.completed", response=response("completed", usage=USED))


def item(**fields: Json) -> list[object]:
    """The two events of an item that came whole."""
    return [
        event("response.output_item.added", output_index=0, item={**fields, "status": "in_progress"}),
        event("response.output_item.done", output_index=0, item={"status": "completed", **fields}),
    ]


def text(delta: str) -> object:
    return event("response.output_text.delta", item_id="m", output_index=0, content_index=0, delta=delta, logprobs=[])


async def test_usage() -> None:
    assert spent(await read(openai.responses_parts(Stream([text("x"), DONE])))) == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "reasoning_tokens": 3,
        "cached_input_tokens": 4,
    }


async def test_sources() -> None:
    cited = {"type": "url_citation", "url": "https://example.org", "title": "Example", "start_index": 0, "end_index": 1}
    at = {"item_id": "m", "output_index": 0, "content_index": 0, "annotation_index": 0}
    annotation = event("response.output_text.annotation.added", **at, annotation=cited)
    items = without_ids(await read(openai.responses_parts(Stream([text("x"), annotation, annotation, DONE]))))
    assert [part for part in items if part["type"] == "source-url"] == [
        {"type": "source-url", "url": "https://example.org", "title": "Example"}
    ]


async def test_tools_that_openai_runs() -> None:
    search = item(type="web_search_call", id="ws", action={"type": "search", "query": "weather"})
    logs = [{"type": "logs", "logs": "2"}]
    code = item(type="code_interpreter_call", id="ci", code="1+1", container_id="c", outputs=logs)
    mcp = item(type="mcp_call", id="mcp", name="lookup", server_label="s", arguments='{"a":1}', error="no such server")
    items = await read(openai.responses_parts(Stream([*search, *code, *mcp, text("x"), DONE])))
    parts = [part for part in items if isinstance(part, dict)]
    called = {part["toolCallId"]: part for part in parts if part["type"] == "tool-input-available"}
    assert called["ws"]["input"]["query"] == "weather"
    assert (called["ci"]["toolName"], called["ci"]["input"]) == ("code_interpreter", {"code": "1+1"})
    assert (called["mcp"]["toolName"], called["mcp"]["input"]) == ("lookup", {"a": 1})
    assert all(part["providerExecuted"] is True for part in called.values())
    results = {part["toolCallId"]: part for part in parts if "tool-output" in part["type"]}
    assert results["ws"]["output"] == {"status": "completed"}
    assert results["mcp"]["errorText"] in ("no such server", "The tool failed.")
    assert results["ci"]["output"] == logs
    assert items[-1] == {"type": "finish", "finishReason": "stop"}


async def test_an_image_is_a_file() -> None:
    made = item(type="image_generation_call", id="ig", result="iVBORw0KGgo=")
    items = await read(openai.responses_parts(Stream([*made, DONE])))
    assert {"type": "file", "url": "data:image/png;base64,iVBORw0KGgo=", "mediaType": "image/png"} in items


async def test_a_custom_tool_has_a_text_as_its_input() -> None:
    turn = openai.ResponsesTurn()
    called = item(type="custom_tool_call", id="ct", call_id="c", name="sql", input="SELECT 1")
    items = await read(openai.responses_parts(Stream([*called, DONE]), turn))
    (available,) = [part for part in items if isinstance(part, dict) and part["type"] == "tool-input-available"]
    assert (available["input"], available["providerMetadata"]) == ("SELECT 1", {"openai": {"custom": True}})
    (found,) = turn.calls
    assert found.arguments == "SELECT 1"
    turn.returned(found, "1")
    assert turn.history[-1] == {"type": "custom_tool_call_output", "call_id": "c", "output": "1"}


async def test_reasoning_without_a_summary_is_kept_for_the_next_request() -> None:
    thought = item(type="reasoning", id="rs", summary=[], encrypted_content="sealed")
    items = await read(openai.responses_parts(Stream([*thought, text("x"), DONE])))
    metadata = {"openai": {"itemId": "rs", "reasoningEncryptedContent": "sealed"}}
    assert without_ids(items)[1:3] == [
        {"type": "reasoning-start", "providerMetadata": metadata},
        {"type": "reasoning-end", "providerMetadata": metadata},
    ]


async def test_the_text_of_open_models_reasoning() -> None:
    thought = event("response.reasoning_text.delta", item_id="rs", output_index=0, content_index=0, delta="Hm.")
    assert kinds(await read(openai.responses_parts(Stream([thought, text("x"), DONE]))))[1:4] == [
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
    ]


@pytest.mark.parametrize(
    ("why", "reason"), [("max_output_tokens", "length"), ("content_filter", "content-filter"), ("steered", "other")]
)
async def test_incomplete(why: str, reason: str) -> None:
    last = event("response.incomplete", response=response("incomplete", incomplete_details={"reason": why}))
    *_, end = await read(openai.responses_parts(Stream([text("x"), last])))
    assert end == {"type": "finish", "finishReason": reason}


@pytest.mark.parametrize(
    ("code", "fault", "retryable"),
    [
        ("rate_limit_exceeded", FaultCode.PROVIDER_RATE_LIMITED, True),
        ("server_error", FaultCode.PROVIDER_ERROR, True),
        ("invalid_prompt", FaultCode.PROVIDER_ERROR, False),
    ],
)
async def test_failures_that_the_library_does_not_raise(code: str, fault: FaultCode, retryable: bool) -> None:
    error = {"code": code, "message": "words only the provider says"}
    failed = event("response.failed", response=response("failed", error=error, usage=USED))
    items, raised = await read_until_failure(openai.responses_parts(Stream([text("x"), failed])))
    assert isinstance(raised, FaultError)
    assert (raised.fault.code, raised.fault.retryable) == (fault, retryable)
    assert "only the provider" not in str(raised)
    assert raised.__notes__ == [f"{code}: words only the provider says"]
    assert spent(items)["total_tokens"] == 15
    told = event("error", param=None, **error)
    _, raised = await read_until_failure(openai.responses_parts(Stream([text("x"), told])))
    assert isinstance(raised, FaultError)
    assert (raised.fault.code, raised.fault.retryable) == (fault, retryable)


async def test_a_response_without_an_end_is_broken_off() -> None:
    with pytest.raises(FaultError) as raised:
        await read(openai.responses_parts(Stream([text("x")])))
    assert raised.value.fault.code is FaultCode.PROVIDER_ABORTED
