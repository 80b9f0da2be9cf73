"""Chunks of LiteLLM: what it adds to those of chat completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streamguard import FaultCode, FaultError
from streamguard.contrib import litellm

from .provider_chats import NOISE_OF_LIBRARIES
from .reading import Stream, kinds, read, read_until_failure, without_ids

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)]

Json = Any


def chunk(finish: str | None = None, **delta: Json) -> object:
    from litellm import ModelResponseStream
    from litellm.types.utils import Delta, StreamingChoices

    return ModelResponseStream(id="c", choices=[StreamingChoices(index=0, delta=Delta(**delta), finish_reason=finish)])


def thinking(thought: str, signature: str = "") -> Json:
    block = {"type": "thinking", "thinking": thought, "signature": signature}
    return {"reasoning_content": thought, "thinking_blocks": [block]}


async def test_signed_thinking_goes_into_the_message_and_the_next_request() -> None:
    called = [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    chunks = [
        chunk(**thinking("Two ")),
        chunk(**thinking("cities.")),
        chunk(**thinking("", "signed")),
        chunk(content="Let me look."),
        chunk(tool_calls=called),
        chunk("tool_calls"),
    ]
    turn = litellm.CompletionTurn()
    items = await read(litellm.completion_parts(Stream(chunks), turn))
    metadata = {"anthropic": {"signature": "signed"}}
    assert without_ids(items)[1:5] == [
        {"type": "reasoning-start"},
        {"type": "reasoning-delta", "delta": "Two "},
        {"type": "reasoning-delta", "delta": "cities."},
        {"type": "reasoning-end", "providerMetadata": metadata},
    ]
    said, _ = turn.history
    assert said["thinking_blocks"] == [{"type": "thinking", "thinking": "Two cities.", "signature": "signed"}]


async def test_redacted_thinking() -> None:
    block = {"type": "redacted_thinking", "data": "xyz"}
    turn = litellm.CompletionTurn()
    chunks = [chunk(thinking_blocks=[block]), chunk(content="Yes."), chunk("stop")]
    items = await read(litellm.completion_parts(Stream(chunks), turn))
    metadata = {"anthropic": {"redactedData": "xyz"}}
    assert without_ids(items)[1:3] == [
        {"type": "reasoning-start", "providerMetadata": metadata},
        {"type": "reasoning-end"},
    ]
    (said,) = turn.history
    assert said["thinking_blocks"] == [block]


class Old(Stream):
    """The stream of a version before 1.109, which ends a broken-off answer with `stop`."""

    received_finish_reason: str | None = None
    intermittent_finish_reason: str | None = None
    completion_stream: object = None


async def test_the_stop_that_old_versions_invent_is_none() -> None:
    chunks = [chunk(content="Well, "), chunk("stop")]
    _, error = await read_until_failure(litellm.completion_parts(Old(chunks)))
    assert isinstance(error, FaultError)
    assert error.fault.code is FaultCode.PROVIDER_ABORTED
    whole = Old(chunks)
    whole.received_finish_reason = "stop"
    assert kinds(await read(litellm.completion_parts(whole)))[-1] == "finish"

    async def answer() -> AsyncIterator[object]:
        yield chunk("stop")

    mocked = Old(chunks)
    mocked.completion_stream = answer()
    assert kinds(await read(litellm.completion_parts(mocked)))[-1] == "finish"


async def test_a_mocked_answer_is_whole() -> None:
    from litellm import acompletion

    asked = [{"role": "user", "content": "Hello"}]
    stream = await acompletion(model="openai/m", messages=asked, stream=True, mock_response="Hello there.")
    items = await read(litellm.completion_parts(stream))
    assert "".join(item["delta"] for item in items if isinstance(item, dict) and item["type"] == "text-delta") == (
        "Hello there."
    )
    assert items[-1] == {"type": "finish", "finishReason": "stop"}
