"""Tool calls that a limit of the answer's length cut off: no page and no endpoint carries them out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

import pytest

from streamguard.contrib import anthropic, litellm, openai

from .guarded import Told, answered

pytestmark = pytest.mark.anyio

Json = Any

HEAD: Final = {"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "m"}
CUT: Final = "The answer ended before this call did."


class Call(NamedTuple):
    """A call as far as the model wrote it."""

    call_id: str
    arguments: str
    """Their text; empty where the limit came before it."""
    ended: bool = True
    """Whether the provider said that the call had ended."""


def completion(calls: list[Call], *, cut: bool) -> list[Json]:
    """The chunks of a chat completion."""
    chunks: list[Json] = []
    for index, call in enumerate(calls):
        function = {"name": "weather", "arguments": call.arguments}
        delta = {"tool_calls": [{"index": index, "id": call.call_id, "function": function}]}
        chunks.append({**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    return [*chunks, {**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "length" if cut else "stop"}]}]


def response(calls: list[Call], *, cut: bool) -> list[Json]:
    """The events of OpenAI's Responses."""
    events: list[Json] = [{"type": "response.created", "response": {"id": "r"}}]
    for call in calls:
        item = {"type": "function_call", "id": f"fc_{call.call_id}", "call_id": call.call_id, "name": "weather"}
        events.append({"type": "response.output_item.added", "item": {**item, "arguments": ""}})
        events.append(
            {"type": "response.function_call_arguments.delta", "item_id": item["id"], "delta": call.arguments}
        )
        if call.ended:
            events.append({"type": "response.output_item.done", "item": {**item, "arguments": call.arguments}})
    if not cut:
        return [*events, {"type": "response.completed", "response": {"id": "r"}}]
    why = {"id": "r", "incomplete_details": {"reason": "max_output_tokens"}}
    return [*events, {"type": "response.incomplete", "response": why}]


def message(calls: list[Call], *, cut: bool) -> list[Json]:
    """The events of Anthropic's messages."""
    events: list[Json] = [{"type": "message_start", "message": {"id": "r"}}]
    for index, call in enumerate(calls):
        block = {"type": "tool_use", "id": call.call_id, "name": "weather", "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        piece = {"type": "input_json_delta", "partial_json": call.arguments}
        events.append({"type": "content_block_delta", "index": index, "delta": piece})
        if call.ended:
            events.append({"type": "content_block_stop", "index": index})
    return [*events, {"type": "message_delta", "delta": {"stop_reason": "max_tokens" if cut else "tool_use"}}]


class Library(NamedTuple):
    events: Any
    parts: Any
    turn: Any


LIBRARIES: Final[Mapping[str, Library]] = {
    "chat": Library(completion, openai.chat_parts, openai.ChatTurn),
    "responses": Library(response, openai.responses_parts, openai.ResponsesTurn),
    "anthropic": Library(message, anthropic.message_parts, anthropic.MessageTurn),
    "litellm": Library(completion, litellm.completion_parts, litellm.CompletionTurn),
}
every_library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
every_cut = pytest.mark.parametrize(
    "cut",
    [Call("b", ""), Call("b", '{"city": "Par'), Call("b", '{"city": "Par', ended=False), Call("b", "", ended=False)],
    ids=["before its arguments", "within them", "within them, and not ended", "before them, and not ended"],
)


async def stream(events: list[Json]) -> AsyncIterator[object]:
    for event in events:
        yield event


def states(answer: Told) -> dict[str, tuple[str, str]]:
    calls = [part for part in answer.saved if part["type"] == "tool-weather"]
    return {call["toolCallId"]: (call["state"], call.get("errorText", "")) for call in calls}


@every_library
@every_cut
async def test_no_page_carries_it_out(library: Library, cut: Call) -> None:
    events = library.events([Call("a", '{"city": "Rome"}'), cut], cut=True)
    answer = await answered(lambda: library.parts(stream(events)))
    assert states(answer) == {"a": ("input-available", ""), "b": ("output-error", CUT)}
    assert [part["finishReason"] for part in answer.parts if part["type"] == "finish"] == ["length"]


@every_library
@every_cut
async def test_no_endpoint_carries_it_out(library: Library, cut: Call) -> None:
    turn = library.turn()
    events = library.events([Call("a", '{"city": "Rome"}'), cut], cut=True)
    items = [item async for item in library.parts(stream(events), turn)]
    whole, *broken = turn.calls
    ended = [item["toolCallId"] for item in items if item["type"] == "tool-output-error"]
    assert ended + [call.call_id for call in broken] == ["b"]
    assert "b" not in [item["toolCallId"] for item in items if item["type"] == "tool-input-available"]
    assert whole.input == {"city": "Rome"}
    for call in broken:
        with pytest.raises(ValueError, match="ended before"):
            _ = call.input


@every_library
async def test_a_call_without_arguments_is_whole_where_no_limit_cut_it(library: Library) -> None:
    answer = await answered(lambda: library.parts(stream(library.events([Call("a", "")], cut=False))))
    assert states(answer) == {"a": ("input-available", "")}
    assert [part["finishReason"] for part in answer.parts if part["type"] == "finish"] == ["tool-calls"]


@every_library
async def test_the_last_call_is_whole_if_its_arguments_are(library: Library) -> None:
    answer = await answered(lambda: library.parts(stream(library.events([Call("a", '{"city": "Rome"}')], cut=True))))
    assert states(answer) == {"a": ("input-available", "")}
