"""Which protocol a stream speaks, from its media type, its header and its first bytes."""

from __future__ import annotations

import pytest

from streamguard.wire import recognise

from .transcripts import LINES, SSE

CHUNK = '{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"}}]}'


def found(body: str, *, media_type: str = SSE, ui_message: bool = False) -> str | None:
    protocol = recognise(media_type, ui_message, body.encode())
    return None if protocol is None else protocol.name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (CHUNK, "openai"),
        ('{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}', "openai"),  # Azure's first chunk
        ('{"object":"text_completion","choices":[{"text":"x"}]}', "openai"),
        ('{"type":"response.created","response":{},"sequence_number":0}', "openai"),
        ('{"type":"response.of.the.future"}', "openai"),
        ('{"type":"error","code":"x","message":"y","param":null,"sequence_number":0}', "openai"),
        ('{"error":{"message":"No such model","type":"invalid_request_error"}}', "openai"),
        ('{"type":"message_start","message":{}}', "anthropic"),
        ('{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}', "anthropic"),
        ('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "anthropic"),
        ('{"type":"start","messageId":"m"}', "opaque"),  # without the header
        ('{"type":"message","text":"x"}', "opaque"),
        ('{"choices":"none"}', "opaque"),
        ('{"error":"text"}', "opaque"),
        ("{}", "opaque"),
        ("[1]", "opaque"),
        ("Hello", "opaque"),
        ("[DONE]", "opaque"),
        ('{"choices":[', "opaque"),
        ("", "opaque"),
    ],
)
@pytest.mark.parametrize(
    "before", ["", ": comment\n\n", "retry: 3\n\n", "\ufeff", 'event: ping\ndata: {"type":"ping"}\n\n']
)
def test_the_first_event_decides(data: str, name: str, before: str) -> None:
    body = f"{before}event: x\ndata: {data}\n\n"
    assert found(body) == name
    assert found(body, media_type="Text/Event-Stream; charset=utf-8") == name
    assert found(body + "data: {}\n\n" * 3) == name
    assert found(body, ui_message=True) == "ui-message-raw"


@pytest.mark.parametrize(
    "body",
    [
        "",
        ":",
        ": comment\n\n",
        "data: x",
        "data: x\n",
        f"data: {CHUNK}\n",
        "\ufeff",
        "event: x\n\n",
        "id: 7\n\n",
        "\n\n",
    ],
)
def test_nothing_is_decided_before_a_whole_event(body: str) -> None:
    assert found(body) is None
    assert found(body, ui_message=True) is None


def test_a_ping_decides_nothing() -> None:
    """It is Anthropic's, and many others'."""
    assert found('event: ping\ndata: {"type":"ping"}\n\n') is None


@pytest.mark.parametrize("media_type", [LINES, "application/x-ndjson; charset=utf-8", "application/jsonl"])
def test_lines_are_known_by_their_media_type(media_type: str) -> None:
    assert found("", media_type=media_type) == "ndjson"


def test_a_first_event_may_be_large() -> None:
    """The first event of a response holds all instructions and tools."""
    body = 'event: response.created\ndata: {"type":"response.created","x":"%s"}\n\n' % ("x" * 1_000_000)
    assert found(body[:900_000]) is None
    assert found(body) == "openai"


def test_it_does_not_wait_without_bound() -> None:
    assert found("data: " + "x" * 5_000_000) == "opaque"
