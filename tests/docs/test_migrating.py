"""The pages about migrating: the program that a reader has answers with the real library, and is resumed as it can be.

The libraries are those of the benchmarks' contenders, in an environment that is made on demand.
The programs after the change are run by `test_samples.py`, like those of every page.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from benchmarks.contenders.contract import Environment
from benchmarks.environments import NotInstallableError, interpreter

from ..harness.tools import missing
from ..harness.waiting import wait_until
from .samples import blocks, run_page, serving

slow = pytest.mark.slow
"""Of those that need the other libraries, which are installed on demand."""
pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]

QUESTION = {"id": "c1", "messages": []}


@pytest.fixture(scope="module")
def python() -> str:
    """The Python that has the other libraries."""
    try:
        return interpreter(Environment.PYTHON)
    except NotInstallableError as exc:
        missing(f"{exc}: `pip install -r benchmarks/contenders/requirements.txt`")


@contextmanager
def before(page: str, python: str, redis_url: str, place: Path) -> Iterator[httpx.Client]:
    """Serve the page's `before.py` with its library."""
    (program,) = (text for _, text in blocks(f"docs/how-to/migrate/{page}.md", "python", apart=True))
    (place / "before.py").write_text(program)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen(
            [python, "-m", "uvicorn", "before:app", "--fd", str(listening.fileno())],
            cwd=place,
            env={**os.environ, "REDIS_URL": redis_url},
            pass_fds=(listening.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30) as client:
                yield client
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=20)
    assert b"Traceback" not in output, output.decode()


@slow
def test_sse_starlette(python: str, redis_url: str, tmp_path: Path) -> None:
    """The bytes before and after the change are the same."""
    with before("sse-starlette", python, redis_url, tmp_path) as client:
        body = client.post("/api/chat", json=QUESTION).text
    assert body.replace("\r\n", "\n") == (
        "event: token\ndata: Hello \n\nevent: token\ndata: there.\n\nevent: done\ndata: {}\n\n"
    )
    with (
        run_page("docs/how-to/migrate/sse-starlette.md", redis_url=redis_url) as module,
        serving(module.app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert client.post("/api/chat", json=QUESTION).text == body
        assert client.get("/api/chat/c1/stream").text == body
        with_ids = client.get("/api/chat/c1/stream?ids=1").text
        first = re.findall(r"^id: ?(\S+)", with_ids, re.M)[0]
        rest = client.get("/api/chat/c1/stream?ids=1", headers={"Last-Event-ID": first}).text
        assert "Hello " not in rest
        assert "there." in rest

        asked = "/api/ask?chat=c2&question=Why"
        first = re.findall(r"^id: ?(\S+)", client.get(asked).text, re.M)[0]
        again = client.get(asked, headers={"Last-Event-ID": first})
        assert again.text.count("event: token") == 1
        last = re.findall(r"^id: ?(\S+)", again.text, re.M)[-1]
        assert client.get(asked, headers={"Last-Event-ID": last}).status_code == 204
        own = client.get(asked, headers={"Last-Event-ID": "7"})
        assert (own.status_code, own.json()["error"]["code"]) == (400, "cursor_invalid")

        with serving(module.starlette_app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            answer = client.post("/api/chat", json=QUESTION).text
            assert answer == body.replace("event: done\r\ndata: {}\r\n\r\n", "")
            assert client.get("/api/chat/c1/stream").text == answer


@slow
def test_resumable_stream(python: str, redis_url: str, tmp_path: Path) -> None:
    with before("resumable-stream", python, redis_url, tmp_path) as client:
        assert client.post("/api/chat", json=QUESTION).text == "data: Hello \n\ndata: there.\n\n"
        assert client.get("/api/chat/c1/stream").status_code == 204, "what is over cannot be resumed, as the page says"


@slow
def test_assistant_stream(python: str, redis_url: str, tmp_path: Path) -> None:
    with before("assistant-stream", python, redis_url, tmp_path) as client:
        whole = client.post("/api/chat", json=QUESTION).text
        assert "Hello " in whole
        assert "there." in whole
        assert client.get("/api/chat/c1/stream").text == whole


@slow
def test_redis_by_hand(python: str, redis_url: str, tmp_path: Path) -> None:
    with before("redis-by-hand", python, redis_url, tmp_path) as client:
        whole = client.post("/api/chat", json=QUESTION).text
        assert whole.count("data: ") >= 3
        assert '{"done": "yes"}' in whole
        assert client.get("/api/chat/c1/stream").text.count("data: ") == 3


def test_both_answer_side_by_side(redis_url: str) -> None:
    with (
        run_page("docs/how-to/migrate/index.md", redis_url=redis_url) as module,
        serving(module.app) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert "data: Hello " in client.post("/api/v1/chat", json=QUESTION).text
        assert '"delta":"Hello "' in client.post("/api/chat", json=QUESTION).text
        wait_until(
            lambda: client.get("/api/chat/c1").json()["active"] is None,
            description="the new endpoint's answer has ended",
        )
