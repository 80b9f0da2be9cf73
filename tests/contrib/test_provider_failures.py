"""What the failures of a provider become, through the real clients and over real connections: the code, and whether
and when asking again may help."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, NamedTuple

import pytest

from streamguard import Outcome
from streamguard.contrib import anthropic, litellm, openai

from .guarded import answered
from .provider_chats import NOISE_OF_LIBRARIES
from .raw_provider import SECRET, RawProvider, Reply, chat, event, raw_provider, refused

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(*NOISE_OF_LIBRARIES)]

KEY: Final = "sk-ours"
ASKED: Final[Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


Start = Callable[[], AsyncIterator[object]]
"""An endpoint's body. Its client is made before: that reads files."""


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LiteLLM fetches nothing, and clients whose provider broke the connection let go of it."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


def of_openai(provider: RawProvider) -> Start:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{provider.url}/v1", api_key=KEY, max_retries=0)

    async def items() -> AsyncIterator[object]:
        stream = await client.chat.completions.create(**ASKED)
        async for item in openai.chat_parts(stream):
            yield item

    return items


def of_anthropic(provider: RawProvider) -> Start:
    from anthropic import AsyncAnthropic

    client = AsyncAnthropic(base_url=provider.url, api_key=KEY, max_retries=0)

    async def items() -> AsyncIterator[object]:
        stream = await client.messages.create(**ASKED, max_tokens=9)
        async for item in anthropic.message_parts(stream):
            yield item

    return items


def of_litellm(provider: RawProvider) -> Start:
    import litellm as library  # it takes seconds
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"{provider.url}/v1", api_key=KEY, max_retries=0)

    async def items() -> AsyncIterator[object]:
        stream = await library.acompletion(**{**ASKED, "model": "openai/m"}, client=client, num_retries=0)
        async for item in litellm.completion_parts(stream):
            yield item

    return items


BEGUN: Final = {
    "openai": [chat({"role": "assistant", "content": "Well, "})],
    "anthropic": [
        event("message_start", message={"id": "m", "usage": {"input_tokens": 10, "output_tokens": 1}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Well, "}),
    ],
}
CLIENTS: Final[dict[str, tuple[Callable[[RawProvider], Start], str]]] = {
    "openai": (of_openai, "openai"),
    "litellm": (of_litellm, "openai"),
    "anthropic": (of_anthropic, "anthropic"),
}
"""By library: its endpoint, and the API that it speaks."""


class Case(NamedTuple):
    fault: str
    retryable: bool = True
    retry_after: int | None = None


IN_MID_STREAM: Final[list[tuple[str, dict[str, object], Case]]] = [
    ("openai", {"type": "server_error", "code": "server_error"}, Case("provider_error")),
    ("openai", {"type": "rate_limit_error", "code": "rate_limit_exceeded"}, Case("provider_rate_limited", True, 5)),
    ("openai", {"type": "insufficient_quota", "code": "insufficient_quota"}, Case("provider_error", False)),
    ("openai", {"type": "invalid_request_error", "code": "context_length_exceeded"}, Case("provider_error", False)),
    ("openai", {"code": 429}, Case("provider_rate_limited", True, 5)),  # as OpenRouter has it
    ("openai", {"code": 502}, Case("provider_error")),
    ("openai", {"code": 400}, Case("provider_error", False)),
    ("anthropic", {"type": "overloaded_error"}, Case("provider_error")),
    ("anthropic", {"type": "api_error"}, Case("provider_error")),
    ("anthropic", {"type": "rate_limit_error"}, Case("provider_rate_limited", True, 5)),
    ("anthropic", {"type": "timeout_error"}, Case("provider_timeout")),
    ("anthropic", {"type": "invalid_request_error"}, Case("provider_error", False)),
    ("anthropic", {"type": "authentication_error"}, Case("provider_error", False)),
    ("anthropic", {"type": "billing_error"}, Case("provider_error", False)),
]
IN_MID_STREAM_BY_LIBRARY: Final = [
    pytest.param(library, error, case, id=f"{library}, {' '.join(map(str, error.values()))}")
    for api, error, case in IN_MID_STREAM
    for library, (_, spoken) in CLIENTS.items()
    if spoken == api
]


@pytest.mark.parametrize(("library", "error", "case"), IN_MID_STREAM_BY_LIBRARY)
async def test_a_failure_that_is_told_in_mid_stream(library: str, error: dict[str, object], case: Case) -> None:
    client, api = CLIENTS[library]
    told = {"message": SECRET, **error}
    failed = event("error", error=told) if api == "anthropic" else f"data: {json.dumps({'error': told})}\n\n".encode()
    async with raw_provider(Reply([*BEGUN[api], failed])) as provider:
        answer = await answered(client(provider))
    assert Case(str(answer.fault), bool(answer.retryable), answer.retry_after) == case
    assert (answer.outcome, answer.text) == (Outcome.FAILED, "Well, ")
    assert SECRET.encode() not in answer.body
    assert KEY.encode() not in answer.body


@pytest.mark.parametrize("library", CLIENTS)
@pytest.mark.parametrize(
    ("reply", "case"),
    [
        (refused(429, {"retry-after": "7"}, type="rate_limit_error"), Case("provider_rate_limited", True, 7)),
        (refused(429, {"retry-after": "7.2"}, type="rate_limit_error"), Case("provider_rate_limited", True, 8)),
        (refused(429, {"retry-after-ms": "20000"}, type="rate_limit_error"), Case("provider_rate_limited", True, 20)),
        (refused(429, type="rate_limit_error"), Case("provider_rate_limited", True, 5)),
        (refused(429, type="insufficient_quota", code="insufficient_quota"), Case("provider_error", False)),
        (refused(503, {"retry-after": "30"}, type="server_error"), Case("provider_error", True, 30)),
        (refused(529, {"retry-after": "11"}, type="overloaded_error"), Case("provider_error", True, 11)),
        (refused(400, type="invalid_request_error"), Case("provider_error", False)),
    ],
    ids=["seconds", "a part of a second", "milliseconds", "no time", "no credit", "unavailable", "overloaded", "bad"],
)
async def test_a_refusal_before_the_first_byte(library: str, reply: Reply, case: Case) -> None:
    client, _ = CLIENTS[library]
    async with raw_provider(reply) as provider:
        answer = await answered(client(provider))
    assert (answer.fault, answer.retryable) == (case.fault, case.retryable)
    # Old LiteLLM loses the headers.
    assert answer.retry_after in ({case.retry_after, 5, None} if library == "litellm" else {case.retry_after})
    assert (answer.outcome, answer.saved, dict(answer.used)) == (Outcome.FAILED, [], {})
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("library", CLIENTS)
@pytest.mark.parametrize(
    "blocks", [[], [b"<html>Busy</html>"], [b"data: [DONE]\n\n"]], ids=["empty", "page", "end only"]
)
async def test_an_answer_without_a_word_is_no_whole_one(library: str, blocks: list[bytes]) -> None:
    client, _ = CLIENTS[library]
    async with raw_provider(Reply(blocks)) as provider:
        answer = await answered(client(provider))
    assert (answer.outcome, answer.fault, answer.retryable) == (Outcome.FAILED, "provider_aborted", True)
    assert (answer.saved, dict(answer.used)) == ([], {})
