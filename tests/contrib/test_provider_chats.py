"""The chats of the how-to pages on OpenAI, Anthropic and LiteLLM, with the real libraries against a scripted provider:
what the page gets, what is saved, and what is charged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ..clients.pairing import REFUSALS
from .provider_chats import CHATS, NOISE_OF_LIBRARIES, WITH_TOOLS, Chat, chats
from .upstream import SECRET, THOUGHT, Upstream, provider

pytestmark = pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)

ESTIMATE = 4_000
"""What the pages' endpoints reserve, and are charged for an answer of which the provider told nothing."""
RESULT = '{"city":"Paris","celsius":21}'
REFUSED_BY = {"openai": "chat", "litellm": "chat", "anthropic": "anthropic"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with provider() as one:
        yield one


@pytest.fixture(scope="module")
def served(upstream: Upstream) -> Iterator[dict[str, Chat]]:
    """All chats."""
    with chats("openai", upstream) as one, chats("anthropic", upstream) as two, chats("litellm", upstream) as three:
        yield one | two | three


@pytest.fixture
def chat(request: pytest.FixtureRequest, served: dict[str, Chat], upstream: Upstream) -> Chat:
    upstream.take()
    chosen: Chat = served[request.param]
    return chosen


every_chat = pytest.mark.parametrize("chat", CHATS, indirect=True)
with_tools = pytest.mark.parametrize("chat", WITH_TOOLS, indirect=True)


def told_before_the_end(request: pytest.FixtureRequest) -> int:
    """What a broken-off answer is charged: only Anthropic tells before the end what was consumed."""
    return 21 if request.node.callspec.params["chat"].startswith("anthropic") else ESTIMATE


@every_chat
def test_a_text_is_shown_saved_and_charged_once(chat: Chat) -> None:
    answer = chat.ask("Hello")
    assert answer.status == 200
    assert answer.kinds[:3] == ["start", "start-step", "text-start"]
    assert answer.kinds[-1] == "finish"
    assert answer.parts[-1] == {"type": "finish", "finishReason": "stop"}
    assert (answer.text, answer.reply["status"], answer.reply["outcome"]) == ("Hello there.", "complete", "completed")
    assert answer.reply["usage"].items() >= {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}.items()
    assert answer.used == 13


@with_tools
def test_a_loop_of_two_calls_of_which_one_fails(chat: Chat, upstream: Upstream, request: pytest.FixtureRequest) -> None:
    answer = chat.ask("!tools")
    assert answer.text == "Let me look.\nIt is sunny in Paris."
    thoughts = [part for part in answer.reply["parts"] if part["type"] == "reasoning"]
    assert [thought["text"] for thought in thoughts] == [THOUGHT]
    paris, atlantis = answer.calls["call_paris"], answer.calls["call_atlantis"]
    assert (paris["state"], paris["input"]) == ("output-available", {"city": "Paris"})
    assert paris["output"] == {"city": "Paris", "celsius": 21}
    assert (atlantis["state"], atlantis["errorText"]) == ("output-error", "There is no station in Atlantis.")
    assert [part["type"] for part in answer.reply["parts"]].count("step-start") == 2
    assert (answer.kinds.count("finish"), answer.parts[-1]["finishReason"]) == (1, "stop")
    assert answer.used == 20 + 8 + 40 + 6

    name = request.node.callspec.params["chat"]
    refused = REFUSALS["responses" if name == "responses" else REFUSED_BY[CHATS[name][0]]]
    _, second = upstream.take()
    assert refused(second) == []
    results = {str(atlantis["errorText"]), RESULT}
    assert results <= set(_all_of(second))
    before = {"id": "u0", "role": "user", "parts": [{"type": "text", "text": "!tools"}]}
    chat.ask("And now?", history=[before, answer.reply])
    (third,) = upstream.take()
    assert refused(third) == []
    for sign in {"anthropic with tools": ["signed"], "responses": ["sealed", THOUGHT]}.get(name, []):
        assert sign in _all_of(second)
        assert sign in _all_of(third)
    assert results <= set(_all_of(third))


@every_chat
def test_a_stop_while_the_model_calls_a_tool(chat: Chat, upstream: Upstream, request: pytest.FixtureRequest) -> None:
    answer = chat.ask("!hold", stop_at="tool-input-delta")
    assert upstream.dropped.wait(10), "the provider's client did not leave"
    assert answer.kinds[-1] == "abort"
    (call,) = answer.calls.values()
    assert (call["state"], call["errorText"]) == ("output-error", "The answer ended before this call did.")
    assert (answer.reply["status"], answer.reply["outcome"], answer.text) == ("partial", "stopped", "Well, ")
    assert answer.used == told_before_the_end(request)


@with_tools
def test_a_stop_while_a_tool_runs(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()

    async def endless(city: str) -> dict[str, object]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError(city)

    monkeypatch.setattr(chat.module, "weather", endless)
    answer = chat.ask("!tools", stop_at="finish-step")
    assert cancelled.wait(10)
    assert {call["state"] for call in answer.calls.values()} == {"output-error"}
    assert {call["errorText"] for call in answer.calls.values()} == {"The answer ended before this call did."}
    assert [call["input"] for call in answer.calls.values()] == [{"city": "Paris"}, {"city": "Atlantis"}]
    assert (answer.reply["outcome"], answer.used) == ("stopped", 28)


@every_chat
def test_a_provider_that_fails_before_the_first_piece(chat: Chat) -> None:
    answer = chat.ask("!limited")
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")
    assert '"code":"provider_rate_limited"' in answer.body
    assert SECRET not in answer.body
    assert (answer.reply, answer.used) == ({}, 0)


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ("!reset", {"provider_aborted"}),
        ("!cut", {"provider_aborted"}),
        ("!error", {"provider_error", "provider_aborted"}),  # LiteLLM calls it a broken connection
    ],
)
@every_chat
def test_a_provider_that_fails_in_mid_answer(
    chat: Chat, script: str, codes: set[str], request: pytest.FixtureRequest
) -> None:
    answer = chat.ask(script)
    assert [kind for kind in answer.kinds[-4:] if kind != "data-streamguard-persisted"] == [
        "text-end",
        "data-streamguard-error",
        "error",
    ]
    fault = answer.parts[-2]["data"]
    assert fault["code"] in codes
    assert fault["stream_id"]
    assert SECRET not in answer.body
    assert (answer.text, answer.reply["status"], answer.reply["outcome"]) == ("Well, ", "partial", "failed")
    assert answer.used == told_before_the_end(request)


def _all_of(value: object) -> list[str]:
    """Every text in a request."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in _all_of(one)]
    if isinstance(value, list):
        return [text for one in value for text in _all_of(one)]
    return [value] if isinstance(value, str) else []
