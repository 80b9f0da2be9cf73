"""What every chat of the how-to pages on providers must do: what the page gets, what is saved, what is charged.

The libraries are real, the provider is scripted. Each page's module has the suite of its own, so that it needs only its
own library and can be run at that one's lowest version.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import ClassVar, Final

import pytest

from ..clients.pairing import REFUSALS
from .provider_chats import CHATS, NOISE_OF_LIBRARIES, WITH_TOOLS, Chat, chats
from .upstream import SECRET, THOUGHT, Upstream, provider

__all__ = ["PageSuite"]

ESTIMATE: Final = 4_000
"""What the pages' endpoints reserve, and are charged for an answer of which the provider told nothing."""
RESULT: Final = '{"city":"Paris","celsius":21}'
REFUSED_BY: Final = {"openai": "chat", "litellm": "chat", "anthropic": "anthropic"}


@pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)
class PageSuite:
    """The chats of one page."""

    page: ClassVar[str]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        chats_of_it = [name for name, (of, _) in CHATS.items() if of == self.page]
        if "chat" in metafunc.fixturenames:
            metafunc.parametrize("chat", chats_of_it, indirect=True)
        if "tool_chat" in metafunc.fixturenames:
            metafunc.parametrize("tool_chat", [name for name in chats_of_it if name in WITH_TOOLS], indirect=True)

    @pytest.fixture(scope="class")
    @classmethod
    def upstream(cls) -> Iterator[Upstream]:
        with provider() as one:
            yield one

    @pytest.fixture(scope="class")
    @classmethod
    def served(cls, upstream: Upstream) -> Iterator[dict[str, Chat]]:
        with chats(cls.page, upstream) as found:
            yield found

    @pytest.fixture
    def chat(self, request: pytest.FixtureRequest, served: dict[str, Chat], upstream: Upstream) -> Chat:
        upstream.take()
        chosen: Chat = served[request.param]
        return chosen

    @pytest.fixture
    def tool_chat(self, request: pytest.FixtureRequest, served: dict[str, Chat], upstream: Upstream) -> Chat:
        upstream.take()
        chosen: Chat = served[request.param]
        return chosen

    def test_a_text_is_shown_saved_and_charged_once(self, chat: Chat) -> None:
        answer = chat.ask("Hello")
        assert answer.status == 200
        assert answer.kinds[:3] == ["start", "start-step", "text-start"]
        assert answer.kinds[-1] == "finish"
        assert answer.parts[-1] == {"type": "finish", "finishReason": "stop"}
        assert (answer.text, answer.reply["status"], answer.reply["outcome"]) == (
            "Hello there.",
            "complete",
            "completed",
        )
        assert answer.reply["usage"].items() >= {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}.items()
        assert answer.used == 13

    def test_a_loop_of_two_calls_of_which_one_fails(self, tool_chat: Chat, upstream: Upstream) -> None:
        answer = tool_chat.ask("!tools")
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

        name = tool_chat.name
        refused = REFUSALS["responses" if name == "responses" else REFUSED_BY[CHATS[name][0]]]
        _, second = upstream.take()
        assert refused(second) == []
        results = {str(atlantis["errorText"]), RESULT}
        assert results <= set(_all_of(second))
        before = {"id": "u0", "role": "user", "parts": [{"type": "text", "text": "!tools"}]}
        tool_chat.ask("And now?", history=[before, answer.reply])
        (third,) = upstream.take()
        assert refused(third) == []
        for sign in {"anthropic with tools": ["signed"], "responses": ["sealed", THOUGHT]}.get(name, []):
            assert sign in _all_of(second)
            assert sign in _all_of(third)
        assert results <= set(_all_of(third))

    def test_a_stop_while_the_model_calls_a_tool(self, chat: Chat, upstream: Upstream) -> None:
        answer = chat.ask("!hold", stop_at="tool-input-delta")
        assert upstream.dropped.wait(10), "the provider's client did not leave"
        assert answer.kinds[-1] == "abort"
        (call,) = answer.calls.values()
        assert (call["state"], call["errorText"]) == ("output-error", "The answer ended before this call did.")
        assert (answer.reply["status"], answer.reply["outcome"], answer.text) == ("partial", "stopped", "Well, ")
        assert answer.used in charged_before_the_end(chat)

    def test_a_stop_while_a_tool_runs(self, tool_chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
        cancelled = threading.Event()

        async def endless(city: str) -> dict[str, object]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError(city)

        monkeypatch.setattr(tool_chat.module, "weather", endless)
        answer = tool_chat.ask("!tools", stop_at="finish-step")
        assert cancelled.wait(10)
        assert {call["state"] for call in answer.calls.values()} == {"output-error"}
        assert {call["errorText"] for call in answer.calls.values()} == {"The answer ended before this call did."}
        assert [call["input"] for call in answer.calls.values()] == [{"city": "Paris"}, {"city": "Atlantis"}]
        assert (answer.reply["outcome"], answer.used) == ("stopped", 28)

    def test_a_provider_that_fails_before_the_first_piece(self, chat: Chat) -> None:
        answer = chat.ask("!limited")
        assert answer.status == 503
        assert answer.headers["retry-after"] in ({"5", "7"} if self.page == "litellm" else {"7"})  # 1.84 loses it
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
    def test_a_provider_that_fails_in_mid_answer(self, chat: Chat, script: str, codes: set[str]) -> None:
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
        assert answer.used in charged_before_the_end(chat)


def charged_before_the_end(chat: Chat) -> set[int]:
    """What a broken-off answer may be charged: only Anthropic tells before the end what was consumed. LiteLLM before
    1.109 counts by itself what it was not told."""
    if chat.name.startswith("anthropic"):
        return {21}
    return {ESTIMATE, *range(1, 40)} if chat.name.startswith("litellm") else {ESTIMATE}


def _all_of(value: object) -> list[str]:
    """Every text in a request."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in _all_of(one)]
    if isinstance(value, list):
        return [text for one in value for text in _all_of(one)]
    return [value] if isinstance(value, str) else []
