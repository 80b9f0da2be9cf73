"""Answers that a background job of one worker began: watched, stopped, resumed, saved and reconciled by another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streamguard.quota import RedisQuotaStore
from streamguard.stores import RedisClient
from tests.apps.starting import LIMIT
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, resume, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import ROOT, Worker

from .calls import USER, expected_text, open_gate, status, trace
from .conftest import SHORT_LEASE, environment
from .logs import codes, terminals

pytestmark = pytest.mark.anyio

APP = "tests.apps.starting:application"
SETTINGS = {"outbox_seconds": 0.2, "outbox_retry_seconds": 0.2, "quota_seconds": 5.0, **SHORT_LEASE}


@pytest.fixture
def workers(server: RedisServer, worker: Callable[..., Worker]) -> tuple[Worker, Worker]:
    first, second = (worker(server.url, app=APP, **SETTINGS) for _ in range(2))
    return first, second


def begin(worker: Worker, session: str, **job: object) -> None:
    """Begin a job in that worker, which answers at once."""
    body = {"id": session, **job}
    httpx.post(f"{worker.url}/job", json=body, timeout=30, trust_env=False).raise_for_status()


def told(worker: Worker, session: str) -> list[str]:
    """What became of the session's jobs in that worker."""
    return httpx.get(f"{worker.url}/job/{session}", timeout=30, trust_env=False).text.splitlines()


def begun(worker: Worker, session: str) -> str:
    """Wait until the session's job has begun; its stream's id."""
    wait_until(lambda: any(line.startswith("begun") for line in told(worker, session)), description="the job began")
    return told(worker, session)[0].split()[1]


def left(worker: Worker, session: str) -> str:
    """Wait until the session's last job is over: what it came to."""

    def is_over() -> bool:
        lines = told(worker, session)
        return bool(lines) and not lines[-1].startswith("begun")

    wait_until(is_over, description="the job is over")
    return told(worker, session)[-1]


def messages(worker: Worker, session: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{worker.url}/api/chat/{session}/messages", headers=USER, timeout=30, trust_env=False)
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


def text_of(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


async def charged(server: RedisServer) -> tuple[int, int]:
    """What the owner is charged, and what is still reserved."""
    async with RedisClient(server.url, command_seconds=20) as client:
        (standing,) = (await RedisQuotaStore(client).status(USER["X-User"], [LIMIT])).standings
    return standing.used, standing.reserved


@pytest.mark.promise("I3", "I6")
async def test_a_job_is_watched_from_another_worker_and_resumed(
    server: RedisServer, workers: tuple[Worker, Worker], session: str
) -> None:
    first, second = workers
    begin(first, session, n=6, gate=session, gate_at=3, binding="chat")
    stream_id = begun(first, session)
    async with resume(second.port, session, headers=USER) as watching:
        seen = await watching.read_events(4)
        assert watching.headers["x-stream-id"] == stream_id
        await watching.drop()
    assert await charged(server) == (0, 100)
    async with resume(second.port, session, seen[-1].id, headers=USER) as again:
        open_gate(first, session)
        rest = await again.read_rest()
        assert again.ending is Ending.CLEAN
    assert ui_text(seen + rest) == expected_text(6)
    assert left(first, session) == "left completed yes settled"
    assert await charged(server) == (6, 0)
    (message,) = messages(second, session)
    assert (text_of(message), message["outcome"]) == (expected_text(6), "completed")


async def test_a_job_is_stopped_from_another_worker(
    server: RedisServer, workers: tuple[Worker, Worker], session: str
) -> None:
    first, second = workers
    begin(first, session, n=6, gate=session, gate_at=3, binding="chat")
    stream_id = begun(first, session)
    async with resume(second.port, session, headers=USER) as watching:
        await watching.read_events(5)
        answer = httpx.post(f"{second.url}/api/chat/{session}/stop", headers=USER, timeout=30, trust_env=False)
        assert answer.status_code == 202
        await watching.read_rest()
        assert watching.ending is Ending.CLEAN
    assert left(first, session) == "left stopped yes settled"
    assert f"finally {session}" in trace(first)
    assert f"completed {session}" not in trace(first)
    assert await charged(server) == (3, 0)
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "stopped"
    assert text_of(messages(second, session)[0]) == expected_text(3)


@pytest.mark.promise("I10")
@pytest.mark.parametrize("binding", ["chat", None])
async def test_a_killed_job_is_ended_by_another_worker(
    server: RedisServer, workers: tuple[Worker, Worker], session: str, binding: str | None
) -> None:
    """Under the default binding too, which every worker of the same guard knows."""
    first, second = workers
    begin(first, session, n=6, gate=session, gate_at=3, binding=binding)
    stream_id = begun(first, session)
    async with resume(second.port, session, headers=USER) as watching:
        await watching.read_events(5)
        first.kill()
        rest = await watching.read_rest()
        assert watching.ending is Ending.CLEAN
        assert codes(rest) == ["interrupted"]
    await wait_until_async(
        lambda: (status(second, session)["last"] or {}).get("persisted") == "yes", description="saved", timeout=30
    )
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"
    (message,) = messages(second, session)
    assert (text_of(message), message["outcome"]) == (expected_text(3), "interrupted")
    if binding is not None:
        wait_until(lambda: status(second, session)["last"]["quota"] == "settled", description="settled", timeout=30)
        used, reserved = await charged(server)
        assert reserved == 0
        assert used in (0, 1, 2, 3, 100)  # what a heartbeat told of, or what was reserved if none did


async def test_a_job_is_replaced_from_another_worker(
    server: RedisServer, workers: tuple[Worker, Worker], session: str
) -> None:
    first, second = workers
    begin(first, session, n=6, gate=session, gate_at=3)
    begun(first, session)
    begin(second, session, n=2, replace=True)
    assert left(second, session) == "left completed yes none"
    assert left(first, session) == "left stopped yes none"
    begin(first, f"{session}-2", n=6, gate=session, gate_at=3)
    begun(first, f"{session}-2")
    begin(second, f"{session}-2", n=2)
    assert left(second, f"{session}-2") == "FaultError conflict_active"
    open_gate(first, session)
    assert left(first, f"{session}-2") == "left completed yes none"


async def test_one_key_runs_once_on_all_workers(
    server: RedisServer, workers: tuple[Worker, Worker], session: str
) -> None:
    first, second = workers
    begin(first, session, n=2, gate=session, gate_at=1, key="evt_1")
    stream_id = begun(first, session)
    begin(second, session, n=2, key="evt_1")
    assert left(second, session) == f"known {stream_id} None"
    open_gate(first, session)
    assert left(first, session) == "left completed yes none"
    begin(second, session, n=2, key="evt_1")
    wait_until(lambda: len(told(second, session)) == 2, description="the third start is refused")
    assert told(second, session)[-1] == f"known {stream_id} completed"
    assert len([line for line in trace(first) + trace(second) if line == f"model {session}"]) == 1


async def test_a_drain_interrupts_a_job(server: RedisServer, worker: Callable[..., Worker], session: str) -> None:
    first, second = (worker(server.url, app=APP, **SETTINGS | {"drain_seconds": 0.3}) for _ in range(2))
    begin(first, session, n=6, gate=session, gate_at=3)
    stream_id = begun(first, session)
    first.terminate()
    await wait_until_async(lambda: not first.alive, description="the worker ended", timeout=30)
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"
    assert text_of(messages(second, session)[0]) == expected_text(3)


async def test_a_process_of_its_own_may_begin_answers(
    server: RedisServer, worker: Callable[..., Worker], session: str
) -> None:
    web = worker(server.url, app=APP, **SETTINGS)
    script = json.dumps({"id": session, "n": 4, "binding": "chat"})
    job = subprocess.run(
        [sys.executable, "-m", "tests.apps.starting", script],
        cwd=ROOT,
        env=environment(server.url, **SETTINGS) | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert job.stdout.splitlines()[-1] == "left completed yes settled"
    async with resume(web.port, session, headers=USER) as whole:
        assert ui_text(await whole.read_rest()) == expected_text(4)
    assert text_of(messages(web, session)[0]) == expected_text(4)


@pytest.mark.promise("I5")
async def test_a_job_whose_stream_another_worker_took_is_cut(
    server: RedisServer, workers: tuple[Worker, Worker], session: str
) -> None:
    first, second = workers
    begin(first, session, n=6, gate=session, gate_at=3)
    stream_id = begun(first, session)
    async with resume(second.port, session, headers=USER) as watching:
        await watching.read_events(5)
        first.pause()
        await watching.read_rest()
        assert watching.ending is Ending.CLEAN
    first.resume()
    assert left(first, session) == "StreamCutError superseded"
    assert f"completed {session}" not in trace(first)
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"
    assert [text_of(message) for message in messages(second, session)] == [expected_text(3)]
