"""Runs the `*.test.mjs` files with Node against the example application; each is one test here.

By hand: `npm ci` in this directory, then `pytest tests/clients`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from streamguard.values import Event
from streamguard.wire import protocol_named

from ..examples.live import example, scripted_answer
from ..harness.ports import free_port
from ..harness.redis import RedisServer
from ..harness.tools import missing
from ..harness.workers import Worker
from ..wire.golden import GOLDEN, GoldenStream, digest, fold_streams, load, recorded_hashes
from .packed import install_locked

HERE: Final = Path(__file__).parent
SCRIPTS: Final = ("component", "event_source", "every_release", "strict_schemas", "use_chat")
PROMPTS: Final = ("Tell me of streams", "!crash", "!slow 50")

_INSTALL_NODE: Final = "no Node.js 20 or later found: `apt-get install nodejs npm`, or see https://nodejs.org/"


@pytest.fixture(scope="session")
def node() -> str:
    """The path of `node`, with the locked packages installed. Skips without it; with `CI=true` fails."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        missing(_INSTALL_NODE)
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20).stdout
    if int(version.removeprefix("v").split(".")[0]) < 20:
        missing(_INSTALL_NODE)
    install_locked(npm, HERE)
    return found


PLACES: Final = [("fastapi", "memory"), ("fastapi", "redis"), ("litestar", "memory")]
CASES: Final = [
    pytest.param(place, script, id=f"{'-'.join(place)}-{script}")
    for place in PLACES
    for script in SCRIPTS
    if script != "every_release" or "memory" in place  # releases differ in what they read, not in where it is logged
]


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """The example with an in-memory log, and with one in Redis; and the one on Litestar."""
    framework, store = request.param
    url = "memory://"
    if store == "redis":
        redis_server: RedisServer = request.getfixturevalue("redis_server")
        url = redis_server.database_url(0)
    with example(framework, STREAMGUARD_URL=url) as worker:
        yield worker


@pytest.fixture(scope="module")
def without_store() -> Iterator[Worker]:
    """The example with a Redis that nobody runs, and so with nothing counted there."""
    with example(STREAMGUARD_URL=f"redis://127.0.0.1:{free_port()}/0", DEMO_DAILY_TOKENS="0") as worker:
        yield worker


def run_script(node: str, script: str, environment: dict[str, str]) -> None:
    """Run a file of node:test tests.

    Raises:
        AssertionError: one of them failed, or none ran; the message has the report.
    """
    ran = subprocess.run(
        [node, "--test-reporter=tap", str(HERE / script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    counted = {name: int(number) for name, number in re.findall(r"^# (pass|fail|skipped) (\d+)$", ran.stdout, re.M)}
    report = f"{ran.stdout[-8000:]}\n{ran.stderr[-4000:]}"
    assert ran.returncode == 0, report
    assert counted.get("pass", 0) > 0, report
    assert counted.get("fail") == counted.get("skipped") == 0, report


@pytest.mark.parametrize(("live", "script"), CASES, indirect=["live"])
def test_client(script: str, node: str, live: Worker, without_store: Worker) -> None:
    answers = json.dumps({prompt: scripted_answer(prompt) for prompt in PROMPTS})
    environment = {"APP_URL": live.url, "APP_WITHOUT_STORE_URL": without_store.url, "ANSWERS": answers}
    run_script(node, f"{script}.test.mjs", environment)


def test_page_modules(node: str) -> None:
    """The example page's parser and resume loop, without a server or a browser."""
    run_script(node, "page.test.mjs", {})


def test_golden_logs(node: str, tmp_path: Path) -> None:
    """The fold of each golden log, against the client's own. Halves of surrogate pairs, which are replaced, aside."""
    logs = []
    for name in GOLDEN:
        log = load(name)
        if log.protocol == "ui-message" and name != "ui-message/lone-surrogates":
            message = fold_streams(log, [stream.payloads for stream in log.streams])
            assert digest(message) == recorded_hashes()[name]
            streams = [_as_sent(stream) for stream in log.streams]
            logs.append({"name": name, "streams": streams, "message": message.as_dict()})
    golden = tmp_path / "golden.json"
    golden.write_text(json.dumps(logs))
    run_script(node, "golden.test.mjs", {"GOLDEN": str(golden)})


def _as_sent(stream: GoldenStream) -> str:
    protocol = protocol_named("ui-message")
    return b"".join(protocol.frame(Event(1, kind, data), None) for kind, data in stream.events).decode()


def test_every_script_is_run() -> None:
    scripts = {path.name.removesuffix(".test.mjs") for path in HERE.glob("*.test.mjs")}
    others = {"booking", "contrib", "edits", "golden", "histories", "page", "persistence", "saving", "versions", "wire"}
    passed_on = {"histories_of_upstreams", "passed_on", "returned", "sdks"}
    packed = {"connections", "continued", "open_stream", "packed_client"}
    assert scripts == {*SCRIPTS, *others, *passed_on, *packed}
