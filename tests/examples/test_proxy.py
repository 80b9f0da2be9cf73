"""The proxy of the example on Litestar, which only the middleware guards: with OpenAI's client, and any upstream."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import OpenAI

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .live import example, scripted_answer
from .outside import outside

KEY = "sk-test-of-the-proxy"
PROMPT = "How does a stream survive?"


@pytest.fixture(scope="module")
def live() -> Iterator[Worker]:
    with example("litestar", gap_ms=1) as worker:
        yield worker


@pytest.fixture
def session() -> str:
    return uuid.uuid4().hex


def client_of(worker: Worker, session: str) -> OpenAI:
    return OpenAI(
        base_url=f"{worker.url}/v1",
        api_key=KEY,
        max_retries=0,
        default_headers={"X-Session-Id": session},
    )


def asked(worker: Worker, path: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.get(f"{worker.url}/api/chat/{path}", headers=headers, trust_env=False)


def test_openais_client_reads_a_stream_and_the_reply_is_kept_and_counted(live: Worker, session: str) -> None:
    with client_of(live, session) as client:
        chunks = list(
            client.chat.completions.create(
                model="any",
                messages=[{"role": "user", "content": PROMPT}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == scripted_answer(PROMPT)
    usage = chunks[-1].usage
    assert usage is not None
    status = asked(live, session).json()
    assert (status["last"]["outcome"], status["last"]["persisted"], status["active"]) == ("completed", "yes", None)
    (limit,) = status["quota"]["limits"]
    assert limit["used"] >= usage.total_tokens
    (reply,) = asked(live, f"{session}/messages").json()["messages"]
    assert "".join(part.get("text", "") for part in reply["parts"]) == text


def test_a_client_that_leaves_comes_back_to_the_rest(live: Worker, session: str) -> None:
    body = {"model": "any", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"authorization": f"Bearer {KEY}", "x-session-id": session}
    with (
        httpx.Client(base_url=live.url, headers=headers, trust_env=False) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        assert next(answer.iter_bytes())

    def ended() -> bool:
        last = asked(live, session).json()["last"]
        return bool(last and last["outcome"] == "completed")

    wait_until(ended, description="the upstream is read to its end", timeout=20)
    again = asked(live, f"{session}/stream").text
    assert again.rstrip().endswith("data: [DONE]")
    assert again.count("chat.completion.chunk") > 40


def test_an_upstream_that_breaks_off_is_an_error_to_openais_client(live: Worker, session: str) -> None:
    with client_of(live, session) as client, pytest.raises(openai.APIError) as failed:
        list(client.chat.completions.create(model="any", messages=[{"role": "user", "content": "!crash"}], stream=True))
    assert failed.value.code == "provider_aborted"
    assert asked(live, session).json()["last"]["outcome"] == "failed"


def test_an_answer_in_one_piece_passes_unguarded(live: Worker, session: str) -> None:
    with client_of(live, session) as client:
        answer = client.chat.completions.create(model="any", messages=[{"role": "user", "content": PROMPT}])
    assert answer.choices[0].message.content == scripted_answer(PROMPT)
    assert asked(live, session).json()["last"] is None


def test_any_upstream_is_asked_with_the_clients_key(session: str) -> None:
    with outside() as world, example("litestar", OPENAI_BASE_URL=world.openai_url) as worker:
        with client_of(worker, session) as client:
            chunks = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices] == world.pieces
        assert [request["messages"] for request in world.completions] == [[{"role": "user", "content": "Hello"}]]
        assert world.keys == [f"Bearer {KEY}"]
