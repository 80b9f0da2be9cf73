"""The commands of the page about servers start its application, which answers, resumes on any worker and drains."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.harness.ports import free_port
from tests.harness.sse import Ending, post_chat, resume, ui_text
from tests.harness.starting import serving
from tests.harness.waiting import wait_until_async

from .samples import blocks

pytestmark = pytest.mark.anyio

PAGE: Final = "docs/how-to/deploy/servers.md"
COMMANDS: Final = [text.strip() for _, text in blocks(PAGE, "sh")]
((_, PROGRAM),) = blocks(PAGE, "python")
GUARD: Final = 'StreamGuard("redis://localhost:6379/0", '
WORKERS: Final = 2
"""Instead of the page's four."""
MORE: Final = """

@app.post("/api/endless")
@guard.stream(session="body.id", binding="endless")
async def endless(body: ChatBody) -> AsyncIterator[str]:
    while True:
        yield "and so on "
        await asyncio.sleep(0.05)
"""
"""An answer for the drain to end."""


def program(redis_url: str) -> str:
    """The page's, with a short drain."""
    assert PROGRAM.count(GUARD) == 1
    ours = f"StreamGuard({redis_url!r}, settings=Settings(drain_seconds=1.0), "
    return "import asyncio\nfrom streamguard import Settings\n" + PROGRAM.replace(GUARD, ours) + MORE


@contextmanager
def running(command: str, directory: Path, port: int) -> Iterator[psutil.Process]:
    """The server that the command starts, in `directory`."""
    assert command.count("8000") == 1
    assert command.count("--workers 4") == 1
    words = shlex.split(command.replace("8000", str(port)).replace("--workers 4", f"--workers {WORKERS}"))
    if words[0] == "gunicorn":
        words.append("--no-control-socket")  # it would be in the home directory
    env = {**os.environ, "CHAT_SECRET": "made once for all workers", "PYTHONPATH": str(directory)}
    with serving(words, directory, env=env, ready=lambda _: _listens(port)) as server:
        yield server


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_there_is_a_command_for_each_server() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["uvicorn", "gunicorn", "gunicorn", "hypercorn", "granian"]


@pytest.mark.parametrize(
    "command", COMMANDS, ids=lambda command: "-".join(re.findall(r"^\w+|\w+Worker|asgi$", command))
)
async def test_a_command(command: str, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(program(redis_url))
    port = free_port()
    with running(command, tmp_path, port) as server:
        async with post_chat(port, "one", "Hello") as whole:
            events = await whole.read_rest()
            assert (whole.status, whole.ending, events[-1].data) == (200, Ending.CLEAN, "[DONE]")
            assert ui_text(events) == "an answer to 1 messages"
        cookie = {"Cookie": whole.headers["set-cookie"].partition(";")[0]}
        for _ in range(3 * WORKERS):  # whichever worker that is
            async with resume(port, "one", events[1].id, headers=cookie) as rest:
                assert await rest.read_rest() == events[2:]
        async with post_chat(port, "two", "Hello", path="/api/endless", headers=cookie) as stream:
            await stream.read_events(3)
            server.terminate()
            rest_of_it = await stream.read_rest()
            assert any("shutting_down" in event.data for event in rest_of_it)
            assert (stream.ending, rest_of_it[-1].data) == (Ending.CLEAN, "[DONE]")
        # A worker that was still starting misses the signal: gunicorn ends it once its `--graceful-timeout` is over.
        await wait_until_async(lambda: not server.is_running(), description="the server has ended", timeout=45)
    assert "misuse=" not in (tmp_path / "log").read_text()
