"""The examples of the command line's page and of the runbook: a real application, its streams, and what each command
says of them.

`python -m tests.docs.cli_examples` writes them into the pages. The test compares all but what differs each time.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from streamguard.quota import Quota, RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ..harness.redis import RedisServer
from ..harness.sse import SseConnection, open_sse
from ..harness.waiting import wait_until
from ..harness.workers import Worker

__all__ = ["PAGE", "PAGES", "examples_in_page", "run_examples", "without_chance"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "reference" / "cli.md"
PAGES: Final = (PAGE, *sorted((ROOT / "docs" / "ops" / "runbook").glob("*.md")))
"""Where examples are shown."""
SHOWN_URL: Final = "redis://localhost:6379/0"

_EXAMPLE: Final = re.compile(
    r"^(?P<indent> *)<!-- example: (?P<name>[a-z ]+) -->\n(?P=indent)```console\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)


def examples_in_page(page: Path = PAGE) -> dict[str, str]:
    """Each example by its name, as it stands in a page."""
    return {found["name"]: textwrap.dedent(found["text"]) for found in _EXAMPLE.finditer(page.read_text())}


def without_chance(text: str) -> str:
    """An example without what differs from run to run: ids, times, sizes, the widths of columns, and the order of
    lines, since many listings are ordered by ids."""
    text = re.sub(r"(?<![0-9a-f])[0-9a-f]{24}(?![0-9a-f])", "ID", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "HASH", text)
    text = re.sub(r"^[0-9a-f]{8}(?: +\S+){10} +(\S.*)$", r"WORKER \1", text, flags=re.M)  # all but its state
    text = re.sub(r"Redis \d[\d.]*", "Redis VERSION", text)
    text = re.sub(r"agrees with this|is \d+\.\d+ s (ahead of|behind) this", "agrees with this", text)
    text = re.sub(r"-?\b\d+(\.\d+)?(d\d+h|h\d+m|m\d+s|s|ms|/s| ms| s| B| kB| MB)(?![\w/])", "N", text)
    text = re.sub(r"all \d+ keys|\d+ scripts", "N", text)
    return "\n".join(sorted(re.sub(r"[ ]+", " ", text).splitlines()))


class _Scene:
    """A Redis, a worker of the shop, and a shell."""

    def __init__(self, server: RedisServer, directory: Path) -> None:
        self.server = server
        self.fault = directory / "fault"
        self.env = {
            "SHOP_REDIS": server.url,
            "SHOP_FAULT": str(self.fault),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "docs" / "shop_app"), str(ROOT)]),
            "COLUMNS": "112",
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command says, below the command itself, as the page shows it."""
        done = subprocess.run(
            [sys.executable, "-m", "streamguard.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=45,
            env={**os.environ, **self.env},
            cwd=ROOT,
        )
        if done.returncode != code:
            raise AssertionError(f"{arguments} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
        words = ["streamguard", *(SHOWN_URL if word == self.server.url else word for word in arguments)]
        said = "\n".join(line.rstrip() for line in (done.stdout or done.stderr).splitlines())
        said = said.replace(f"redis://127.0.0.1:{self.server.port}", "redis://localhost:6379")
        return f"$ {shlex.join(words)}\n{said}\n"

    def planned(self) -> int:
        return len(self._objects("reconcile", "--app", "shop:guard", "--dry-run")["planned"])

    def viewers(self) -> list[int]:
        return [stream["viewers"] for stream in self._objects("ps", self.server.url)["streams"]]

    def _objects(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "streamguard.cli", *arguments, "--json"],
            capture_output=True,
            text=True,
            timeout=45,
            env={**os.environ, **self.env},
            cwd=ROOT,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


async def _asked(stack: AsyncExitStack, worker: Worker, session: str, user: str, *, endless: bool) -> SseConnection:
    connection = await stack.enter_async_context(
        open_sse(
            worker.port,
            "/api/chat",
            method="POST",
            headers={"Content-Type": "application/json", "X-User": user},
            body=json.dumps({"id": session, "endless": endless}).encode(),
            timeout=30.0,
        )
    )
    if endless:
        await connection.read_events(11)
    else:
        await connection.read_rest()
    return connection


async def _play(scene: _Scene) -> dict[str, str]:
    url, shown = scene.server.url, {}
    async with AsyncExitStack() as stack:
        with Worker("shop:app", env=scene.env) as worker:
            scene.fault.touch()
            for session in ("report-march", "draft"):
                await _asked(stack, worker, session, "ann", endless=False)
            dead = json.loads(await _dead_letters(scene, 2))["entries"]
            (report,) = [entry["stream_id"] for entry in dead if entry["session_id"] == "report-march"]
            (draft,) = [entry["stream_id"] for entry in dead if entry["session_id"] == "draft"]
            live = await _asked(stack, worker, "trip-to-rome", "bob", endless=True)
            await _asked(stack, worker, "chat-7", "ann", endless=True)
            shown["doctor"] = scene.run("doctor", url)
            wait_until(lambda: scene.viewers() == [1, 1], description="their worker told of the viewers", timeout=40)
            shown["ps"] = scene.run("ps", url)
            shown["show"] = scene.run("show", url, "report-march", "--owner", "ann")
            scene.fault.unlink()
            shown["quota show"] = scene.run("quota", "show", url, "--owner", "bob")
            shown["quota release"] = scene.run(
                "quota", "release", url, live.headers["x-stream-id"], "--owner", "bob", "--yes"
            )
            shown["stop"] = await asyncio.to_thread(
                scene.run, "stop", url, "trip-to-rome", "--owner", "bob", "--wait", "20"
            )
            shown["outbox list"] = scene.run("outbox", "list", url, code=1)
            shown["outbox show"] = scene.run("outbox", "show", url, report)
            shown["outbox discard"] = scene.run("outbox", "discard", url, draft, "--yes")
            worker.kill()
        await _reserve(url)
        shown["outbox replay"] = scene.run("outbox", "replay", url, "--all")
        wait_until(lambda: scene.planned() == 3, description="its lease and the reservation ran out", timeout=40)
        shown["reconcile dry"] = scene.run("reconcile", "--app", "shop:guard", "--dry-run", code=1)
        shown["reconcile once"] = scene.run("reconcile", "--app", "shop:guard", "--once")
    return shown


async def _dead_letters(scene: _Scene, count: int) -> str:
    """The listing, once it has so many."""
    while True:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "streamguard.cli", "outbox", "list", scene.server.url, "--dead", "--json"],
            capture_output=True,
            text=True,
            timeout=45,
            cwd=ROOT,
        )
        if len(json.loads(done.stdout)["entries"]) == count:
            return done.stdout


async def _reserve(url: str) -> None:
    """What a worker has done that dies before its stream is registered."""
    async with RedisClient(url, command_seconds=5) as client:
        ref = StreamRef(SessionKey("bob", "trip-to-oslo"), new_stream_id())
        quotas = RedisQuotaStore(client, hold_seconds=0.2, stale_seconds=0.1)
        await quotas.reserve(ref, {"tokens": 2_000}, [Quota(100_000, "day")])


def run_examples() -> dict[str, str]:
    """Play the scene; each example by its name."""
    with RedisServer(aof=True) as server, tempfile.TemporaryDirectory() as directory:
        scene = _Scene(server, Path(directory))
        shown = asyncio.run(_play(scene))
        server.kill()
        return {**shown, "doctor away": scene.run("doctor", server.url, code=3)}


def _pieces(text: str, shown: dict[str, str]) -> Iterator[str]:
    at = 0
    for found in _EXAMPLE.finditer(text):
        yield text[at : found.start("text")]
        yield textwrap.indent(shown[found["name"]], found["indent"])
        at = found.end("text")
    yield text[at:]


def write_examples() -> None:
    """Replace every example of the pages by what the commands say now."""
    shown = run_examples()
    for page in PAGES:
        page.write_text("".join(_pieces(page.read_text(), shown)))


if __name__ == "__main__":
    write_examples()
