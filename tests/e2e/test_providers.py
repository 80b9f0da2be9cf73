"""Every way a model provider fails, through the real `openai` client: safe words, a fault, one terminal."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, ui_text
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

from .calls import expected_text, new_session, open_gate, post, raw_post, status, trace

pytestmark = pytest.mark.anyio

APP = "tests.apps.provider:app"


@pytest.mark.parametrize(
    ("scenario", "code", "http_status", "retryable"),
    [
        ("rate-limited", "provider_rate_limited", 503, True),
        ("unreachable", "provider_aborted", 502, True),
        ("refused", "provider_error", 502, False),
    ],
)
def test_failures_before_the_first_byte_are_http_errors(
    worker: Callable[..., Worker], scenario: str, code: str, http_status: int, retryable: bool
) -> None:
    one = worker("memory://", app=APP)
    answer = raw_post(one, f"{scenario}.1")
    assert answer.headers["content-type"] == "application/json"
    fault = answer.json()["error"]
    assert (answer.status_code, fault["code"], fault["retryable"]) == (http_status, code, retryable)
    assert fault["phase"] == "provider"
    if scenario == "rate-limited":
        assert answer.headers["retry-after"] == "7"
    assert "words only the provider says" not in answer.text


@pytest.mark.parametrize(
    ("scenario", "code"), [("reset", "provider_aborted"), ("garbage", "provider_error"), ("silence", "stalled")]
)
async def test_failures_after_ten_chunks_are_faults_with_a_terminal(
    worker: Callable[..., Worker], scenario: str, code: str
) -> None:
    one = worker("memory://", app=APP, stall_seconds=2.0)
    async with post(one, f"{scenario}.1") as stream:
        events = await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert ui_text(events) == expected_text(10)
    parts = [json.loads(event.data) for event in events if event.data.startswith("{")]
    assert [part["type"] for part in parts[-3:]] == ["text-end", "data-streamguard-error", "error"]
    assert parts[-2]["data"]["code"] == code
    assert parts[-2]["data"]["severity"] == "fatal"
    assert set(parts[-1]) == {"type", "errorText"}
    assert events[-1].data == "[DONE]"
    assert b"words only the provider says" not in bytes(stream.body)
    assert status(one, f"{scenario}.1")["last"]["outcome"] == "failed"


async def test_a_whole_answer(worker: Callable[..., Worker]) -> None:
    one = worker("memory://", app=APP)
    async with post(one, "whole.1") as stream:
        assert ui_text(await stream.read_rest()) == expected_text(10)


async def test_a_yield_dependency_outlives_its_client(
    worker: Callable[..., Worker], own_redis: Callable[..., RedisServer]
) -> None:
    """FastAPI closes it when the response's call returns, which waits for the producer."""
    one = worker(own_redis().url)
    session = new_session()
    async with post(one, session, path="/api/database", n=6, gate=session, gate_at=2) as stream:
        await stream.read_events(3)
    open_gate(one, session)
    await wait_until_async(lambda: "database closed" in trace(one), description="the dependency was closed")
    seen = trace(one)
    assert seen.count("database usable") == 6
    assert "database CLOSED" not in seen
    assert seen.index(f"completed {session}") < seen.index("database closed")
