"""A reader who follows a page to the letter: saves its files, runs its commands, and looks at what they say.

The reader has an environment of its own, a port in place of 8000, and some Redis in place of the usual one.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from ..harness.ports import free_port
from ..harness.waiting import wait_until
from .samples import ROOT

__all__ = ["Reader"]

_FENCE: Final = re.compile(
    r'^(?P<indent> *)```(?P<language>[a-z]+)(?: title="(?P<title>[^"]+)")?[^\n]*\n(?P<body>.*?)^(?P=indent)```$',
    re.M | re.S,
)
_COMMAND: Final = re.compile(r"^\$ ", re.M)
_PATIENCE_SECONDS: Final = 40.0
"""How long a reader waits for a state that a page says will come."""
_INSTALL_SECONDS: Final = 240.0
"""How long a command may take, which may be an installation."""
_LOCK_SECONDS: Final = 6
"""For how long the database is locked, in place of twenty seconds: longer than `save_visible_seconds`."""


@dataclass(frozen=True)
class _Block:
    language: str
    title: str | None
    body: str


class Reader:
    """One reader, in `directory`, whose environment is at `environment`."""

    def __init__(
        self,
        directory: Path,
        environment: Path,
        checkout: Path,
        *,
        redis_url: str,
        instead: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._instead = dict(instead or {})
        """Texts of a page, and what this reader has in their place."""
        self._more_variables = dict(variables or {})
        """Of the environment, besides those of every reader."""
        self._environment = environment
        self._checkout = checkout
        """What there is to clone."""
        self._redis_url = redis_url
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._beside: list[subprocess.Popen[bytes]] = []
        self._ids: list[str] = []
        """Of the events seen last."""
        self.compared = 0
        """How many commands said what the page shows."""
        self.served = 0
        """How many servers came up."""

    def follow(self, page: str, *, until: str | None = None) -> None:
        """Do what the page says, from its first block to its last, or to the heading `until`.

        Raises:
            AssertionError: a command failed, or said something else than is shown.
        """
        application: Path | None = None
        for block in _blocks(page, until):
            if block.title is not None:
                application = self._directory / block.title if block.language == "python" else application
                (self._directory / block.title).write_text(self._here(block.body))
            elif block.language == "python":
                assert application is not None, f"{page}: of which file is this a part?"
                _replace_guard(application, self._here(block.body))
            elif block.language == "sh":
                self._do(block.body)
            elif block.language == "console":
                for command, shown in _commands(block.body):
                    self._see(command, shown)

    def do(self, script: str) -> None:
        """Run commands that no page has, as one of a page's own blocks."""
        self._do(script)

    def ask(self, command: str) -> str:
        """What a command says that no page has."""
        return self._run(self._here(command))

    def close(self) -> None:
        """End what was started."""
        self._stop_server()
        for one in self._beside:
            one.kill()
            one.wait()

    def _here(self, text: str) -> str:
        """What a page says, with this reader's port, Redis and checkout."""
        text = text.replace("localhost:8000", f"localhost:{self._port}")
        text = text.replace("redis://localhost:6379/0", self._redis_url)
        text = text.replace("time.sleep(20)", f"time.sleep({_LOCK_SECONDS})")
        for shown, here in self._instead.items():
            text = text.replace(shown, here)
        text = "\n".join(line for line in text.splitlines() if not re.fullmatch(r"export \w+=…", line))
        text = text.replace("git clone REPOSITORY streamguard", f"ln -sfn {self._checkout} streamguard")
        return re.sub(r"^uvicorn .*$", rf"exec \g<0> --port {self._port}", text, flags=re.M)

    def _do(self, script: str) -> None:
        """Run commands of which no output is shown."""
        script = self._here(script)
        if "exec uvicorn" in script or "scripts/demo" in script:
            self._serve(script)
            self.served += 1
        elif script.rstrip().endswith("&"):
            self._beside.append(self._start(f"exec {script.rstrip().removesuffix('&')}"))
            wait_until(self._is_locked, description="the database is locked")
        elif "scripts/test" not in script:  # which runs this test too
            self._run(script)

    def _see(self, command: str, shown: str) -> None:
        command = self._here(command)
        if self._ids:
            command = re.sub(r"(?<=Last-Event-ID: )[^\"]+", self._ids[-1], command)
        asks_only = "--json" not in command and not command.startswith("sed")
        deadline = time.monotonic() + (_PATIENCE_SECONDS if asks_only else 0.0)
        while True:
            said = self._run(command)
            if matches(said, shown):
                break
            assert time.monotonic() < deadline, f"{command}\n\nsaid\n\n{said}\n\nnot\n\n{shown}"
            time.sleep(0.2)
        self._ids = re.findall(r"^id: (.+)$", said, re.M) or self._ids
        self.compared += 1

    def _run(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._directory,
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _start(self, script: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-ec", script],
            cwd=self._directory,
            env=self._variables,
            start_new_session=True,
        )

    def _is_locked(self) -> bool:
        """Whether somebody holds the tutorial's database."""
        with closing(sqlite3.connect(self._directory / "chats.db", isolation_level=None, timeout=0)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    def _serve(self, script: str) -> None:
        self._stop_server()
        self._server = self._start(script)
        wait_until(self._is_ready, description="the page's server is ready", timeout=_INSTALL_SECONDS)

    def _is_ready(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, "the page's server ended"
        try:
            url = f"http://127.0.0.1:{self._port}/api/chat/health/ready"
            return httpx.get(url, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _stop_server(self) -> None:
        """Ctrl-C."""
        server, self._server = self._server, None
        if server is None or server.poll() is not None:
            return
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            raise

    @property
    def _variables(self) -> dict[str, str]:
        """Nothing of the environment that the tests run in can be found."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_", "VIRTUAL"))
        }
        path = os.pathsep.join(
            part
            for part in os.environ["PATH"].split(os.pathsep)
            if Path(part).resolve() != Path(sys.executable).parent.resolve()
        )
        return (
            kept
            | self._more_variables
            | {
                "PATH": f"{self._environment / 'bin'}{os.pathsep}{path}",
                "VIRTUAL_ENV": str(self._environment),
                "NO_PROXY": "localhost,127.0.0.1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PORT": str(self._port),  # of the demo
                "XDG_STATE_HOME": str(self._directory / "state"),
            }
        )


def matches(said: str, shown: str) -> bool:
    """Whether a command said what is shown, where `…` stands for anything, and ids for others of their kind."""
    pattern = ".*".join(re.escape(piece) for piece in _without_ids(shown).split("…"))
    return re.fullmatch(pattern, _without_ids(said), re.S) is not None


def _without_ids(text: str) -> str:
    text = re.sub(r"\b1\.[0-9a-f]{24}\.[0-9]{16}\.", "1.STREAM.EPOCH.", text)
    text = re.sub(r"msg_[0-9a-f]{24}", "msg_MESSAGE", text)
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def _blocks(page: str, until: str | None) -> Iterator[_Block]:
    text = (ROOT / page).read_text()
    for fence in _FENCE.finditer(text, 0, len(text) if until is None else text.index(f"\n{until}\n")):
        yield _Block(fence["language"], fence["title"], textwrap.dedent(fence["body"]))


def _commands(console: str) -> Iterator[tuple[str, str]]:
    """Each command after a `$`, and what is shown below it."""
    for part in _COMMAND.split(console)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def _replace_guard(application: Path, lines: str) -> None:
    """Put these lines where the application makes its guard."""
    text = application.read_text()
    changed = re.sub(r"^guard = .*$", lambda _: lines.rstrip(), text, count=1, flags=re.M)
    assert changed != text, f"{application.name} makes no guard"
    application.write_text(changed)
