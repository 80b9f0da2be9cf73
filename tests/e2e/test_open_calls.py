"""Real workers that are killed, stopped or broken while a tool runs: no call without a result is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streamguard.wire import fold
from streamguard.wire.closed_calls import CALL_CLOSED
from tests.harness.redis import RedisServer
from tests.harness.sse import SseEvent, resume
from tests.harness.waiting import wait_until
from tests.harness.workers import Worker

from .calls import USER, post, status
from .conftest import SHORT_LEASE
from .logs import log_of

pytestmark = pytest.mark.anyio

APP = "tests.apps.calling:app"

SAID: list[dict[str, object]] = [
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "shell", "input": {"cmd": "sleep 30"}},
    {"type": "tool-input-start", "toolCallId": "c2", "toolName": "shell"},
    {"type": "tool-input-delta", "toolCallId": "c2", "inputTextDelta": '{"cmd": "sl'},
]


def types_of(events: list[SseEvent]) -> list[str]:
    return [json.loads(event.data)["type"] for event in events if event.data.startswith("{")]


def reply(worker: Worker, session: str) -> dict[str, Any] | None:
    """The saved reply, once there is one."""
    answer = httpx.get(f"{worker.url}/api/chat/{session}/messages", headers=USER, timeout=30.0, trust_env=False)
    last = answer.json()["messages"][-1:]
    return last[0] if last and last[0]["role"] == "assistant" else None


def check(server: RedisServer, message: dict[str, Any], stream_id: str) -> None:
    """Both calls are closed, as the log has it."""
    assert [(part["state"], part["errorText"], part["input"]) for part in message["parts"]] == [
        ("output-error", CALL_CLOSED, {"cmd": "sleep 30"}),
        ("output-error", CALL_CLOSED, {"cmd": "sl"}),
    ]
    entries = [entry for _, entry in log_of(server.client(), stream_id)]
    assert message["parts"] == list(fold(message["id"], [entry[b"d"] for entry in entries if b"d" in entry]).parts)


async def test_a_worker_killed_in_a_tool(server: RedisServer, worker: Callable[..., Worker], session: str) -> None:
    dying, other = (worker(server.url, app=APP, **SHORT_LEASE) for _ in range(2))
    async with post(dying, session, parts=SAID) as stream:
        await stream.read_events(4)
        stream_id = stream.headers["x-stream-id"]
        async with resume(other.port, session, headers=USER) as watching:
            dying.kill()
            seen = await watching.read_rest()
    types = types_of(seen)
    assert types[4:6] == ["tool-output-error"] * 2
    assert types[-1] == "error"
    wait_until(lambda: reply(other, session) is not None, description="it is saved")
    message = reply(other, session)
    assert message is not None
    assert (message["status"], message["outcome"]) == ("partial", "interrupted")
    check(server, message, stream_id)


@pytest.mark.parametrize("how", ["stop", "raise"])
async def test_an_answer_that_ends_in_a_tool(
    server: RedisServer, worker: Callable[..., Worker], session: str, how: str
) -> None:
    """Stopped by the other worker, or by its endpoint."""
    running, other = (worker(server.url, app=APP) for _ in range(2))
    async with post(running, session, parts=SAID, breaks=how == "raise") as stream:
        await stream.read_events(4)
        stream_id = stream.headers["x-stream-id"]
        if how == "stop":
            url = f"{other.url}/api/chat/{session}/stop"
            assert httpx.post(url, headers=USER, timeout=30.0, trust_env=False).status_code == 202
        types = types_of(await stream.read_rest())
    assert types[:2] == ["tool-output-error"] * 2
    assert types[-1] == ("abort" if how == "stop" else "error")
    wait_until(lambda: status(other, session)["last"]["persisted"] == "yes", description="it is saved")
    message = reply(other, session)
    assert message is not None
    check(server, message, stream_id)
