"""The proxy of the how-to page, under the decorator and under the middleware, asked by the real SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ..docs.samples import run_page, serving
from ..harness.waiting import wait_until
from .provider_chats import pointed_at
from .upstream import SECRET, Upstream, provider

if TYPE_CHECKING:
    from openai import OpenAI

SESSION = {"x-session-id": "s"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with provider() as one:
        yield one


@pytest.fixture
def url(upstream: Upstream) -> Iterator[str]:
    """The proxy."""
    upstream.take()
    with (
        pointed_at(upstream),
        run_page("docs/how-to/proxy-a-provider.md", redis_url="") as module,
        serving(module.app) as port,
    ):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def browser(url: str) -> Iterator[httpx.Client]:
    """Who asks; the SDK has its cookies."""
    with httpx.Client(base_url=url, headers=SESSION, timeout=20) as client:
        asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
        client.post("/v1/chat/completions", json=asked, headers={"x-session-id": "first"})
        yield client


def sdk(url: str, browser: httpx.Client) -> OpenAI:
    from openai import OpenAI

    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, default_headers={**SESSION, "cookie": cookies})


def from_chat(client: OpenAI, prompt: str) -> str:
    usage: dict[str, Any] = {"stream_options": {"include_usage": True}}
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": prompt}], stream=True, **usage
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def from_responses(client: OpenAI, prompt: str) -> str:
    stream = client.responses.create(model="m", input=prompt, stream=True)
    return "".join(event.delta for event in stream if event.type == "response.output_text.delta")


by_either_way = pytest.mark.parametrize("ask", [from_chat, from_responses])


@by_either_way
def test_the_sdk_reads_the_answer_which_is_saved_and_charged(
    ask: Callable[[OpenAI, str], str], url: str, browser: httpx.Client
) -> None:
    assert ask(sdk(url, browser), "Hello") == "Hello there."
    wait_until(lambda: browser.get("/chats/s").json()["active"] is None, description="the answer has ended")
    (reply,) = [m for m in browser.get("/chats/s/messages").json()["messages"] if m["role"] == "assistant"]
    assert [part["text"] for part in reply["parts"] if part["type"] == "text"] == ["Hello there."]
    (limit,) = browser.get("/chats/s").json()["quota"]["limits"]
    assert limit["used"] > 13  # and the first answer, of which its request wanted no usage


@by_either_way
def test_a_provider_that_breaks_off_is_no_whole_answer(
    ask: Callable[[OpenAI, str], str], url: str, browser: httpx.Client
) -> None:
    import openai

    with pytest.raises(openai.APIError) as raised:
        ask(sdk(url, browser), "!reset")
    assert raised.value.code == "provider_aborted"
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_bytes_pass_unchanged(path: str, url: str, browser: httpx.Client, upstream: Upstream) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "input": "Hello", "stream": True}
    direct = httpx.post(upstream.url + path, json=asked)
    assert browser.post(path, json=asked).content == direct.content


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_error_of_the_provider_passes_unchanged(path: str, url: str, browser: httpx.Client) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "!limited"}], "input": "!limited", "stream": True}
    answer = browser.post(path, json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_stop_ends_the_call_to_the_provider(path: str, url: str, browser: httpx.Client, upstream: Upstream) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "!hold"}], "input": "!hold", "stream": True}
    with browser.stream("POST", path, json=asked) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert browser.post("/chats/s/stop").status_code == 202
        assert "stopped" in "".join(lines)
    assert upstream.dropped.wait(10)
