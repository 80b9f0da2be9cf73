"""OpenAI's streams, and those of servers that nearly speak the same: what they fold to."""

from __future__ import annotations

import json
from typing import Final

import pytest

from streamguard.values import Outcome
from streamguard.wire import protocol_named
from streamguard.wire.closed_calls import CALL_CLOSED
from streamguard.wire.partial_json import Json, Part

from .upstreams import cut, folded, logged

PROTOCOL: Final = protocol_named("openai")
DONE: Final = b"data: [DONE]\n\n"


def chunk(delta: Part | None = None, finish: str | None = None, index: int = 0, **more: Json) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


def call(name: str = "", arguments: str = "", **more: Json) -> Part:
    return {"tool_calls": [{"function": {"name": name, "arguments": arguments}, **more}]}


def parts(*blocks: bytes) -> list[Part]:
    return list(folded(PROTOCOL, logged(PROTOCOL, blocks).payloads).parts)


def calls(*blocks: bytes) -> list[tuple[object, ...]]:
    return [(part["type"], part["toolCallId"], part["state"], part.get("input")) for part in parts(*blocks)]


# -- chat completions --------------------------------------------------------------------------------------------------


def test_text_and_calls_stand_in_the_order_in_which_they_began() -> None:
    found = parts(
        chunk({"reasoning": "Hm"}),
        chunk({"content": "a"}),
        chunk(call("f", "{}", index=0, id="c")),
        chunk({"content": "b"}),
        chunk(finish="tool_calls"),
        DONE,
    )
    assert [(part["type"], part.get("text")) for part in found] == [
        ("reasoning", "Hm"),
        ("text", "a"),
        ("tool-f", None),
        ("text", "b"),
    ]


def test_halves_of_a_character_in_two_chunks_are_joined() -> None:
    (part,) = parts(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', chunk({"content": "\udc4b"}), DONE)
    assert part["text"] == "👋"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"index": 0, "id": "c1"}, {"index": 1, "id": "c2"}),
        ({"index": 0, "id": "c1"}, {"index": 0, "id": "c2"}),  # as Gemini's compatible server does
        ({"id": "c1"}, {"id": "c2"}),
    ],
)
def test_two_whole_calls_are_two(first: Part, second: Part) -> None:
    found = calls(
        chunk(call("f", '{"n":1}', **first)), chunk(call("g", '{"n":2}', **second)), chunk(finish="tool_calls"), DONE
    )
    assert found == [
        ("tool-f", "c1", "input-available", {"n": 1}),
        ("tool-g", "c2", "input-available", {"n": 2}),
    ]


def test_pieces_without_an_index_belong_to_the_call_before() -> None:
    found = calls(chunk(call("f", '{"n"', id="c")), chunk(call("", ":1}")), chunk(finish="tool_calls"), DONE)
    assert found == [("tool-f", "c", "input-available", {"n": 1})]


def test_an_id_repeated_with_each_piece_is_one_call() -> None:
    pieces = [chunk(call("f", piece, index=0, id="c")) for piece in ('{"n"', ":", "1}")]
    assert calls(*pieces, chunk(finish="tool_calls"), DONE) == [("tool-f", "c", "input-available", {"n": 1})]


def test_a_call_without_an_id_gets_one() -> None:
    ((kind, call_id, state, value),) = calls(chunk(call("f", "{}", index=0)), DONE)
    assert (kind, state, value) == ("tool-f", "input-available", {})
    assert call_id


def test_arguments_that_are_an_object_are_taken_as_they_are() -> None:
    delta: Part = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": {"n": 1}}}]}
    assert calls(chunk(delta), chunk(finish="tool_calls"), DONE) == [("tool-f", "c", "input-available", {"n": 1})]


def test_the_older_form_of_a_call_is_one_too() -> None:
    first: Part = {"name": "f", "arguments": ""}
    second: Part = {"arguments": '{"n":1}'}
    ((kind, _, state, value),) = calls(
        chunk({"function_call": first}), chunk({"function_call": second}), chunk(finish="function_call"), DONE
    )
    assert (kind, state, value) == ("tool-f", "input-available", {"n": 1})


def test_a_custom_tool_takes_text() -> None:
    delta: Part = {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": "x = 1"}}]}
    assert calls(chunk(delta), chunk(finish="tool_calls"), DONE) == [("tool-f", "c", "input-available", "x = 1")]


def test_arguments_that_are_no_json_fail_their_call_alone() -> None:
    found = parts(
        chunk(call("f", '{"n":1', index=0, id="c1")),
        chunk(call("g", "{}", index=1, id="c2")),
        chunk(finish="stop"),
        DONE,
    )
    assert [(part["state"], part["input"]) for part in found] == [("output-error", {"n": 1}), ("input-available", {})]


def test_a_stream_without_a_finish_reason_is_whole_at_done() -> None:
    assert calls(chunk(call("f", '{"n":1}', index=0, id="c")), DONE) == [("tool-f", "c", "input-available", {"n": 1})]


def test_a_call_that_was_cut_gets_an_end_with_what_its_input_was() -> None:
    got = cut(PROTOCOL, chunk(call("f", '{"a":"b', index=0, id="c")) + b"data: {")
    (part,) = folded(PROTOCOL, got.data).parts
    assert (part["state"], part["input"], part["errorText"]) == ("output-error", {"a": "b"}, CALL_CLOSED)


def test_a_cut_reasoning_alone_gets_a_text() -> None:
    """Providers refuse a message without one."""
    got = cut(PROTOCOL, chunk({"reasoning_content": "Hm"}))
    assert [part["type"] for part in folded(PROTOCOL, got.data).parts] == ["reasoning", "text"]


def test_further_choices_are_kept_apart() -> None:
    found = parts(
        chunk({"content": "a"}),
        chunk({"content": "x"}, index=1),
        chunk({"content": "b"}),
        chunk({"content": "y"}, index=1),
    )
    assert [part["text"] for part in found] == ["ab", "xy"]


def test_content_in_pieces_and_pictures() -> None:
    pieces: list[Json] = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "a"},
    ]
    url = "data:image/webp;base64,UklG"
    found = parts(chunk({"content": pieces}), chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]}))
    assert [part["type"] for part in found] == ["reasoning", "text", "file"]
    assert (found[2]["mediaType"], found[2]["url"]) == ("image/webp", url)


# -- usage and failure -------------------------------------------------------------------------------------------------


def test_usage_on_every_chunk_is_cumulative() -> None:
    blocks = [chunk({"content": "x"}, usage={"prompt_tokens": 9, "completion_tokens": count}) for count in (1, 2, 3)]
    assert dict(cut(PROTOCOL, b"".join(blocks)).encoder.usage) == {"input_tokens": 9, "output_tokens": 3}


def test_usage_in_groqs_place_counts() -> None:
    got = cut(PROTOCOL, chunk(finish="stop", x_groq={"id": "r", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    assert dict(got.encoder.usage) == {"input_tokens": 1, "output_tokens": 2}


def test_usage_after_done_counts() -> None:
    got = logged(PROTOCOL, [chunk({"content": "x"}), DONE, b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'])
    assert dict(got.encoder.usage) == {"input_tokens": 1}
    assert len(got.held) == 2


@pytest.mark.parametrize("amount", [-1, 1.5, True, "7", None, 2**60])
def test_an_amount_that_is_none_is_not_counted(amount: Json) -> None:
    got = cut(PROTOCOL, chunk(usage={"prompt_tokens": amount, "completion_tokens": 2}))
    assert dict(got.encoder.usage) == {"output_tokens": 2}


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b'data: {"error":{"message":"x","type":"server_error"}}\n\n', "provider_error"),
        (b'data: {"error":{"message":"x","code":429}}\n\n', "provider_rate_limited"),
        (b'data: {"error":{"message":"x","code":"rate_limit_exceeded"}}\n\n', "provider_rate_limited"),
        (b'data: {"error":{"message":"x","type":"timeout"}}\n\n', "provider_timeout"),
        (b'data: {"error":"out of memory"}\n\n', "provider_error"),
        (b'event: error\ndata: {"message":"x"}\n\n', "provider_error"),
        (b'data: {"type":"error","code":"server_error","message":"x"}\n\n', "provider_error"),
        (
            b'data: {"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}\n\n',
            "provider_rate_limited",
        ),
        (b'data: {"type":"response.failed","response":{"error":null}}\n\n', "provider_error"),
        (b'data: {"type":"response.cancelled","response":{}}\n\n', "provider_aborted"),
        (b'data: {"choices":[{"finish_reason":"error"}],"error":{"code":502,"message":"x"}}\n\n', "provider_error"),
    ],
)
def test_an_error_in_the_stream_is_a_failure_in_the_upstreams_words(block: bytes, code: str) -> None:
    got = logged(PROTOCOL, [chunk({"content": "x"}), block, b": bye\n\n"])
    assert (got.encoder.failure, list(got.held)) == (code, [block, b": bye\n\n"])
    assert PROTOCOL.closing(Outcome.FAILED, None, got.held) == got.held


@pytest.mark.parametrize(
    "block",
    [
        b'data: {"choices":[],"error":null}\n\n',
        b'data: {"type":"response.output_item.done","item":{"type":"mcp_call","error":{"message":"x"}}}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"error\\": {}"}}]}\n\n',
    ],
)
def test_the_mention_of_an_error_is_no_failure(block: bytes) -> None:
    got = logged(PROTOCOL, [block, DONE])
    assert (got.encoder.failure, list(got.data)) == (None, [block])


@pytest.mark.parametrize("end", [chunk(finish="length"), DONE, chunk(finish="stop") + DONE])
def test_a_completion_ends_with_a_finish_reason_or_done(end: bytes) -> None:
    assert logged(PROTOCOL, [chunk({"content": "x"}), end]).encoder.failure is None


@pytest.mark.parametrize(
    "body",
    [
        chunk({"content": "x"}),
        chunk({"content": 'its "finish_reason": "stop"'}),
        b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n',
    ],
)
def test_a_stream_that_ends_without_its_end_has_failed(body: bytes) -> None:
    """Its upstream broke off, and the SDK would take half an answer for a whole one."""
    got = logged(PROTOCOL, [body])
    assert (got.encoder.failure, list(got.data), list(got.held)) == ("provider_aborted", [body], [])
    (end,) = PROTOCOL.closing(Outcome.FAILED, None, got.held)
    assert end.startswith(b"event: error\n")


def test_a_stream_of_anything_else_has_no_end_to_lack() -> None:
    assert logged(PROTOCOL, [b'data: {"hello":"world"}\n\n']).encoder.failure is None


# -- Responses ---------------------------------------------------------------------------------------------------------


def event(kind: str, **more: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def test_text_that_comes_only_as_a_whole_item_counts() -> None:
    content: list[Json] = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}]
    found = parts(event("response.output_item.done", output_index=0, item={"type": "message", "content": content}))
    assert [part["text"] for part in found] == ["a", "no"]


def test_text_that_came_in_pieces_does_not_count_twice() -> None:
    content: list[Json] = [{"type": "output_text", "text": "ab"}]
    found = parts(
        *[event("response.output_text.delta", output_index=0, content_index=0, delta=piece) for piece in "ab"],
        event("response.output_item.done", output_index=0, item={"type": "message", "content": content}),
    )
    assert [part["text"] for part in found] == ["ab"]


def test_reasoning_that_is_not_shown_is_kept_for_the_next_request() -> None:
    item: Part = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gA="}
    (part, *_) = parts(event("response.output_item.done", output_index=0, item=item), event("response.completed"))
    assert part["providerMetadata"] == {"openai": {"itemId": "rs", "reasoningEncryptedContent": "gA="}}


def test_calls_that_the_provider_makes_have_their_results() -> None:
    done: Part = {
        "type": "mcp_call",
        "id": "mcp",
        "name": "roll",
        "arguments": '{"n":2}',
        "output": "7",
        "status": "completed",
    }
    begun = {**done, "arguments": "", "output": None, "status": "in_progress"}
    failed: Part = {"type": "code_interpreter_call", "id": "ci", "code": "1/0", "status": "failed"}
    found = parts(
        event("response.output_item.added", output_index=0, item=begun),
        event("response.mcp_call_arguments.delta", output_index=0, delta='{"n":2}'),
        event("response.output_item.done", output_index=0, item=done),
        event("response.output_item.done", output_index=1, item=failed),
        event("response.completed"),
    )
    assert [(part["type"], part["state"], part["input"]) for part in found] == [
        ("tool-roll", "output-available", {"n": 2}),
        ("tool-code_interpreter", "output-error", {"code": "1/0"}),
    ]
    assert (found[0]["output"], found[0]["providerExecuted"]) == ("7", True)


def test_a_cited_file_is_a_source() -> None:
    cited: Part = {"type": "file_citation", "file_id": "f1", "filename": "a.pdf", "index": 3}
    (part,) = parts(
        event("response.output_text.annotation.added", output_index=0, annotation=cited), event("response.completed")
    )
    assert (part["type"], part["filename"]) == ("source-document", "a.pdf")
