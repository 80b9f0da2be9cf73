"""Chunks of chat completions as OpenAI and those who speak its API send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streamguard import FaultCode, FaultError
from streamguard.contrib import openai

from .reading import Stream, kinds, read, read_until_failure, spent, without_ids

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

pytestmark = pytest.mark.anyio


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> ChatCompletionChunk:
    from openai.types.chat import ChatCompletionChunk

    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return ChatCompletionChunk.model_validate({**head, "choices": choices, **more})


def call(index: int, arguments: str = "", *, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def test_usage_that_every_chunk_repeats_is_charged_once() -> None:
    chunks = [
        chunk({"content": "One "}, usage=usage(10, 1)),
        chunk({"content": "two"}, usage=usage(10, 2)),
        chunk({}, "stop", usage=usage(10, 2)),
        chunk(usage=usage(10, 2)),
    ]
    items = await read(openai.chat_parts(Stream(chunks)))
    assert spent(items) == {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}


async def test_usage_before_a_failure_is_charged() -> None:
    stream = Stream([chunk({"content": "One"}, usage=usage(10, 1))], ConnectionResetError())
    items, error = await read_until_failure(openai.chat_parts(stream))
    assert isinstance(error, ConnectionResetError)
    assert spent(items) == {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}
    assert stream.closed


async def test_details_of_usage() -> None:
    told = usage(10, 5) | {
        "completion_tokens_details": {"reasoning_tokens": 3},
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    items = await read(openai.chat_parts(Stream([chunk({"content": "x"}, "stop"), chunk(usage=told)])))
    assert spent(items) == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "reasoning_tokens": 3,
        "cached_input_tokens": 4,
    }


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_of_other_providers(name: str) -> None:
    items = await read(openai.chat_parts(Stream([chunk({name: "Hm."}), chunk({"content": "Yes."}, "stop")])))
    assert kinds(items) == [
        "start-step",
        *("reasoning-start", "reasoning-delta", "reasoning-end"),
        *("text-start", "text-delta", "text-end"),
        "finish-step",
        "finish",
    ]


async def test_a_refusal_is_text_and_citations_are_sources() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "Example"}}
    chunks = [
        chunk({"refusal": "I will not."}),
        chunk({"annotations": [cited, cited, {"type": "file"}]}),
        chunk({}, "content_filter"),
    ]
    assert without_ids(await read(openai.chat_parts(Stream(chunks))))[1:-1] == [
        {"type": "text-start"},
        {"type": "text-delta", "delta": "I will not."},
        {"type": "source-url", "url": "https://example.org", "title": "Example"},
        {"type": "text-end"},
        {"type": "finish-step"},
    ]


@pytest.mark.parametrize(
    ("finish", "shown"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        ("eos", "other"),
        ("error", "other"),
    ],
)
async def test_finish_reasons(finish: str, shown: str) -> None:
    from openai.types.chat import ChatCompletionChunk

    last = ChatCompletionChunk.model_construct(id="c", choices=[chunk({"content": "x"}, "stop").choices[0]])
    last.choices[0].finish_reason = finish  # type: ignore[assignment] # as other servers have it
    *_, end = await read(openai.chat_parts(Stream([last])))
    assert end == {"type": "finish", "finishReason": shown}


async def test_calls_whose_pieces_alternate() -> None:
    chunks = [
        chunk(call(0, call_id="a", name="f")),
        chunk(call(1, call_id="b", name="g")),
        chunk(call(0, '{"x":')),
        chunk(call(1, '{"y":')),
        chunk(call(0, "1}")),
        chunk(call(1, "2}")),
        chunk({}, "tool_calls"),
    ]
    turn = openai.ChatTurn()
    items = await read(openai.chat_parts(Stream(chunks), turn))
    assert [(one.call_id, one.name, one.input) for one in turn.calls] == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]
    assert [item["input"] for item in items if item["type"] == "tool-input-available"] == [{"x": 1}, {"y": 2}]


async def test_calls_of_servers_that_number_them_all_0() -> None:
    chunks = [
        chunk(call(0, '{"x":1}', call_id="a", name="f")),
        chunk(call(0, '{"y":', call_id="b", name="f")),
        chunk(call(0, "2}", call_id="b")),
        chunk({}, "tool_calls"),
    ]
    turn = openai.ChatTurn()
    await read(openai.chat_parts(Stream(chunks), turn))
    assert [(one.call_id, one.input) for one in turn.calls] == [("a", {"x": 1}), ("b", {"y": 2})]


async def test_a_call_without_an_id_and_the_form_before_tool_calls() -> None:
    turn = openai.ChatTurn()
    await read(openai.chat_parts(Stream([chunk(call(0, "{}", name="f")), chunk({}, "stop")]), turn))
    assert [(one.call_id, one.name) for one in turn.calls] == [("c-0", "f")]
    chunks = [chunk({"function_call": {"name": "f", "arguments": "{"}}), chunk({"function_call": {"arguments": "}"}})]
    items = await read(openai.chat_parts(Stream([*chunks, chunk({}, "function_call")])))
    assert items[-1] == {"type": "finish", "finishReason": "tool-calls"}
    assert [item["input"] for item in items if item["type"] == "tool-input-available"] == [{}]


async def test_arguments_that_come_as_an_object_instead_of_its_text() -> None:
    last = chunk(call(0, call_id="a", name="f"), "stop")
    calls = last.choices[0].delta.tool_calls
    assert calls is not None
    assert calls[0].function is not None
    calls[0].function.arguments = {"x": 1}  # type: ignore[assignment] # as some servers have it
    turn = openai.ChatTurn()
    await read(openai.chat_parts(Stream([last]), turn))
    assert [one.input for one in turn.calls] == [{"x": 1}]


async def test_arguments_that_are_no_object() -> None:
    chunks = [chunk(call(0, '{"city": "Par', call_id="a", name="f")), chunk({}, "tool_calls")]
    items = await read(openai.chat_parts(Stream(chunks)))
    assert kinds(items)[-4:] == ["tool-input-available", "tool-output-error", "finish-step", "finish"]
    turn = openai.ChatTurn()
    items = await read(openai.chat_parts(Stream(chunks), turn))
    assert "tool-output-error" not in kinds(items)
    (found,) = turn.calls
    with pytest.raises(ValueError, match="no JSON object"):
        _ = found.input
    assert turn.failed(found, "no") == {"type": "tool-output-error", "toolCallId": "a", "errorText": "no"}
    assert turn.history[1] == {"role": "tool", "tool_call_id": "a", "content": "no"}


async def test_a_turn_answers_the_calls_that_nobody_answered() -> None:
    chunks = [chunk(call(0, call_id="a", name="f")), chunk(call(1, call_id="b", name="f")), chunk({}, "tool_calls")]
    turn = openai.ChatTurn()
    await read(openai.chat_parts(Stream(chunks), turn))
    assert turn.returned(turn.calls[0], [1]) == {"type": "tool-output-available", "toolCallId": "a", "output": [1]}
    assert [message["content"] for message in turn.history] == [None, "[1]", "The call was not carried out."]


async def test_of_several_choices_the_first_is_read() -> None:
    from openai.types.chat import ChatCompletionChunk

    both = [{"index": n, "delta": {"content": f"{n}"}, "finish_reason": "stop"} for n in (1, 0)]
    one = ChatCompletionChunk.model_validate(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": both}
    )
    items = await read(openai.chat_parts(Stream([one])))
    assert [item["delta"] for item in items if item["type"] == "text-delta"] == ["0"]


async def test_an_answer_without_a_finish_reason_is_broken_off() -> None:
    for chunks in ([], [chunk({"content": "x"})]):
        stream = Stream(chunks)
        with pytest.raises(FaultError) as raised:
            await read(openai.chat_parts(stream))
        assert raised.value.fault.code is FaultCode.PROVIDER_ABORTED
        assert stream.closed


async def test_what_is_no_stream_of_chat_completions() -> None:
    from openai.types.responses import ResponseTextDeltaEvent

    event = ResponseTextDeltaEvent.model_construct(type="response.output_text.delta", delta="x")
    with pytest.raises(TypeError, match=r"use openai\.responses_parts"):
        await read(openai.chat_parts(Stream([event])))
    with pytest.raises(TypeError, match=r"use openai\.chat_parts"):
        await read(openai.responses_parts(Stream([chunk({"content": "x"})])))
    with pytest.raises(TypeError, match="iter_ before it"):
        await read(openai.chat_parts([chunk({"content": "x"})]))  # type: ignore[arg-type] # the point
    with pytest.raises(TypeError, match="without iter_"):
        list(openai.iter_chat_parts(Stream([])))  # type: ignore[arg-type] # the point


def test_a_synchronous_stream_is_closed() -> None:
    class Synchronous:
        closed = False

        def __iter__(self) -> Any:
            yield chunk({"content": "x"})
            yield chunk({}, "stop")

        def close(self) -> None:
            self.closed = True

    stream = Synchronous()
    parts = openai.iter_chat_parts(stream)
    assert next(parts) == {"type": "start-step"}
    parts.close()  # type: ignore[attr-defined] # a generator
    assert stream.closed
    assert kinds(openai.iter_chat_parts(Synchronous()))[-1] == "finish"
