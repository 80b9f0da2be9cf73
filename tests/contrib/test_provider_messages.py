"""Stored UI messages as the messages of OpenAI's, Anthropic's and LiteLLM's APIs."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

import pytest
from pydantic import BaseModel, Field

from streamguard.contrib import anthropic, litellm, openai
from streamguard.messages import Message, MessageStatus, Role, StoredMessage
from streamguard.wire.folding import UIMessage

from ..clients.pairing import REFUSALS
from ..runtime.early_ends import histories

Json = Any
"""A part or a message."""

PNG: Final = "data:image/png;base64,iVBORw0KGgo="
PDF: Final = "data:application/pdf;base64,JVBERi0="
NOTES: Final = f"data:text/plain;base64,{base64.b64encode(b'two lines').decode()}"
ZIP: Final = "data:application/zip;base64,UEsDBA=="
DENIED: Final = "The user did not allow this call."
NOT_DONE: Final = "The call was not carried out."


def user(*parts: Json) -> Json:
    return {"id": "u", "role": "user", "parts": list(parts)}


def assistant(*parts: Json) -> Json:
    return {"id": "a", "role": "assistant", "parts": list(parts)}


def text(said: str) -> Json:
    return {"type": "text", "text": said, "state": "done"}


def call(call_id: str, state: str, **fields: Json) -> Json:
    return {"type": "tool-weather", "toolCallId": call_id, "state": state, "input": {"city": "Paris"}, **fields}


STEP: Final = {"type": "step-start"}
CHAT: Final = [
    {"id": "s", "role": "system", "parts": [text("Be brief.")]},
    user(text("What is this?"), {"type": "file", "mediaType": "image/png", "url": PNG}),
    assistant(
        STEP,
        {"type": "reasoning", "text": "Hm.", "providerMetadata": {"anthropic": {"signature": "signed"}}},
        text("Let me look."),
        call("c1", "output-available", output={"celsius": 21}),
        call("c2", "output-error", errorText="no station"),
        STEP,
        text("Sunny. "),
        {"type": "source-url", "sourceId": "x", "url": "https://example.org"},
        {"type": "data-chart", "data": [1]},
    ),
    user(text("Thanks")),
]


def test_chat_completions() -> None:
    assert openai.chat_messages(CHAT) == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG}}],
        },
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": one, "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
                for one in ("c1", "c2")
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"celsius":21}'},
        {"role": "tool", "tool_call_id": "c2", "content": "no station"},
        {"role": "assistant", "content": "Sunny. "},
        {"role": "user", "content": "Thanks"},
    ]


def test_litellm_puts_signed_thinking_back() -> None:
    (said,) = [m for m in litellm.chat_messages(CHAT) if m.get("tool_calls")]
    assert said["thinking_blocks"] == [{"type": "thinking", "thinking": "Hm.", "signature": "signed"}]
    others = [
        {name: value for name, value in m.items() if name != "thinking_blocks"} for m in litellm.chat_messages(CHAT)
    ]
    assert others == openai.chat_messages(CHAT)


def test_responses() -> None:
    assert openai.responses_input(CHAT) == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
            ],
        },
        {"role": "assistant", "content": "Let me look."},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Paris"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"city":"Paris"}'},
        {"type": "function_call_output", "call_id": "c1", "output": '{"celsius":21}'},
        {"type": "function_call_output", "call_id": "c2", "output": "no station"},
        {"role": "assistant", "content": "Sunny. "},
        {"role": "user", "content": "Thanks"},
    ]


def test_responses_pass_reasoning_whose_encrypted_content_is_known() -> None:
    def thought(said: str, **known: str) -> Json:
        return {"type": "reasoning", "text": said, "providerMetadata": {"openai": {"itemId": "rs", **known}}}

    said = assistant(thought("One."), thought("Two.", reasoningEncryptedContent="sealed"), text("Yes."))
    item, *_ = openai.responses_input([said])
    assert item == {
        "type": "reasoning",
        "id": "rs",
        "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
        "encrypted_content": "sealed",
    }
    assert len(openai.responses_input([assistant(thought("One."), text("Yes."))])) == 1
    assert openai.responses_input([assistant(thought("One.", reasoningEncryptedContent="sealed"))]) == []


def test_responses_know_calls_of_custom_tools() -> None:
    custom = call("c", "output-available", output="done", callProviderMetadata={"openai": {"custom": True}})
    named = {"call_id": "c", "name": "weather"}
    assert openai.responses_input([assistant({**custom, "input": "SELECT 1"})]) == [
        {"type": "custom_tool_call", **named, "input": "SELECT 1"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    ]


def test_anthropic() -> None:
    assert anthropic.system(CHAT) == "Be brief."
    assert anthropic.messages(CHAT) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "signed"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {"city": "Paris"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": '{"celsius":21}'},
                {"type": "tool_result", "tool_use_id": "c2", "content": "no station", "is_error": True},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Sunny. "}]},
        {"role": "user", "content": [{"type": "text", "text": "Thanks"}]},
    ]


def test_anthropic_gets_nothing_that_it_refuses() -> None:
    unsigned = {"type": "reasoning", "text": "Hm."}
    redacted = {"type": "reasoning", "text": "", "providerMetadata": {"anthropic": {"redactedData": "xyz"}}}
    asked = [
        user(text("One")),
        user(text("Two")),
        assistant(unsigned, redacted, text("  "), text("Three \n")),
        assistant(redacted),
    ]
    assert anthropic.messages(asked) == [
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {
            "role": "assistant",
            "content": [{"type": "redacted_thinking", "data": "xyz"}, {"type": "text", "text": "Three"}],
        },
    ]


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"state": "input-available"}, NOT_DONE),
        ({"state": "input-streaming", "input": {"city": "Par"}}, NOT_DONE),
        ({"state": "input-streaming", "input": None}, NOT_DONE),
        ({"state": "approval-requested", "approval": {"id": "1"}}, NOT_DONE),
        (
            {"state": "approval-responded", "approval": {"id": "1", "approved": False}},
            "The user did not allow this call.",
        ),
        ({"state": "output-denied"}, DENIED),
        ({"state": "output-available", "output": "plain"}, "plain"),
        ({"state": "output-available", "output": None}, "null"),
        ({"state": "output-error", "errorText": "broken", "input": None, "rawInput": "{"}, "broken"),
    ],
)
def test_every_call_has_a_result(fields: Json, result: str) -> None:
    asked = [assistant(call("c", **fields)), user(text("And?"))]
    chat, responses, claude = openai.chat_messages(asked), openai.responses_input(asked), anthropic.messages(asked)
    assert REFUSALS["chat"]({"messages": chat}) == []
    assert REFUSALS["responses"]({"input": responses}) == []
    assert REFUSALS["anthropic"]({"messages": claude}) == []
    assert result in [message.get("content") for message in chat]
    assert result in [item.get("output") for item in responses]


def test_text_after_a_call_comes_after_its_result() -> None:
    """As frameworks tell it that send no steps."""
    said = [assistant(text("One"), call("c", "output-available", output="x"), text("Two"))]
    assert [message["role"] for message in openai.chat_messages(said)] == ["assistant", "tool", "assistant"]
    assert [message["role"] for message in anthropic.messages(said)] == ["assistant", "user", "assistant"]


def test_calls_that_the_provider_carried_out_are_left_out() -> None:
    said = [assistant(call("c", "output-available", output="x", providerExecuted=True), text("Found."))]
    assert openai.chat_messages(said) == [{"role": "assistant", "content": "Found."}]
    assert openai.responses_input(said) == [{"role": "assistant", "content": "Found."}]
    assert anthropic.messages(said) == [{"role": "assistant", "content": [{"type": "text", "text": "Found."}]}]


def test_ids_of_another_provider_s_calls() -> None:
    """Anthropic takes each only once, of letters, digits, `_` and `-`."""
    done = {"state": "output-available", "output": "x"}
    said = [
        assistant(call("functions.weather:0", **done)),
        user(text("Again")),
        assistant(call("functions.weather:0", **done)),
    ]
    blocks = [block for message in anthropic.messages(said) for block in message["content"]]
    ids = [block.get("id", block.get("tool_use_id")) for block in blocks if "text" not in block]  # type: ignore[union-attr]
    assert ids == ["functions_weather_0", "functions_weather_0", "functions_weather_0_2", "functions_weather_0_2"]


def test_files() -> None:
    def part(url: str, media_type: str, filename: str = "") -> Json:
        return {"type": "file", "url": url, "mediaType": media_type, "filename": filename}

    files = user(
        part(PDF, "application/pdf", "report.pdf"),
        part(NOTES, "text/plain", "notes.txt"),
        part(ZIP, "application/zip", "all.zip"),
        part("https://example.org/a.png", "image/png"),
        part("data:audio/wav;base64,UklGRg==", "audio/wav"),
    )
    told = {"type": "text", "text": "[all.zip (application/zip) was attached, but cannot be read.]"}
    (chat,) = openai.chat_messages([files])
    assert chat["content"] == [
        {"type": "file", "file": {"filename": "report.pdf", "file_data": PDF}},
        {"type": "text", "text": "notes.txt:\ntwo lines"},
        told,
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    (responses,) = openai.responses_input([files])
    assert responses["content"][:4] == [  # type: ignore[typeddict-item, index]
        {"type": "input_file", "filename": "report.pdf", "file_data": PDF},
        {"type": "input_text", "text": "notes.txt:\ntwo lines"},
        {"type": "input_file", "filename": "all.zip", "file_data": ZIP},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"},
    ]
    (claude,) = anthropic.messages([files])
    assert claude["content"] == [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "text", "text": "notes.txt:\ntwo lines"},
        told,
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "text", "text": "[A file (audio/wav) was attached, but cannot be read.]"},
    ]


class SentPart(BaseModel):
    type: str
    text: str
    provider_metadata: dict[str, Json] | None = Field(default=None, alias="providerMetadata")


class SentMessage(BaseModel):
    id: str
    role: str
    parts: list[SentPart]


def stored(message: Message) -> StoredMessage:
    return StoredMessage(message, 1, MessageStatus.COMPLETE, (), 0.0, 0.0)


MESSAGE: Final = Message("u", Role.USER, ({"type": "text", "text": "Hello"},))


@pytest.mark.parametrize(
    "given",
    [
        SentMessage.model_validate({"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}),
        {"id": "u", "role": "user", "parts": [SentPart(type="text", text="Hello")]},
        {"role": "user", "content": "Hello"},
        MESSAGE,
        stored(MESSAGE),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_counts_as_a_message(given: object) -> None:
    assert openai.chat_messages([given]) == [{"role": "user", "content": "Hello"}]


def test_a_folded_reply_counts_too() -> None:
    assert openai.chat_messages([UIMessage("m", (text("Hi"),))]) == [{"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize("given", ["Hello", {"role": "user", "parts": []}, ["Hello"], [{"role": "tool"}], [user("x")]])
def test_what_is_no_list_of_messages(given: Json) -> None:
    for convert in (openai.chat_messages, openai.responses_input, anthropic.messages, litellm.chat_messages):
        with pytest.raises(ValueError, match="UI message"):
            convert(given)


@pytest.mark.long
def test_answers_that_ended_early_are_accepted_as_history() -> None:
    """By a stop, by an endpoint that raises, by a worker that takes the stream over: at every place of an answer."""
    question = user(text("And now?"))
    wrong: dict[str, list[str]] = {}
    found = asyncio.run(histories())
    assert len(found) > 20
    for history in found:
        asked = [*history.messages, question]
        bodies: dict[str, dict[str, Json]] = {
            "chat": {"messages": openai.chat_messages(asked)},
            "responses": {"input": openai.responses_input(asked)},
            "anthropic": {"messages": anthropic.messages(asked)},
        }
        for name, body in bodies.items():
            wrong[f"{history.name}, {name}"] = REFUSALS[name](body)
    assert {name: refused for name, refused in wrong.items() if refused} == {}
